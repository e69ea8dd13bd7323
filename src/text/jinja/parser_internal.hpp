#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.hpp"
#include "text/jinja/lexer.hpp"

namespace bloom::text::jinja {

/// Recursive descent over the tokens; expressions are in parser_expr.cpp, statements in parser.cpp.
class Parser {
public:
    Parser(std::vector<Token> tokens, Program& program);

    Result<> run();

private:
    /// One level of nesting, given back at the end of the scope.
    class Level {
    public:
        explicit Level(Parser& parser) : parser_(parser) { ++parser_.depth_; }

        ~Level() { --parser_.depth_; }

        Level(const Level&) = delete;
        Level& operator=(const Level&) = delete;

    private:
        Parser& parser_;
    };

    Result<> check_depth() const;

    const Token& current() const { return tokens_[at_]; }

    const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }

    bool at_op(std::string_view op) const {
        return current().kind == TokenKind::op && current().text == op;
    }

    bool at_name(std::string_view name) const {
        return current().kind == TokenKind::name && current().text == name;
    }

    void next() {
        if (at_ + 1 < tokens_.size()) ++at_;
    }

    bool skip_op(std::string_view op);
    bool skip_name(std::string_view name);
    Result<> expect_op(std::string_view op);
    Result<> expect_name(std::string_view name);
    Result<> expect(TokenKind kind, std::string_view what);
    Error fail(std::string_view what) const;
    Error unexpected() const;
    NameId intern(const std::string& name);
    ExprPtr make(ExprKind kind) const;
    ExprPtr make(ExprKind kind, ExprPtr operand);

    // Statements.
    Result<std::vector<Stmt>> parse_body(std::initializer_list<std::string_view> ends,
                                         std::string* found);
    Result<> parse_statement(std::vector<Stmt>& out);
    Result<> parse_block_body(Stmt& stmt, std::string_view end);
    Result<Stmt> parse_if();
    Result<Stmt> parse_for();
    Result<Stmt> parse_set();
    Result<Stmt> parse_macro();
    Result<Stmt> parse_call_block();
    Result<Stmt> parse_filter_block();
    Result<Stmt> parse_with();
    Result<> parse_signature(Stmt& stmt);
    Result<> parse_macro_body(Stmt& stmt, std::string_view end);
    Result<Target> parse_target(bool with_namespace, bool single);
    Result<Target> parse_target_item(bool with_namespace);

    // Expressions.
    struct TupleRules {
        bool conditional = true;        ///< inline if allowed
        std::string_view end_name = {}; ///< a name that ends the tuple
        bool parenthesized = false;
    };

    Result<ExprPtr> parse_expression();
    Result<ExprPtr> parse_tuple(TupleRules rules);
    Result<ExprPtr> parse_conditional();
    Result<ExprPtr> parse_or();
    Result<ExprPtr> parse_and();
    Result<ExprPtr> parse_not();
    Result<ExprPtr> parse_compare();
    Result<ExprPtr> parse_sum();
    Result<ExprPtr> parse_concat();
    Result<ExprPtr> parse_product();
    Result<ExprPtr> parse_power();
    Result<ExprPtr> parse_unary(bool with_filters);
    Result<ExprPtr> parse_primary();
    Result<ExprPtr> parse_name();
    Result<ExprPtr> parse_number();
    Result<ExprPtr> parse_list();
    Result<ExprPtr> parse_dict();
    Result<ExprPtr> parse_postfix(ExprPtr node);
    Result<ExprPtr> parse_subscript(ExprPtr node);
    Result<ExprPtr> parse_filters(ExprPtr node);
    Result<ExprPtr> parse_filter(ExprPtr node);
    Result<ExprPtr> parse_test(ExprPtr node);
    Result<ExprPtr> parse_call(ExprPtr node);
    Result<> parse_arguments(Arguments& out);
    Result<std::string> parse_dotted_name();

    std::vector<Token> tokens_;
    Program& program_;
    std::size_t at_ = 0;
    std::uint32_t depth_ = 0;
    bool too_tall_ = false;   ///< a chain of operators is too long
    std::uint32_t loops_ = 0; ///< loops around the current statement, within its macro
    std::map<std::string, NameId> ids_;
    std::set<std::string> attributes_;
    std::set<NameId> seen_; ///< well-known names used in the macro being parsed
};

} // namespace bloom::text::jinja
