#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/text/chat_template.hpp>
#include <bloom/text/grammar/grammar.hpp>

namespace bloom::text {

/// What decides which answers a chat request allows.
struct ConstraintRequest {
    const gen::TemplateOptions* tmpl = nullptr; ///< tools and the choice among them
    const gen::OutputFormat* format = nullptr;
    OutputFormat calls = OutputFormat::plain; ///< how this model writes calls
    bool in_reasoning = false;                ///< the prompt has opened the thinking
    bool may_think = false;                   ///< the model may open it by itself
};

/// Whether make_constraint() has something to do, without doing it.
bool wants_constraint(const ConstraintRequest& request) noexcept;

/// The grammar of the whole answer, thinking included, from its first token to its end; nullptr
/// where any text will do. It enforces: output formats; `required` and `named` tool choices (at
/// least one call, of that tool); the schemas of all calls where a call is forced, and of strict
/// tools under `automatic`; that other calls under `automatic` are whole and of functions that
/// there are (not in OutputFormat::llama_json, whose calls have no mark); one call at most without
/// parallel_tool_calls; with `none`, no calls. Errors: those of add_json_schema; unsupported where
/// the model's template knows no calls.
Result<std::shared_ptr<const Grammar>> make_constraint(const ConstraintRequest& request);

/// Tags that grammars of a format are made with; where the vocabulary has one as a token, it has to
/// be among GrammarVocab's tag_ids.
std::vector<std::string_view> constraint_tags(OutputFormat format);

/// The tag that ends thinking in answers of a format.
std::string_view thinking_end(OutputFormat format);

/// The part of the errors above that does not depend on the model: schemas of the output format
/// and of the tools that would be enforced. `param` tells which ("response_format", "tools[2]").
struct ConstraintError {
    std::string param;
    Error error;
};

std::optional<ConstraintError> check_constraints(const gen::TemplateOptions& tmpl,
                                                 const gen::OutputFormat& format);

} // namespace bloom::text
