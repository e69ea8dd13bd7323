#include "text/jinja/interpreter.hpp"

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>

#include "text/jinja/operations.hpp"
#include "text/jinja/parser.hpp"
#include "text/jinja/python_text.hpp"

namespace bloom::text::jinja {

Result<> bind_arguments(const CallArguments& args, std::string_view function,
                        const std::string_view* names, std::size_t n_names, std::size_t n_required,
                        const Value** out) {
    if (args.positional.size() > n_names) {
        return failure(fmt::format("{}() takes at most {} arguments", function, n_names));
    }
    for (std::size_t i = 0; i < args.positional.size(); ++i)
        out[i] = &args.positional[i];
    for (const auto& [name, value] : args.named) {
        std::size_t i = 0;
        while (i < n_names && names[i] != name)
            ++i;
        if (i == n_names || out[i] != nullptr) {
            return failure(
                fmt::format("{}() got an unexpected argument {}", function, quoted(name)));
        }
        out[i] = &value;
    }
    for (std::size_t i = 0; i < n_required; ++i) {
        if (out[i] == nullptr) {
            return failure(fmt::format("{}() misses its argument '{}'", function, names[i]));
        }
    }
    return {};
}

Interpreter::Interpreter(const Program& program, const Value& globals, const RenderLimits& limits)
    : program_(program), budget_(limits) {
    globals_.reserve(program.names.size());
    for (const std::string& name : program.names) {
        if (const Value* given = globals.find(name)) {
            globals_.push_back(*given);
        } else if (const FunctionFn function = find_function(name)) {
            auto callable = std::make_shared<CallableObject>();
            callable->function = function;
            globals_.emplace_back(Kind::callable, std::move(callable));
        } else {
            globals_.push_back(Value::undefined(&name));
        }
    }
    push_scope(0);
}

Interpreter::~Interpreter() {
    for (const Value& value : kept_) {
        if (value.is(Kind::name_space)) {
            DictObject& attributes = value.as<NamespaceObject>().attributes;
            attributes.index.clear();
            attributes.members.clear();
        } else if (value.is(Kind::sequence)) {
            value.as<SequenceObject>().items.clear();
        } else if (value.is(Kind::loop)) {
            value.as<LoopObject>().changed.clear();
        }
    }
}

Result<Rendered> Interpreter::run() {
    auto done = execute(program_.body);
    if (!done) {
        Error error = std::move(done).error();
        // The text of raise_exception() is for the client, as the template wrote it.
        if (error.code() == Code::invalid_argument) return error;
        return std::move(error).with_context(
            fmt::format("template {}, line {}", quoted(program_.title), line_));
    }
    Rendered rendered;
    std::move(main_).take(rendered.text, rendered.user_ranges);
    return rendered;
}

// ---- scopes

std::uint32_t Interpreter::push_scope(std::uint32_t parent) {
    const std::uint32_t before = current_;
    scopes_.push_back({parent, next_serial_++, {}});
    current_ = static_cast<std::uint32_t>(scopes_.size() - 1);
    return before;
}

void Interpreter::pop_scope(std::uint32_t back_to) {
    scopes_.pop_back();
    current_ = back_to;
}

/// The next iteration of a loop begins with nothing defined, as a new scope would.
void Interpreter::renew_scope() {
    scopes_[current_].names.clear();
    scopes_[current_].serial = next_serial_++;
}

ScopeRef Interpreter::here() const {
    return {current_, scopes_[current_].serial};
}

std::uint32_t Interpreter::resolve(ScopeRef ref) const {
    return ref.index < scopes_.size() && scopes_[ref.index].serial == ref.serial ? ref.index : 0;
}

void Interpreter::define(NameId name, Value value) {
    for (auto& [known, old] : scopes_[current_].names) {
        if (known == name) {
            old = std::move(value);
            return;
        }
    }
    scopes_[current_].names.emplace_back(name, std::move(value));
}

Value Interpreter::lookup(NameId name) const {
    for (std::uint32_t at = current_;; at = scopes_[at].parent) {
        for (const auto& [known, value] : scopes_[at].names) {
            if (known == name) return value;
        }
        if (at == 0) return globals_[name];
    }
}

Result<> Interpreter::assign(const Target& target, const Value& value) {
    switch (target.kind) {
    case Target::Kind::name:
        define(target.name, value);
        return {};
    case Target::Kind::attribute: {
        const Value space = lookup(target.name);
        if (!space.is(Kind::name_space)) {
            return failure("cannot assign an attribute on an object that is no namespace");
        }
        space.as<NamespaceObject>().attributes.set(Value::string(target.attribute), value);
        return {};
    }
    case Target::Kind::tuple:
        break;
    }
    BLOOM_TRY(const std::vector<Value> items, iterate(*this, value));
    if (items.size() != target.items.size()) {
        return failure(fmt::format("{} values to unpack where {} are expected", items.size(),
                                   target.items.size()));
    }
    for (std::size_t i = 0; i < items.size(); ++i)
        BLOOM_OK(assign(target.items[i], items[i]));
    return {};
}

// ---- statements

Result<Interpreter::Flow> Interpreter::execute(const std::vector<Stmt>& body) {
    for (const Stmt& stmt : body) {
        BLOOM_TRY(const Flow flow, execute_one(stmt));
        if (flow != Flow::next) return flow;
    }
    return Flow::next;
}

Result<Interpreter::Flow> Interpreter::execute_one(const Stmt& stmt) {
    line_ = stmt.line;
    BLOOM_OK(budget_.spend(1));
    switch (stmt.kind) {
    case StmtKind::text:
        BLOOM_OK(budget_.grow(out_->size(), stmt.text.size()));
        out_->append(stmt.text);
        return Flow::next;
    case StmtKind::output:
        BLOOM_OK(execute_output(stmt));
        return Flow::next;
    case StmtKind::conditional: {
        BLOOM_TRY(const Value test, eval(*stmt.expr));
        if (++depth_ > kMaxEvaluationDepth) {
            return Error{Code::limit_reached, "the chat template recurses too deeply"};
        }
        auto flow = execute(truthy(test) ? stmt.body : stmt.otherwise);
        --depth_;
        return flow;
    }
    case StmtKind::loop:
        return execute_loop(stmt);
    case StmtKind::set: {
        BLOOM_TRY(const Value value, eval(*stmt.expr));
        BLOOM_OK(assign(stmt.target, value));
        return Flow::next;
    }
    case StmtKind::set_block:
        BLOOM_OK(execute_set_block(stmt));
        return Flow::next;
    case StmtKind::macro:
        define(stmt.name, make_macro(stmt));
        return Flow::next;
    case StmtKind::call_block:
        BLOOM_OK(execute_call_block(stmt));
        return Flow::next;
    case StmtKind::filter_block:
        BLOOM_OK(execute_filter_block(stmt));
        return Flow::next;
    case StmtKind::with:
        BLOOM_OK(execute_with(stmt));
        return Flow::next;
    case StmtKind::scope: {
        const std::uint32_t before = push_scope(current_);
        BLOOM_TRY(const Flow flow, execute(stmt.body));
        pop_scope(before);
        return flow;
    }
    case StmtKind::break_loop:
        return Flow::break_loop;
    case StmtKind::continue_loop:
        return Flow::continue_loop;
    }
    return Flow::next;
}

Result<> Interpreter::execute_output(const Stmt& stmt) {
    BLOOM_TRY(const Value value, eval(*stmt.expr));
    return append_str(*out_, value, budget_);
}

Result<Interpreter::Flow> Interpreter::execute_loop(const Stmt& stmt) {
    BLOOM_TRY(const Value over, eval(*stmt.expr));
    BLOOM_TRY(std::vector<Value> items, iterate(*this, over));
    BLOOM_OK(run_loop(stmt, std::move(items), 0));
    return Flow::next;
}

/// Drops the items for which `for ... if test` is false.
Result<> Interpreter::filter_items(const Stmt& stmt, std::vector<Value>& items) {
    const std::uint32_t before = push_scope(current_);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        renew_scope();
        BLOOM_OK(assign(stmt.target, items[i]));
        BLOOM_TRY(const Value test, eval(*stmt.test));
        if (!truthy(test)) continue;
        if (kept != i) items[kept] = std::move(items[i]);
        ++kept;
    }
    items.resize(kept);
    pop_scope(before);
    return {};
}

/// `for ... if test` whose body does not ask where the loop is: each item is tested when its turn
/// comes, so that the test sees what the body has done to a namespace.
Result<> Interpreter::run_tested_loop(const Stmt& stmt, const std::vector<Value>& items) {
    const std::uint32_t before = push_scope(current_);
    bool any = false;
    for (const Value& item : items) {
        BLOOM_OK(budget_.spend(1));
        renew_scope();
        BLOOM_OK(assign(stmt.target, item));
        BLOOM_TRY(const Value test, eval(*stmt.test));
        if (!truthy(test)) continue;
        any = true;
        BLOOM_TRY(const Flow flow, execute(stmt.body));
        if (flow == Flow::break_loop) break;
    }
    if (!any) {
        renew_scope();
        BLOOM_OK(execute(stmt.otherwise));
    }
    pop_scope(before);
    return {};
}

Result<> Interpreter::run_loop(const Stmt& stmt, std::vector<Value> items, std::uint32_t depth) {
    if (++depth_ > kMaxEvaluationDepth) {
        return Error{Code::limit_reached, "the chat template recurses too deeply"};
    }
    if (stmt.test && !stmt.uses_loop && !stmt.recursive) {
        BLOOM_OK(run_tested_loop(stmt, items));
        --depth_;
        return {};
    }
    if (stmt.test) BLOOM_OK(filter_items(stmt, items));
    const ScopeRef outside = here();
    const std::uint32_t before = push_scope(current_);
    if (items.empty()) {
        BLOOM_OK(execute(stmt.otherwise));
    } else {
        auto loop = std::make_shared<LoopObject>();
        loop->items = std::move(items);
        for (const Value& item : loop->items)
            loop->deepen(item);
        loop->depth = depth;
        loop->stmt = &stmt;
        loop->scope = outside;
        const Value handle(Kind::loop, loop);
        for (; loop->index < loop->items.size(); ++loop->index) {
            BLOOM_OK(budget_.spend(1));
            renew_scope();
            define(kNameLoop, handle);
            BLOOM_OK(assign(stmt.target, loop->items[loop->index]));
            BLOOM_TRY(const Flow flow, execute(stmt.body));
            if (flow == Flow::break_loop) break;
        }
    }
    pop_scope(before);
    --depth_;
    return {};
}

/// The text that a body writes, in a scope of its own.
Result<Value> Interpreter::capture(const std::vector<Stmt>& body) {
    if (++depth_ > kMaxEvaluationDepth) {
        return Error{Code::limit_reached, "the chat template recurses too deeply"};
    }
    const std::uint32_t before = push_scope(current_);
    StringBuilder text;
    StringBuilder* const outer = std::exchange(out_, &text);
    auto done = execute(body);
    out_ = outer;
    if (!done) return std::unexpected(std::move(done).error());
    pop_scope(before);
    --depth_;
    return std::move(text).finish();
}

Result<> Interpreter::execute_set_block(const Stmt& stmt) {
    BLOOM_TRY(Value text, capture(stmt.body));
    captured_.push_back(std::move(text));
    BLOOM_TRY(const Value value, eval(*stmt.expr));
    captured_.pop_back();
    return assign(stmt.target, value);
}

Result<> Interpreter::execute_filter_block(const Stmt& stmt) {
    BLOOM_TRY(Value text, capture(stmt.body));
    captured_.push_back(std::move(text));
    BLOOM_TRY(const Value value, eval(*stmt.expr));
    captured_.pop_back();
    return append_str(*out_, value, budget_);
}

Result<> Interpreter::execute_with(const Stmt& stmt) {
    std::vector<Value> values;
    for (const auto& [target, expr] : stmt.bindings) {
        BLOOM_TRY(Value value, eval(*expr));
        values.push_back(std::move(value));
    }
    const std::uint32_t before = push_scope(current_);
    for (std::size_t i = 0; i < values.size(); ++i) {
        BLOOM_OK(assign(stmt.bindings[i].first, values[i]));
    }
    BLOOM_OK(execute(stmt.body));
    pop_scope(before);
    return {};
}

Value Interpreter::make_macro(const Stmt& stmt) const {
    auto macro = std::make_shared<CallableObject>();
    macro->macro = &stmt;
    macro->scope = here();
    return {Kind::callable, std::move(macro)};
}

Result<> Interpreter::execute_call_block(const Stmt& stmt) {
    const Expr& expr = *stmt.expr;
    BLOOM_TRY(const Value callee, eval(*expr.operands[0]));
    CallArguments args;
    BLOOM_OK(eval_arguments(expr.arguments, args));
    args.named.emplace_back("caller", make_macro(stmt));
    BLOOM_TRY(const Value value, call(callee, args));
    return append_str(*out_, value, budget_);
}

// ---- calls

Result<Value> Interpreter::call(const Value& callee, CallArguments& args) {
    if (callee.is(Kind::loop)) return call_loop(callee.as<LoopObject>(), args);
    if (callee.is(Kind::undefined)) return undefined_failure(callee);
    if (!callee.is(Kind::callable)) {
        return failure(fmt::format("'{}' object is not callable", type_name(callee)));
    }
    const auto& target = callee.as<CallableObject>();
    if (target.macro != nullptr) return call_macro(target, args);
    if (target.method != nullptr) return target.method(*this, target.self, args);
    return target.function(*this, args);
}

Result<> Interpreter::bind_macro(const Stmt& macro, CallArguments& args) {
    std::size_t n_given = std::min(args.positional.size(), macro.parameters.size());
    auto take_named = [&](std::string_view name) -> std::optional<Value> {
        for (auto at = args.named.begin(); at != args.named.end(); ++at) {
            if (at->first != name) continue;
            Value value = std::move(at->second);
            args.named.erase(at);
            return value;
        }
        return std::nullopt;
    };
    for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
        const Parameter& parameter = macro.parameters[i];
        const std::string& name = program_.names[parameter.name];
        std::optional<Value> value;
        if (i < n_given) {
            value = args.positional[i];
        } else {
            value = take_named(name);
        }
        if (!value && parameter.fallback) {
            BLOOM_TRY(value, eval(*parameter.fallback));
        }
        define(parameter.name, value ? *std::move(value) : Value::undefined(&name));
    }
    if (macro.uses_caller) {
        auto caller = take_named("caller");
        define(kNameCaller,
               caller ? *std::move(caller) : Value::undefined(&program_.names[kNameCaller]));
    }
    if (macro.uses_kwargs) {
        std::vector<std::pair<Value, Value>> rest;
        for (auto& [name, value] : args.named) {
            rest.emplace_back(Value::string(name), std::move(value));
        }
        args.named.clear();
        define(kNameKwargs, Value::dict(std::move(rest)));
    }
    if (!args.named.empty()) {
        return failure(fmt::format("macro '{}' takes no keyword argument {}", macro.text,
                                   quoted(args.named.front().first)));
    }
    if (macro.uses_varargs) {
        std::vector<Value> rest(args.positional.begin() + static_cast<std::ptrdiff_t>(n_given),
                                args.positional.end());
        define(kNameVarargs, make_sequence(std::move(rest), Form::tuple));
    } else if (args.positional.size() > macro.parameters.size()) {
        return failure(fmt::format("macro '{}' takes not more than {} arguments", macro.text,
                                   macro.parameters.size()));
    }
    return {};
}

Result<Value> Interpreter::call_macro(const CallableObject& macro, CallArguments& args) {
    if (++call_depth_ > kMaxCallDepth) {
        return Error{Code::limit_reached, "the chat template recurses too deeply"};
    }
    const std::uint32_t before = push_scope(resolve(macro.scope));
    BLOOM_OK(bind_macro(*macro.macro, args));
    BLOOM_TRY(Value text, capture(macro.macro->body));
    pop_scope(before);
    --call_depth_;
    return text;
}

/// `loop(items)` inside a recursive loop: the same loop over other items, as text.
Result<Value> Interpreter::call_loop(const LoopObject& loop, CallArguments& args) {
    if (!loop.stmt->recursive) return failure("this loop is not recursive");
    static constexpr std::array<std::string_view, 1> kNames{"iterable"};
    BLOOM_TRY(const auto bound, match_arguments(args, "loop", kNames, 1));
    BLOOM_TRY(std::vector<Value> items, iterate(*this, *bound[0]));
    if (++call_depth_ > kMaxCallDepth) {
        return Error{Code::limit_reached, "the chat template recurses too deeply"};
    }
    StringBuilder text;
    StringBuilder* const outer = std::exchange(out_, &text);
    const std::uint32_t before = push_scope(resolve(loop.scope));
    BLOOM_OK(run_loop(*loop.stmt, std::move(items), loop.depth + 1));
    pop_scope(before);
    out_ = outer;
    --call_depth_;
    return std::move(text).finish();
}

// ---- the public face

Result<Template> Template::parse(std::string_view source, std::string_view name) {
    BLOOM_TRY(auto program, parse_program(source, name));
    return Template(std::move(program));
}

Result<Rendered> Template::render(const Value& globals, const RenderLimits& limits) const {
    BLOOM_CHECK(globals.is(Kind::dict));
    return Interpreter(*program_, globals, limits).run();
}

bool Template::mentions(std::string_view name) const noexcept {
    for (const auto* list : {&program_->names, &program_->attributes}) {
        for (const std::string& known : *list) {
            if (known == name) return true;
        }
    }
    return false;
}

} // namespace bloom::text::jinja
