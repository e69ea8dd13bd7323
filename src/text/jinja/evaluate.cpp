#include <bloom/base/text.hpp>

#include "text/jinja/interpreter.hpp"
#include "text/jinja/operations.hpp"
#include "text/jinja/python_text.hpp"

/// Expressions. One small function per kind keeps the stack of a deep recursion small.
namespace bloom::text::jinja {
namespace {

const Value kMissing = Value::none(); // a slice bound that was not written

bool hashable(const Value& key) noexcept {
    if (key.is(Kind::dict)) return false;
    return !key.is(Kind::sequence) || key.as<SequenceObject>().form == Form::tuple;
}

} // namespace

Result<Value> Interpreter::eval(const Expr& expr) {
    if (expr.kind == ExprKind::constant) {
        BLOOM_OK(budget_.spend(1));
        return expr.value;
    }
    if (++depth_ > kMaxEvaluationDepth) {
        return Error{Code::limit_reached, "the chat template recurses too deeply"};
    }
    BLOOM_OK(budget_.spend(1));
    line_ = expr.line;
    auto value = eval_kind(expr);
    --depth_;
    if (value && value->depth() > kMaxValueDepth) {
        return Error{Code::limit_reached, "the chat template nests values too deeply"};
    }
    return value;
}

Result<Value> Interpreter::eval_kind(const Expr& expr) {
    switch (expr.kind) {
    case ExprKind::constant:
        return expr.value;
    case ExprKind::name:
        return lookup(expr.name);
    case ExprKind::list:
        return eval_list(expr, Form::list);
    case ExprKind::tuple:
        return eval_list(expr, Form::tuple);
    case ExprKind::dict:
        return eval_dict(expr);
    case ExprKind::attribute:
        return eval_attribute(expr);
    case ExprKind::item:
        return eval_item(expr);
    case ExprKind::slice:
        return eval_slice(expr);
    case ExprKind::call:
        return eval_call(expr);
    case ExprKind::filter:
        return eval_filter(expr);
    case ExprKind::test:
        return eval_test(expr);
    case ExprKind::negate:
    case ExprKind::plus:
    case ExprKind::logical_not:
        return eval_sign(expr);
    case ExprKind::logical_and:
    case ExprKind::logical_or:
        return eval_logical(expr);
    case ExprKind::binary:
        return eval_binary(expr);
    case ExprKind::compare:
        return eval_compare(expr);
    case ExprKind::concat:
        return eval_concat(expr);
    case ExprKind::conditional:
        return eval_conditional(expr);
    case ExprKind::captured:
        return captured_.back();
    }
    return Value();
}

Result<Value> Interpreter::eval_list(const Expr& expr, Form form) {
    std::vector<Value> items;
    items.reserve(expr.operands.size());
    for (const ExprPtr& operand : expr.operands) {
        BLOOM_TRY(Value item, eval(*operand));
        items.push_back(std::move(item));
    }
    return make_sequence(std::move(items), form, form == Form::list);
}

Result<Value> Interpreter::eval_dict(const Expr& expr) {
    std::vector<std::pair<Value, Value>> members;
    for (std::size_t i = 0; i + 1 < expr.operands.size(); i += 2) {
        BLOOM_TRY(Value key, eval(*expr.operands[i]));
        if (!hashable(key)) return failure(fmt::format("unhashable type: '{}'", type_name(key)));
        BLOOM_TRY(Value value, eval(*expr.operands[i + 1]));
        members.emplace_back(std::move(key), std::move(value));
    }
    return Value::dict(std::move(members));
}

Result<Value> Interpreter::eval_attribute(const Expr& expr) {
    BLOOM_TRY(const Value value, eval(*expr.operands[0]));
    return get_attribute(*this, value, expr.text);
}

Result<Value> Interpreter::eval_item(const Expr& expr) {
    BLOOM_TRY(const Value value, eval(*expr.operands[0]));
    BLOOM_TRY(const Value key, eval(*expr.operands[1]));
    return get_item(*this, value, key);
}

Result<Value> Interpreter::eval_slice(const Expr& expr) {
    BLOOM_TRY(const Value value, eval(*expr.operands[0]));
    Value bounds[3] = {kMissing, kMissing, kMissing};
    for (std::size_t i = 0; i < 3; ++i) {
        if (!expr.operands[i + 1]) continue;
        BLOOM_TRY(bounds[i], eval(*expr.operands[i + 1]));
    }
    return get_slice(*this, value, bounds[0], bounds[1], bounds[2]);
}

Result<> Interpreter::eval_arguments(const Arguments& from, CallArguments& out) {
    out.positional.reserve(from.positional.size());
    for (const ExprPtr& expr : from.positional) {
        BLOOM_TRY(Value value, eval(*expr));
        out.positional.push_back(std::move(value));
    }
    for (const auto& [name, expr] : from.named) {
        BLOOM_TRY(Value value, eval(*expr));
        out.named.emplace_back(name, std::move(value));
    }
    if (from.star) {
        BLOOM_TRY(const Value value, eval(*from.star));
        BLOOM_TRY(std::vector<Value> items, iterate(*this, value));
        for (Value& item : items)
            out.positional.push_back(std::move(item));
    }
    if (from.star_star) {
        BLOOM_TRY(const Value value, eval(*from.star_star));
        if (!value.is(Kind::dict)) return failure("the argument after ** must be a mapping");
        for (const auto& [key, member] : value.as<DictObject>().members) {
            if (!key.is(Kind::string)) return failure("keywords must be strings");
            BLOOM_OK(budget_.spend(1));
            out.named.emplace_back(std::string(key.text()), member);
        }
    }
    return {};
}

Result<Value> Interpreter::eval_call(const Expr& expr) {
    BLOOM_TRY(const Value callee, eval(*expr.operands[0]));
    CallArguments args;
    BLOOM_OK(eval_arguments(expr.arguments, args));
    line_ = expr.line;
    return call(callee, args);
}

Result<Value> Interpreter::eval_filter(const Expr& expr) {
    if (expr.filter == nullptr)
        return failure(fmt::format("no filter named {}", quoted(expr.text)));
    BLOOM_TRY(const Value input, eval(*expr.operands[0]));
    CallArguments args;
    BLOOM_OK(eval_arguments(expr.arguments, args));
    line_ = expr.line;
    return expr.filter(*this, input, args);
}

Result<Value> Interpreter::eval_test(const Expr& expr) {
    if (expr.test == nullptr) return failure(fmt::format("no test named {}", quoted(expr.text)));
    BLOOM_TRY(const Value input, eval(*expr.operands[0]));
    CallArguments args;
    BLOOM_OK(eval_arguments(expr.arguments, args));
    BLOOM_TRY(const bool holds, expr.test(*this, input, args));
    return Value::boolean(holds);
}

Result<Value> Interpreter::eval_sign(const Expr& expr) {
    BLOOM_TRY(const Value value, eval(*expr.operands[0]));
    if (expr.kind == ExprKind::logical_not) return Value::boolean(!truthy(value));
    if (expr.kind == ExprKind::negate) return negate(value);
    if (value.is(Kind::undefined)) return undefined_failure(value);
    if (!is_number(value)) {
        return failure(fmt::format("bad operand type for unary +: '{}'", type_name(value)));
    }
    return value.is(Kind::boolean) ? Value::integer(value.as_boolean() ? 1 : 0) : value;
}

Result<Value> Interpreter::eval_logical(const Expr& expr) {
    BLOOM_TRY(Value left, eval(*expr.operands[0]));
    if (truthy(left) == (expr.kind == ExprKind::logical_or)) return left;
    return eval(*expr.operands[1]);
}

Result<Value> Interpreter::eval_binary(const Expr& expr) {
    BLOOM_TRY(const Value left, eval(*expr.operands[0]));
    BLOOM_TRY(const Value right, eval(*expr.operands[1]));
    line_ = expr.line;
    return binary(*this, expr.op, left, right);
}

Result<Value> Interpreter::eval_compare(const Expr& expr) {
    BLOOM_TRY(Value left, eval(*expr.operands[0]));
    for (std::size_t i = 0; i < expr.ops.size(); ++i) {
        BLOOM_TRY(Value right, eval(*expr.operands[i + 1]));
        BLOOM_TRY(const bool holds, compare(*this, expr.ops[i], left, right));
        if (!holds) return Value::boolean(false);
        left = std::move(right);
    }
    return Value::boolean(true);
}

Result<Value> Interpreter::eval_concat(const Expr& expr) {
    StringBuilder out;
    for (const ExprPtr& operand : expr.operands) {
        BLOOM_TRY(const Value value, eval(*operand));
        BLOOM_OK(append_str(out, value, budget_));
    }
    return std::move(out).finish();
}

Result<Value> Interpreter::eval_conditional(const Expr& expr) {
    BLOOM_TRY(const Value test, eval(*expr.operands[0]));
    if (truthy(test)) return eval(*expr.operands[1]);
    return expr.operands[2] ? eval(*expr.operands[2]) : Result<Value>(Value());
}

Result<Value> Interpreter::apply_filter(const Value& name, const Value& input,
                                        CallArguments& args) {
    const FilterFn filter = name.is(Kind::string) ? find_filter(name.text()) : nullptr;
    if (filter == nullptr) return failure(fmt::format("no filter named {}", quoted(name.text())));
    BLOOM_OK(budget_.spend(1));
    return filter(*this, input, args);
}

Result<bool> Interpreter::apply_test(const Value& name, const Value& input, CallArguments& args) {
    const TestFn test = name.is(Kind::string) ? find_test(name.text()) : nullptr;
    if (test == nullptr) return failure(fmt::format("no test named {}", quoted(name.text())));
    BLOOM_OK(budget_.spend(1));
    return test(*this, input, args);
}

} // namespace bloom::text::jinja
