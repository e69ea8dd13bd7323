#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "text/jinja/ast.hpp"
#include "text/jinja/budget.hpp"
#include "text/jinja/library.hpp"
#include "text/jinja/objects.hpp"

namespace bloom::text::jinja {

struct CallArguments {
    std::vector<Value> positional;
    std::vector<std::pair<std::string, Value>> named;
};

/// A failure of the template; render() adds name and line.
inline Error failure(std::string message) {
    return {Code::unsupported, std::move(message)};
}

/// Arguments by parameter, null where absent.
template <std::size_t n>
using Bound = std::array<const Value*, n>;

Result<> bind_arguments(const CallArguments& args, std::string_view function,
                        const std::string_view* names, std::size_t n_names, std::size_t n_required,
                        const Value** out);

/// Matches arguments with parameter names, Python's way.
template <std::size_t n>
Result<Bound<n>> match_arguments(const CallArguments& args, std::string_view function,
                                 const std::array<std::string_view, n>& names,
                                 std::size_t n_required = 0) {
    Bound<n> out{};
    BLOOM_OK(bind_arguments(args, function, names.data(), n, n_required, out.data()));
    return out;
}

/// Where a macro was defined: a position on the scope stack and the number of that scope. When the
/// scope is gone, the macro sees only the template's own names.
struct ScopeRef {
    std::uint32_t index = 0;
    std::uint64_t serial = 0;
};

struct CallableObject final : Object {
    FunctionFn function = nullptr;
    MethodFn method = nullptr; ///< with `self`
    Value self;
    const Stmt* macro = nullptr;
    ScopeRef scope;
};

struct LoopObject final : Object {
    std::vector<Value> items;
    std::size_t index = 0;
    std::uint32_t depth = 0; ///< recursive calls above
    const Stmt* stmt = nullptr;
    ScopeRef scope;
    std::vector<Value> changed; ///< arguments of the last loop.changed()
};

/// One render. Every evaluation can fail; after a failure the interpreter is only destroyed.
class Interpreter {
public:
    Interpreter(const Program& program, const Value& globals, const RenderLimits& limits);
    ~Interpreter();
    Interpreter(const Interpreter&) = delete;
    Interpreter& operator=(const Interpreter&) = delete;

    Result<Rendered> run();

    Budget& budget() noexcept { return budget_; }

    Result<Value> call(const Value& callee, CallArguments& args);
    /// Applies a filter or a test named by a value, as map() and select() do.
    Result<Value> apply_filter(const Value& name, const Value& input, CallArguments& args);
    Result<bool> apply_test(const Value& name, const Value& input, CallArguments& args);

    /// Registers something that may take part in a cycle of references; it is emptied at the end.
    void keep(const Value& value) { kept_.push_back(value); }

private:
    enum class Flow : std::uint8_t { next, break_loop, continue_loop };

    struct Scope {
        std::uint32_t parent = 0;
        std::uint64_t serial = 0;
        std::vector<std::pair<NameId, Value>> names;
    };

    // Scopes.
    std::uint32_t push_scope(std::uint32_t parent);
    void pop_scope(std::uint32_t back_to);
    void renew_scope();
    ScopeRef here() const;
    std::uint32_t resolve(ScopeRef ref) const;
    void define(NameId name, Value value);
    Value lookup(NameId name) const;
    Result<> assign(const Target& target, const Value& value);

    // Statements.
    Result<Flow> execute(const std::vector<Stmt>& body);
    Result<Flow> execute_one(const Stmt& stmt);
    Result<> execute_output(const Stmt& stmt);
    Result<Flow> execute_loop(const Stmt& stmt);
    Result<> filter_items(const Stmt& stmt, std::vector<Value>& items);
    Result<> run_tested_loop(const Stmt& stmt, const std::vector<Value>& items);
    Result<> run_loop(const Stmt& stmt, std::vector<Value> items, std::uint32_t depth);
    Result<> execute_set_block(const Stmt& stmt);
    Result<> execute_filter_block(const Stmt& stmt);
    Result<> execute_with(const Stmt& stmt);
    Result<> execute_call_block(const Stmt& stmt);
    Result<Value> capture(const std::vector<Stmt>& body);
    Value make_macro(const Stmt& stmt) const;

    // Expressions.
    Result<Value> eval(const Expr& expr);
    Result<Value> eval_kind(const Expr& expr);
    Result<Value> eval_list(const Expr& expr, Form form);
    Result<Value> eval_dict(const Expr& expr);
    Result<Value> eval_attribute(const Expr& expr);
    Result<Value> eval_item(const Expr& expr);
    Result<Value> eval_slice(const Expr& expr);
    Result<Value> eval_call(const Expr& expr);
    Result<Value> eval_filter(const Expr& expr);
    Result<Value> eval_test(const Expr& expr);
    Result<Value> eval_sign(const Expr& expr);
    Result<Value> eval_logical(const Expr& expr);
    Result<Value> eval_binary(const Expr& expr);
    Result<Value> eval_compare(const Expr& expr);
    Result<Value> eval_concat(const Expr& expr);
    Result<Value> eval_conditional(const Expr& expr);
    Result<> eval_arguments(const Arguments& from, CallArguments& out);

    Result<Value> call_macro(const CallableObject& macro, CallArguments& args);
    Result<> bind_macro(const Stmt& macro, CallArguments& args);
    Result<Value> call_loop(const LoopObject& loop, CallArguments& args);

    const Program& program_;
    Budget budget_;
    std::vector<Value> globals_; ///< by NameId; undefined where neither given nor built in
    std::vector<Scope> scopes_;
    std::uint32_t current_ = 0;
    std::uint64_t next_serial_ = 1;
    std::vector<Value> captured_;
    std::vector<Value> kept_;
    StringBuilder main_;
    StringBuilder* out_ = &main_;
    std::uint32_t line_ = 1;
    std::uint32_t depth_ = 0;
    std::uint32_t call_depth_ = 0;
};

} // namespace bloom::text::jinja
