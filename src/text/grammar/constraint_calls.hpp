#pragma once

#include <span>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/text/chat_template.hpp>
#include <bloom/text/grammar/grammar.hpp>

/// Calls as models write them: what src/text/output reads, as grammars.
namespace bloom::text {

/// The marks of one format.
struct CallMarks {
    std::string_view think_open;
    std::string_view think_close;
    std::string_view tool_open;  ///< begins a block of calls; empty: a call has no mark
    std::string_view tool_close; ///< ends it
    /// Something else that begins a call for the parser.
    std::string_view also_open;
};

CallMarks marks_of(OutputFormat format) noexcept;

/// A function, and whether its calls have to fit its schema.
struct Callable {
    const gen::ToolDefinition* tool = nullptr;
    bool enforced = false;
};

/// One call, or with `several` one or more, of any of the functions, with all marks. Errors: those
/// of add_json_schema; unsupported (a name that the format cannot write, calls in plain text).
Result<GrammarNode> add_calls(GrammarBuilder& grammar, OutputFormat format,
                              std::span<const Callable> functions, bool several);

/// The schema of a function's arguments as text: always of an object.
std::string arguments_schema(const gen::ToolDefinition& tool);

/// The body of one call in tags: <parameter=..> for each argument. `framed`: line feeds around
/// values (Qwen), else none (MiniMax). Errors as add_calls.
Result<GrammarNode> add_parameters(GrammarBuilder& grammar, const Callable& function, bool framed);

} // namespace bloom::text
