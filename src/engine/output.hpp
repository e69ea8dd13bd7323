#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <bloom/gen/event.hpp>
#include <bloom/gen/render_spec.hpp>
#include <bloom/text/detokenizer.hpp>
#include <bloom/text/output_parser.hpp>
#include <bloom/text/stop_match.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::engine {

/// How the answers of one request are taken apart; shared by its choices.
struct OutputOptions {
    bool chat = true; ///< false: the continuation of a raw text, shown as it is
    gen::ReasoningMode reasoning = gen::ReasoningMode::parsed;
    text::OutputParserOptions parser; ///< chat only
    std::shared_ptr<const text::StopStrings> stops;
};

/// From the tokens of one choice to its events: detokenise, tell thinking and tool calls from the
/// answer, look for stop strings in the answer. What may still become a stop string or a tag is
/// held back, so nothing of either is ever sent.
class ChoiceOutput {
public:
    ChoiceOutput(std::shared_ptr<const text::Tokenizer> tokenizer, const OutputOptions& options);

    /// Takes a token that is not the end of the generation. Appends what can be shown.
    void push(std::int32_t token, std::int32_t choice, gen::EventBatch& events);

    /// The token that ended the generation: counts, shows nothing.
    void push_end() noexcept { ended_by_model_ = true; }

    /// The generation has ended: appends what was held back.
    void finish(std::int32_t choice, gen::EventBatch& events);

    /// The stop string that was found; empty while none was.
    std::string_view stop_string() const noexcept;

    bool stopped() const noexcept { return stop_.matched().has_value(); }

    std::int64_t reasoning_tokens() const noexcept { return reasoning_tokens_; }

    std::int32_t n_tool_calls() const noexcept { return parser_ ? parser_->n_complete_calls() : 0; }

private:
    void take_content(std::string_view text, std::int32_t choice, gen::EventBatch& events);
    void take_pieces(std::int32_t choice, gen::EventBatch& events);
    void release_held(std::int32_t choice, gen::EventBatch& events);
    gen::Event& emit(gen::EventKind kind, std::string_view text, std::int32_t choice,
                     gen::EventBatch& events);

    std::shared_ptr<const text::StopStrings> stops_;
    gen::ReasoningMode reasoning_;
    text::Detokenizer detokenizer_;
    std::optional<text::OutputParser> parser_;
    text::StopMatcher stop_;
    std::int64_t reasoning_tokens_ = 0;
    std::int32_t pending_tokens_ = 0; ///< since the last event
    bool ended_by_model_ = false;
    std::string text_;  ///< reused
    std::string shown_; ///< reused
    text::ParsedOutput parsed_;
};

} // namespace bloom::engine
