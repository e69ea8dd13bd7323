#include <array>
#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "text/jinja/library.hpp"
#include "text/jinja/parser_internal.hpp"

namespace bloom::text::jinja {

Result<ExprPtr> Parser::parse_expression() {
    const Level level(*this);
    BLOOM_OK(check_depth());
    return parse_conditional();
}

Result<ExprPtr> Parser::parse_tuple(TupleRules rules) {
    const Level level(*this);
    BLOOM_OK(check_depth());
    auto tuple = make(ExprKind::tuple);
    bool is_tuple = false;
    for (;;) {
        const TokenKind kind = current().kind;
        const bool ended = kind == TokenKind::block_end || kind == TokenKind::variable_end ||
                           kind == TokenKind::end || at_op(")") ||
                           (!rules.end_name.empty() && at_name(rules.end_name));
        if (ended) break;
        BLOOM_TRY(ExprPtr item, rules.conditional ? parse_expression() : parse_or());
        tuple->operands.push_back(std::move(item));
        if (!skip_op(",")) break;
        is_tuple = true;
    }
    if (!is_tuple) {
        if (tuple->operands.size() == 1) return std::move(tuple->operands[0]);
        if (!rules.parenthesized) return unexpected();
    }
    return tuple;
}

Result<ExprPtr> Parser::parse_conditional() {
    BLOOM_TRY(ExprPtr value, parse_or());
    while (skip_name("if")) {
        auto node = make(ExprKind::conditional);
        BLOOM_TRY(ExprPtr test, parse_or());
        node->operands.push_back(std::move(test));
        node->operands.push_back(std::move(value));
        ExprPtr otherwise;
        if (skip_name("else")) {
            BLOOM_TRY(otherwise, parse_expression());
        }
        node->operands.push_back(std::move(otherwise));
        value = std::move(node);
    }
    return value;
}

Result<ExprPtr> Parser::parse_or() {
    BLOOM_TRY(ExprPtr left, parse_and());
    while (skip_name("or")) {
        BLOOM_TRY(ExprPtr right, parse_and());
        left = make(ExprKind::logical_or, std::move(left));
        left->operands.push_back(std::move(right));
    }
    return left;
}

Result<ExprPtr> Parser::parse_and() {
    BLOOM_TRY(ExprPtr left, parse_not());
    while (skip_name("and")) {
        BLOOM_TRY(ExprPtr right, parse_not());
        left = make(ExprKind::logical_and, std::move(left));
        left->operands.push_back(std::move(right));
    }
    return left;
}

Result<ExprPtr> Parser::parse_not() {
    if (!at_name("not")) return parse_compare();
    const Level level(*this);
    BLOOM_OK(check_depth());
    next();
    BLOOM_TRY(ExprPtr operand, parse_not());
    return make(ExprKind::logical_not, std::move(operand));
}

Result<ExprPtr> Parser::parse_compare() {
    static constexpr std::array<std::pair<std::string_view, Op>, 6> kOps{{{"==", Op::eq},
                                                                          {"!=", Op::ne},
                                                                          {"<", Op::lt},
                                                                          {"<=", Op::le},
                                                                          {">", Op::gt},
                                                                          {">=", Op::ge}}};
    BLOOM_TRY(ExprPtr left, parse_sum());
    ExprPtr node;
    for (;;) {
        std::optional<Op> op;
        for (const auto& [text, meaning] : kOps) {
            if (at_op(text)) op = meaning;
        }
        if (at_name("in")) op = Op::in;
        if (at_name("not") && ahead().kind == TokenKind::name && ahead().text == "in") {
            op = Op::not_in;
            next();
        }
        if (!op) break;
        next();
        BLOOM_TRY(ExprPtr right, parse_sum());
        if (!node) node = make(ExprKind::compare, std::move(left));
        node->ops.push_back(*op);
        node->operands.push_back(std::move(right));
    }
    return node ? std::move(node) : std::move(left);
}

Result<ExprPtr> Parser::parse_sum() {
    BLOOM_TRY(ExprPtr left, parse_concat());
    while (at_op("+") || at_op("-")) {
        const Op op = at_op("+") ? Op::add : Op::sub;
        next();
        BLOOM_TRY(ExprPtr right, parse_concat());
        left = make(ExprKind::binary, std::move(left));
        left->op = op;
        left->operands.push_back(std::move(right));
    }
    return left;
}

Result<ExprPtr> Parser::parse_concat() {
    BLOOM_TRY(ExprPtr left, parse_product());
    if (!at_op("~")) return left;
    auto node = make(ExprKind::concat, std::move(left));
    while (skip_op("~")) {
        BLOOM_TRY(ExprPtr right, parse_product());
        node->operands.push_back(std::move(right));
    }
    return node;
}

Result<ExprPtr> Parser::parse_product() {
    BLOOM_TRY(ExprPtr left, parse_power());
    for (;;) {
        Op op = Op::mul;
        if (at_op("/")) {
            op = Op::div;
        } else if (at_op("//")) {
            op = Op::floor_div;
        } else if (at_op("%")) {
            op = Op::mod;
        } else if (!at_op("*")) {
            return left;
        }
        next();
        BLOOM_TRY(ExprPtr right, parse_power());
        left = make(ExprKind::binary, std::move(left));
        left->op = op;
        left->operands.push_back(std::move(right));
    }
}

Result<ExprPtr> Parser::parse_power() {
    BLOOM_TRY(ExprPtr left, parse_unary(true));
    while (skip_op("**")) {
        BLOOM_TRY(ExprPtr right, parse_unary(true));
        left = make(ExprKind::binary, std::move(left));
        left->op = Op::pow;
        left->operands.push_back(std::move(right));
    }
    return left;
}

Result<ExprPtr> Parser::parse_unary(bool with_filters) {
    const Level level(*this);
    BLOOM_OK(check_depth());
    ExprPtr node;
    if (at_op("-") || at_op("+")) {
        const ExprKind kind = at_op("-") ? ExprKind::negate : ExprKind::plus;
        next();
        BLOOM_TRY(ExprPtr operand, parse_unary(false));
        node = make(kind, std::move(operand));
    } else {
        BLOOM_TRY(node, parse_primary());
    }
    BLOOM_TRY(node, parse_postfix(std::move(node)));
    if (with_filters) {
        BLOOM_TRY(node, parse_filters(std::move(node)));
    }
    return node;
}

Result<ExprPtr> Parser::parse_name() {
    const std::string& text = current().text;
    if (text == "true" || text == "True" || text == "false" || text == "False") {
        auto node = make(ExprKind::constant);
        node->value = Value::boolean(text == "true" || text == "True");
        next();
        return node;
    }
    if (text == "none" || text == "None") {
        auto node = make(ExprKind::constant);
        node->value = Value::none();
        next();
        return node;
    }
    auto node = make(ExprKind::name);
    node->name = intern(text);
    next();
    return node;
}

Result<ExprPtr> Parser::parse_number() {
    auto node = make(ExprKind::constant);
    if (current().kind == TokenKind::integer) {
        node->value = Value::exact_integer(current().text);
    } else {
        double value = 0;
        const std::string& text = current().text;
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
        if (parsed.ec != std::errc{}) return fail("a float that can be represented");
        node->value = Value::floating(value);
    }
    next();
    return node;
}

Result<ExprPtr> Parser::parse_primary() {
    switch (current().kind) {
    case TokenKind::name:
        return parse_name();
    case TokenKind::integer:
    case TokenKind::floating:
        return parse_number();
    case TokenKind::string: {
        auto node = make(ExprKind::constant);
        std::string text;
        for (; current().kind == TokenKind::string; next())
            text += current().text;
        attributes_.insert(text);
        node->value = Value::string(std::move(text));
        return node;
    }
    default:
        break;
    }
    if (skip_op("(")) {
        BLOOM_TRY(ExprPtr inner, parse_tuple({.parenthesized = true}));
        BLOOM_OK(expect_op(")"));
        return inner;
    }
    if (at_op("[")) return parse_list();
    if (at_op("{")) return parse_dict();
    return unexpected();
}

Result<ExprPtr> Parser::parse_list() {
    auto node = make(ExprKind::list);
    next();
    while (!at_op("]")) {
        if (!node->operands.empty()) {
            BLOOM_OK(expect_op(","));
            if (at_op("]")) break;
        }
        BLOOM_TRY(ExprPtr item, parse_expression());
        node->operands.push_back(std::move(item));
    }
    BLOOM_OK(expect_op("]"));
    return node;
}

Result<ExprPtr> Parser::parse_dict() {
    auto node = make(ExprKind::dict);
    next();
    while (!at_op("}")) {
        if (!node->operands.empty()) {
            BLOOM_OK(expect_op(","));
            if (at_op("}")) break;
        }
        BLOOM_TRY(ExprPtr key, parse_expression());
        BLOOM_OK(expect_op(":"));
        BLOOM_TRY(ExprPtr value, parse_expression());
        node->operands.push_back(std::move(key));
        node->operands.push_back(std::move(value));
    }
    BLOOM_OK(expect_op("}"));
    return node;
}

Result<ExprPtr> Parser::parse_postfix(ExprPtr node) {
    for (;;) {
        BLOOM_OK(check_depth());
        if (at_op(".") || at_op("[")) {
            BLOOM_TRY(node, parse_subscript(std::move(node)));
        } else if (at_op("(")) {
            BLOOM_TRY(node, parse_call(std::move(node)));
        } else {
            return node;
        }
    }
}

Result<ExprPtr> Parser::parse_subscript(ExprPtr node) {
    if (skip_op(".")) {
        if (current().kind == TokenKind::name) {
            auto out = make(ExprKind::attribute, std::move(node));
            out->text = current().text;
            attributes_.insert(out->text);
            next();
            return out;
        }
        if (current().kind != TokenKind::integer) return fail("expected a name or a number");
        auto out = make(ExprKind::item, std::move(node));
        BLOOM_TRY(ExprPtr index, parse_number());
        out->operands.push_back(std::move(index));
        return out;
    }
    BLOOM_OK(expect_op("["));
    ExprPtr parts[3];
    std::size_t n_colons = 0;
    while (!at_op("]")) {
        if (at_op(":")) {
            if (++n_colons > 2) return unexpected();
            next();
            continue;
        }
        if (parts[n_colons]) return fail("expected ']'");
        BLOOM_TRY(parts[n_colons], parse_expression());
    }
    next();
    if (n_colons == 0) {
        if (!parts[0]) return unexpected();
        auto out = make(ExprKind::item, std::move(node));
        out->operands.push_back(std::move(parts[0]));
        return out;
    }
    auto out = make(ExprKind::slice, std::move(node));
    for (ExprPtr& part : parts)
        out->operands.push_back(std::move(part));
    return out;
}

Result<> Parser::parse_arguments(Arguments& out) {
    BLOOM_OK(expect_op("("));
    bool comma = false;
    while (!at_op(")")) {
        if (comma) {
            BLOOM_OK(expect_op(","));
            if (at_op(")")) break;
        }
        comma = true;
        if (skip_op("**")) {
            if (out.star_star) return fail("expected one ** argument");
            BLOOM_TRY(out.star_star, parse_expression());
        } else if (skip_op("*")) {
            if (out.star || out.star_star) return fail("expected one * argument before **");
            BLOOM_TRY(out.star, parse_expression());
        } else if (current().kind == TokenKind::name && ahead().kind == TokenKind::op &&
                   ahead().text == "=") {
            if (out.star_star) return fail("expected no argument after **");
            std::string name = current().text;
            next();
            next();
            BLOOM_TRY(ExprPtr value, parse_expression());
            out.named.emplace_back(std::move(name), std::move(value));
        } else {
            if (!out.named.empty() || out.star || out.star_star) {
                return fail("expected no positional argument after named ones");
            }
            BLOOM_TRY(ExprPtr value, parse_expression());
            out.positional.push_back(std::move(value));
        }
    }
    return expect_op(")");
}

Result<ExprPtr> Parser::parse_call(ExprPtr node) {
    auto out = make(ExprKind::call, std::move(node));
    BLOOM_OK(parse_arguments(out->arguments));
    return out;
}

Result<ExprPtr> Parser::parse_filters(ExprPtr node) {
    for (;;) {
        BLOOM_OK(check_depth());
        if (skip_op("|")) {
            BLOOM_TRY(node, parse_filter(std::move(node)));
        } else if (skip_name("is")) {
            BLOOM_TRY(node, parse_test(std::move(node)));
        } else if (at_op("(")) {
            BLOOM_TRY(node, parse_call(std::move(node)));
        } else {
            return node;
        }
    }
}

Result<std::string> Parser::parse_dotted_name() {
    std::string name;
    do {
        if (current().kind != TokenKind::name) return fail("expected a name");
        name += name.empty() ? "" : ".";
        name += current().text;
        next();
    } while (skip_op("."));
    return name;
}

Result<ExprPtr> Parser::parse_filter(ExprPtr node) {
    auto out = make(ExprKind::filter, std::move(node));
    BLOOM_TRY(out->text, parse_dotted_name());
    out->filter = find_filter(out->text);
    if (at_op("(")) BLOOM_OK(parse_arguments(out->arguments));
    return out;
}

Result<ExprPtr> Parser::parse_test(ExprPtr node) {
    const bool negated = skip_name("not");
    auto out = make(ExprKind::test, std::move(node));
    BLOOM_TRY(out->text, parse_dotted_name());
    out->test = find_test(out->text);
    const TokenKind kind = current().kind;
    const bool operand = kind == TokenKind::name || kind == TokenKind::string ||
                         kind == TokenKind::integer || kind == TokenKind::floating || at_op("[") ||
                         at_op("{");
    if (at_op("(")) {
        BLOOM_OK(parse_arguments(out->arguments));
    } else if (operand && !at_name("else") && !at_name("or") && !at_name("and")) {
        if (at_name("is")) return fail("tests cannot be chained with is");
        // `x is in y` and the like: one operand without brackets. Words that go on with the
        // expression around are taken as an operand too, as Jinja2 does.
        BLOOM_TRY(ExprPtr argument, parse_primary());
        BLOOM_TRY(argument, parse_postfix(std::move(argument)));
        out->arguments.positional.push_back(std::move(argument));
    }
    if (!negated) return out;
    return make(ExprKind::logical_not, std::move(out));
}

} // namespace bloom::text::jinja
