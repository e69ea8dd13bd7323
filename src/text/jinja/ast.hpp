#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <bloom/text/jinja.hpp>

/// The parsed template. Everything here is immutable after parsing and shared between renders.
namespace bloom::text::jinja {

class Interpreter;
struct CallArguments;

using FilterFn = Result<Value> (*)(Interpreter&, const Value& input, CallArguments&);
using TestFn = Result<bool> (*)(Interpreter&, const Value& input, CallArguments&);

/// Index into Program::names.
using NameId = std::uint32_t;

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind : std::uint8_t {
    constant,    ///< value
    name,        ///< name
    list,        ///< operands
    tuple,       ///< operands
    dict,        ///< operands: key, value, key, value, ...
    attribute,   ///< operands[0] . text
    item,        ///< operands[0] [ operands[1] ]
    slice,       ///< operands[0] [ operands[1] : operands[2] : operands[3] ], each may be null
    call,        ///< operands[0] ( arguments )
    filter,      ///< operands[0] | text ( arguments )
    test,        ///< operands[0] is text ( arguments )
    negate,      ///< - operands[0]
    plus,        ///< + operands[0]
    logical_not, ///< not operands[0]
    logical_and, ///< operands[0] and operands[1]
    logical_or,  ///< operands[0] or operands[1]
    binary,      ///< operands[0] op operands[1]
    compare,     ///< operands[0] ops[0] operands[1] ops[1] operands[2] ...
    concat,      ///< operands joined by ~
    conditional, ///< operands: test, value, otherwise (may be null)
    captured,    ///< the text of the block that a filter of a block is applied to
};

enum class Op : std::uint8_t {
    add,
    sub,
    mul,
    div,
    floor_div,
    mod,
    pow,
    eq,
    ne,
    lt,
    le,
    gt,
    ge,
    in,
    not_in
};

struct Arguments {
    std::vector<ExprPtr> positional;
    std::vector<std::pair<std::string, ExprPtr>> named;
    ExprPtr star;      ///< *args
    ExprPtr star_star; ///< **kwargs
};

struct Expr {
    ExprKind kind = ExprKind::constant;
    std::uint32_t line = 1;
    std::uint32_t height = 1; ///< operators in a chain on top of one another
    NameId name = 0;
    Op op = Op::add;
    std::vector<Op> ops;
    Value value;
    std::string text;
    std::vector<ExprPtr> operands;
    Arguments arguments;
    FilterFn filter = nullptr;
    TestFn test = nullptr;
};

/// What `set` and `for` write to.
struct Target {
    enum class Kind : std::uint8_t { name, attribute, tuple };
    Kind kind = Kind::name;
    NameId name = 0;
    std::string attribute; ///< of the namespace `name`
    std::vector<Target> items;
};

enum class StmtKind : std::uint8_t {
    text,         ///< text
    output,       ///< expr
    conditional,  ///< expr, body, otherwise
    loop,         ///< target, expr, test (may be null), body, otherwise, recursive
    set,          ///< target, expr
    set_block,    ///< target, expr (filters over `captured`), body
    macro,        ///< name, parameters, body
    call_block,   ///< parameters, expr (the call), body
    filter_block, ///< expr (filters over `captured`), body
    with,         ///< bindings, body
    scope,        ///< body
    break_loop,
    continue_loop,
};

struct Parameter {
    NameId name = 0;
    ExprPtr fallback; ///< may be null
};

struct Stmt {
    StmtKind kind = StmtKind::text;
    std::uint32_t line = 1;
    std::string text;
    ExprPtr expr;
    ExprPtr test;
    Target target;
    NameId name = 0;
    bool recursive = false;
    bool uses_loop = false; ///< a loop whose body mentions `loop`
    bool uses_varargs = false;
    bool uses_kwargs = false;
    bool uses_caller = false;
    std::vector<Parameter> parameters;
    std::vector<std::pair<Target, ExprPtr>> bindings;
    std::vector<Stmt> body;
    std::vector<Stmt> otherwise;
};

/// The names every template knows by number.
enum WellKnownName : NameId { kNameLoop, kNameCaller, kNameVarargs, kNameKwargs, kWellKnownNames };

struct Program {
    std::string title;                   ///< for messages
    std::vector<std::string> names;      ///< by NameId
    std::vector<std::string> attributes; ///< every attribute name and string literal, sorted
    std::vector<Stmt> body;
};

} // namespace bloom::text::jinja
