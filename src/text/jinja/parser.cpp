#include "text/jinja/parser.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <bloom/base/text.hpp>

#include "text/jinja/parser_internal.hpp"

namespace bloom::text::jinja {

Parser::Parser(std::vector<Token> tokens, Program& program)
    : tokens_(std::move(tokens)), program_(program) {
    for (const char* name : {"loop", "caller", "varargs", "kwargs"})
        intern(name);
}

Result<> Parser::run() {
    BLOOM_TRY(program_.body, parse_body({}, nullptr));
    BLOOM_OK(check_depth());
    program_.attributes.assign(attributes_.begin(), attributes_.end());
    return {};
}

Result<> Parser::check_depth() const {
    if (depth_ <= kMaxNesting && !too_tall_) return {};
    return Error{Code::limit_reached, fmt::format("line {}: more than {} levels of nesting",
                                                  current().line, kMaxNesting)};
}

bool Parser::skip_op(std::string_view op) {
    if (!at_op(op)) return false;
    next();
    return true;
}

bool Parser::skip_name(std::string_view name) {
    if (!at_name(name)) return false;
    next();
    return true;
}

Result<> Parser::expect_op(std::string_view op) {
    if (!skip_op(op)) return fail(fmt::format("expected '{}'", op));
    return {};
}

Result<> Parser::expect_name(std::string_view name) {
    if (!skip_name(name)) return fail(fmt::format("expected '{}'", name));
    return {};
}

Result<> Parser::expect(TokenKind kind, std::string_view what) {
    if (current().kind != kind) return fail(fmt::format("expected {}", what));
    next();
    return {};
}

Error Parser::fail(std::string_view what) const {
    std::string got = "the end of the tag";
    if (current().kind == TokenKind::end) got = "the end of the template";
    if (!current().text.empty()) got = quoted(current().text, 40);
    return {Code::corrupt, fmt::format("line {}: {}, got {}", current().line, what, got)};
}

Error Parser::unexpected() const {
    return fail("expected an expression");
}

NameId Parser::intern(const std::string& name) {
    const auto [at, fresh] = ids_.emplace(name, static_cast<NameId>(program_.names.size()));
    if (fresh) program_.names.push_back(name);
    if (at->second < kWellKnownNames) seen_.insert(at->second);
    return at->second;
}

ExprPtr Parser::make(ExprKind kind) const {
    auto node = std::make_unique<Expr>();
    node->kind = kind;
    node->line = current().line;
    return node;
}

/// A node on top of another. Chains such as a.b.c or 1 + 1 + 1 grow a tree without nesting in the
/// source; their height is bounded like everything that is walked by recursion.
ExprPtr Parser::make(ExprKind kind, ExprPtr operand) {
    auto node = make(kind);
    node->line = operand->line;
    node->height = operand->height + 1;
    if (node->height > kMaxEvaluationDepth) too_tall_ = true;
    node->operands.push_back(std::move(operand));
    return node;
}

/// Statements up to a tag whose name is one of `ends`, which is left current and named in `found`.
Result<std::vector<Stmt>> Parser::parse_body(std::initializer_list<std::string_view> ends,
                                             std::string* found) {
    const Level level(*this);
    BLOOM_OK(check_depth());
    std::vector<Stmt> out;
    for (;;) {
        Stmt stmt;
        stmt.line = current().line;
        switch (current().kind) {
        case TokenKind::data:
            stmt.text = current().text;
            next();
            out.push_back(std::move(stmt));
            break;
        case TokenKind::variable_begin: {
            next();
            stmt.kind = StmtKind::output;
            BLOOM_TRY(stmt.expr, parse_tuple({}));
            BLOOM_OK(expect(TokenKind::variable_end, "'}}'"));
            out.push_back(std::move(stmt));
            break;
        }
        case TokenKind::block_begin:
            next();
            if (current().kind != TokenKind::name) return fail("expected a tag name");
            if (std::find(ends.begin(), ends.end(), current().text) != ends.end()) {
                *found = current().text;
                return out;
            }
            BLOOM_OK(parse_statement(out));
            BLOOM_OK(expect(TokenKind::block_end, "'%}'"));
            break;
        default:
            if (current().kind != TokenKind::end || ends.size() != 0) {
                return fail(
                    fmt::format("expected '{{% {} %}}'", ends.size() == 0 ? "" : *ends.begin()));
            }
            return out;
        }
    }
}

Result<> Parser::parse_statement(std::vector<Stmt>& out) {
    const std::uint32_t line = current().line;
    const std::string tag = current().text;
    auto keep = [&](Result<Stmt> stmt) -> Result<> {
        if (!stmt) return std::unexpected(std::move(stmt).error());
        stmt->line = line;
        out.push_back(*std::move(stmt));
        return {};
    };
    if (tag == "if") return keep(parse_if());
    if (tag == "for") return keep(parse_for());
    if (tag == "set") return keep(parse_set());
    if (tag == "macro") return keep(parse_macro());
    if (tag == "call") return keep(parse_call_block());
    if (tag == "filter") return keep(parse_filter_block());
    if (tag == "with") return keep(parse_with());
    Stmt stmt;
    if (tag == "generation") {
        next();
        stmt.kind = StmtKind::scope;
        BLOOM_OK(parse_block_body(stmt, "endgeneration"));
        return keep(std::move(stmt));
    }
    if (tag == "break" || tag == "continue") {
        if (loops_ == 0) return fail("loop control outside of a loop");
        next();
        stmt.kind = tag == "break" ? StmtKind::break_loop : StmtKind::continue_loop;
        return keep(std::move(stmt));
    }
    if (tag == "print") {
        next();
        do {
            Stmt print;
            print.kind = StmtKind::output;
            BLOOM_TRY(print.expr, parse_expression());
            BLOOM_OK(keep(std::move(print)));
        } while (skip_op(","));
        return {};
    }
    return fail("unknown or unsupported tag");
}

/// `%} ... {% end`, leaving the closing `%}` to the caller.
Result<> Parser::parse_block_body(Stmt& stmt, std::string_view end) {
    skip_op(":");
    BLOOM_OK(expect(TokenKind::block_end, "'%}'"));
    std::string found;
    BLOOM_TRY(stmt.body, parse_body({end}, &found));
    next();
    return {};
}

Result<Stmt> Parser::parse_if() {
    const Level level(*this);
    BLOOM_OK(check_depth());
    Stmt stmt;
    stmt.kind = StmtKind::conditional;
    stmt.line = current().line;
    next(); // if or elif
    BLOOM_TRY(stmt.expr, parse_tuple({.conditional = false}));
    skip_op(":");
    BLOOM_OK(expect(TokenKind::block_end, "'%}'"));
    std::string found;
    BLOOM_TRY(stmt.body, parse_body({"elif", "else", "endif"}, &found));
    if (found == "elif") {
        BLOOM_TRY(Stmt other, parse_if());
        stmt.otherwise.push_back(std::move(other));
        return stmt;
    }
    next();
    if (found == "else") {
        skip_op(":");
        BLOOM_OK(expect(TokenKind::block_end, "'%}'"));
        BLOOM_TRY(stmt.otherwise, parse_body({"endif"}, &found));
        next();
    }
    return stmt;
}

Result<Stmt> Parser::parse_for() {
    Stmt stmt;
    stmt.kind = StmtKind::loop;
    next();
    BLOOM_TRY(stmt.target, parse_target(false, false));
    BLOOM_OK(expect_name("in"));
    BLOOM_TRY(stmt.expr, parse_tuple({.conditional = false, .end_name = "recursive"}));
    if (skip_name("if")) {
        BLOOM_TRY(stmt.test, parse_expression());
    }
    stmt.recursive = skip_name("recursive");
    skip_op(":");
    BLOOM_OK(expect(TokenKind::block_end, "'%}'"));
    std::string found;
    std::set<NameId> outer;
    outer.swap(seen_);
    ++loops_;
    auto body = parse_body({"endfor", "else"}, &found);
    --loops_;
    stmt.uses_loop = seen_.erase(kNameLoop) > 0; // a loop around this one has a `loop` of its own
    seen_.insert(outer.begin(), outer.end());
    BLOOM_TRY(stmt.body, std::move(body));
    next();
    if (found == "else") {
        skip_op(":");
        BLOOM_OK(expect(TokenKind::block_end, "'%}'"));
        BLOOM_TRY(stmt.otherwise, parse_body({"endfor"}, &found));
        next();
    }
    return stmt;
}

Result<Stmt> Parser::parse_set() {
    Stmt stmt;
    next();
    BLOOM_TRY(stmt.target, parse_target(true, false));
    if (skip_op("=")) {
        stmt.kind = StmtKind::set;
        BLOOM_TRY(stmt.expr, parse_tuple({}));
        return stmt;
    }
    stmt.kind = StmtKind::set_block;
    stmt.expr = make(ExprKind::captured);
    while (skip_op("|")) {
        BLOOM_TRY(stmt.expr, parse_filter(std::move(stmt.expr)));
    }
    BLOOM_OK(parse_block_body(stmt, "endset"));
    return stmt;
}

Result<> Parser::parse_signature(Stmt& stmt) {
    BLOOM_OK(expect_op("("));
    bool defaults = false;
    while (!at_op(")")) {
        if (!stmt.parameters.empty()) BLOOM_OK(expect_op(","));
        if (current().kind != TokenKind::name) return fail("expected a parameter name");
        Parameter parameter;
        parameter.name = intern(current().text);
        next();
        if (skip_op("=")) {
            defaults = true;
            BLOOM_TRY(parameter.fallback, parse_expression());
        } else if (defaults) {
            return fail("a parameter without default follows one with");
        }
        stmt.parameters.push_back(std::move(parameter));
    }
    return expect_op(")");
}

/// The body of a macro or call block, noting which implicit names it uses.
Result<> Parser::parse_macro_body(Stmt& stmt, std::string_view end) {
    std::set<NameId> outer;
    outer.swap(seen_);
    const std::uint32_t loops = std::exchange(loops_, 0);
    auto parsed = parse_block_body(stmt, end);
    loops_ = loops;
    stmt.uses_caller = seen_.contains(kNameCaller);
    stmt.uses_varargs = seen_.contains(kNameVarargs);
    stmt.uses_kwargs = seen_.contains(kNameKwargs);
    seen_.insert(outer.begin(), outer.end());
    return parsed;
}

Result<Stmt> Parser::parse_macro() {
    Stmt stmt;
    stmt.kind = StmtKind::macro;
    next();
    if (current().kind != TokenKind::name) return fail("expected the macro's name");
    stmt.text = current().text;
    stmt.name = intern(stmt.text);
    next();
    BLOOM_OK(parse_signature(stmt));
    BLOOM_OK(parse_macro_body(stmt, "endmacro"));
    return stmt;
}

Result<Stmt> Parser::parse_call_block() {
    Stmt stmt;
    stmt.kind = StmtKind::call_block;
    stmt.text = "caller";
    next();
    if (at_op("(")) BLOOM_OK(parse_signature(stmt));
    BLOOM_TRY(stmt.expr, parse_expression());
    if (stmt.expr->kind != ExprKind::call) return fail("expected a call");
    BLOOM_OK(parse_macro_body(stmt, "endcall"));
    return stmt;
}

Result<Stmt> Parser::parse_filter_block() {
    Stmt stmt;
    stmt.kind = StmtKind::filter_block;
    next();
    stmt.expr = make(ExprKind::captured);
    do {
        BLOOM_TRY(stmt.expr, parse_filter(std::move(stmt.expr)));
    } while (skip_op("|"));
    BLOOM_OK(parse_block_body(stmt, "endfilter"));
    return stmt;
}

Result<Stmt> Parser::parse_with() {
    Stmt stmt;
    stmt.kind = StmtKind::with;
    next();
    while (current().kind != TokenKind::block_end) {
        if (!stmt.bindings.empty()) BLOOM_OK(expect_op(","));
        BLOOM_TRY(Target target, parse_target_item(false));
        BLOOM_OK(expect_op("="));
        BLOOM_TRY(ExprPtr value, parse_expression());
        stmt.bindings.emplace_back(std::move(target), std::move(value));
    }
    BLOOM_OK(parse_block_body(stmt, "endwith"));
    return stmt;
}

Result<Target> Parser::parse_target_item(bool with_namespace) {
    const Level level(*this);
    BLOOM_OK(check_depth());
    if (skip_op("(")) {
        BLOOM_TRY(Target inner, parse_target(false, false));
        BLOOM_OK(expect_op(")"));
        return inner;
    }
    if (current().kind != TokenKind::name) return fail("expected a name to assign to");
    for (const char* reserved : {"true", "false", "none", "True", "False", "None"}) {
        if (current().text == reserved) return fail("cannot assign to a constant");
    }
    Target target;
    target.name = intern(current().text);
    next();
    if (with_namespace && skip_op(".")) {
        if (current().kind != TokenKind::name) return fail("expected an attribute name");
        target.kind = Target::Kind::attribute;
        target.attribute = current().text;
        next();
    }
    return target;
}

Result<Target> Parser::parse_target(bool with_namespace, bool single) {
    BLOOM_TRY(Target first, parse_target_item(with_namespace));
    if (single || !at_op(",")) return first;
    Target tuple;
    tuple.kind = Target::Kind::tuple;
    tuple.items.push_back(std::move(first));
    while (skip_op(",")) {
        if (current().kind != TokenKind::name && !at_op("(")) break;
        if (at_name("in")) break;
        BLOOM_TRY(Target item, parse_target_item(with_namespace));
        tuple.items.push_back(std::move(item));
    }
    return tuple;
}

Result<std::shared_ptr<const Program>> parse_program(std::string_view source,
                                                     std::string_view title) {
    if (source.size() > kMaxSourceBytes) {
        return Error{Code::too_large, fmt::format("template {} is larger than {} bytes",
                                                  quoted(title), kMaxSourceBytes)};
    }
    auto program = std::make_shared<Program>();
    program->title = title;
    auto parse = [&]() -> Result<> {
        BLOOM_TRY(std::vector<Token> tokens, tokenize(source));
        return Parser(std::move(tokens), *program).run();
    };
    if (auto parsed = parse(); !parsed) {
        return std::move(parsed).error().with_context(fmt::format("template {}", quoted(title)));
    }
    return std::shared_ptr<const Program>(std::move(program));
}

} // namespace bloom::text::jinja
