#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/text/jinja.hpp>

namespace bloom::text {

/// How a model writes tool calls and reasoning; decided by its template's text.
enum class OutputFormat : std::uint8_t {
    plain,       ///< no tool calls; think tags still
    hermes_json, ///< <tool_call> {"name": .., "arguments": ..} </tool_call>
    qwen_xml,    ///< <tool_call> <function=..> <parameter=..>
    minimax_xml, ///< <minimax:tool_call> <invoke name="..">
    gemma,       ///< <|tool_call>call:name{..}<tool_call|>, channels
    llama_json,  ///< the whole answer is one JSON object
};

std::string_view to_string(OutputFormat format) noexcept;
/// First match wins in the order MiniMax, Gemma, Qwen, Hermes, Llama.
OutputFormat detect_output_format(std::string_view template_source) noexcept;

/// A prompt as text, ready for a tokenizer with special parsing on and add_special off.
struct RenderedPrompt {
    std::string text;
    /// Bytes that came from the request, ascending and apart: special tokens spelled out there are
    /// text, not control.
    std::vector<jinja::ByteRange> user_ranges;
    /// The prompt ends inside an open think tag: the answer begins as reasoning.
    bool in_reasoning = false;
    /// The last message is an assistant's and is to be continued.
    bool continues = false;
};

struct ChatTemplateOptions {
    /// Special tokens by variable name ("bos_token", "eos_token", ...), as text.
    std::vector<std::pair<std::string, std::string>> special_tokens;
};

struct ChatRenderOptions {
    std::function<bool()> keep_going; ///< false ends the render with Code::timeout; may be empty
    std::int64_t local_time_s = 0;    ///< for strftime_now()
};

/// A model's chat template. Immutable. Thread: any, at the same time.
class ChatTemplate {
public:
    /// Errors: corrupt, too_large and limit_reached from parsing; `name` stands in messages.
    static Result<ChatTemplate> create(std::string_view source, std::string_view name,
                                       const ChatTemplateOptions& options);

    /// Renders the messages and tools of a chat request: parts joined, arguments parsed into
    /// objects, tools as OpenAI objects (none with ToolChoice::none), enable_thinking and
    /// reasoning_effort only where set. A last assistant message without calls is left open to be
    /// continued. Errors: invalid_argument for what the template refuses (its own words) and for
    /// arguments that are no JSON object; unsupported, limit_reached, too_large, timeout as
    /// jinja::Template.
    Result<RenderedPrompt> render(const gen::Generation& request,
                                  const ChatRenderOptions& options) const;

    OutputFormat output_format() const noexcept { return format_; }

    /// Whether a request can switch thinking on or off: the template looks at `enable_thinking`.
    bool has_thinking_switch() const { return template_.mentions("enable_thinking"); }

    /// Whether the template knows degrees of thinking: it looks at `reasoning_effort`.
    bool has_reasoning_effort() const { return template_.mentions("reasoning_effort"); }

private:
    ChatTemplate(jinja::Template parsed, OutputFormat format, const ChatTemplateOptions& options);

    jinja::Template template_;
    OutputFormat format_;
    std::vector<std::pair<jinja::Value, jinja::Value>> special_tokens_;
    bool wants_tool_responses_ =
        false;                     ///< knows no tool role, wants results on the assistant message
    bool wants_reasoning_ = false; ///< looks for `reasoning` beside `reasoning_content`
};

/// A template for models that carry none, chosen by the special tokens of the vocabulary: Llama 3
/// headers, ChatML with Hermes calls, Gemma 4 turns or MiniMax. Empty when nothing fits.
/// `has_token` answers whether the vocabulary holds a token of exactly this text.
std::string_view builtin_chat_template(const std::function<bool(std::string_view)>& has_token);

} // namespace bloom::text
