#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <bloom/gen/event.hpp>
#include <bloom/gen/render_spec.hpp>
#include <bloom/text/detokenizer.hpp>
#include <bloom/text/output_parser.hpp>
#include <bloom/text/stop_match.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::engine {

/// How the answers of one request are taken apart; shared by its choices.
struct OutputOptions {
    bool chat = true;      ///< false: the continuation of a raw text
    bool one_call = false; ///< the answer ends behind its first call
    bool logprobs = false; ///< push() gets them
    gen::ReasoningMode reasoning = gen::ReasoningMode::parsed;
    text::OutputParserOptions parser;
    std::shared_ptr<const text::StopStrings> stops;
};

/// From the tokens of one choice to its events: detokenise, tell thinking and tool calls from the
/// answer, look for stop strings in the answer. What may still become a stop string or a tag is
/// held back, so nothing of either is ever sent.
///
/// Log probabilities leave with the first event that shows something of their token. A text delta
/// has those of the answer's tokens and no others: each of them once, in order, without the tokens
/// of tags and of white space that nobody sees; thinking and calls have their own.
class ChoiceOutput {
public:
    ChoiceOutput(std::shared_ptr<const text::Tokenizer> tokenizer, const OutputOptions& options);

    /// Takes a token that is not the end of the generation. Appends what can be shown.
    /// `logprob`: moved from where log probabilities are wanted.
    void push(std::int32_t token, std::int32_t choice, gen::EventBatch& events,
              gen::TokenLogprob* logprob = nullptr);

    /// The token that ended the generation: counts, shows nothing.
    void push_end() noexcept { ended_by_model_ = true; }

    /// The generation has ended: appends what was held back.
    void finish(std::int32_t choice, gen::EventBatch& events);

    /// The stop string that was found; empty while none was.
    std::string_view stop_string() const noexcept;

    bool stopped() const noexcept { return stop_.matched().has_value(); }

    /// The only call that there may be is complete: nothing comes any more.
    bool call_over() const noexcept { return call_ended_; }

    std::int64_t reasoning_tokens() const noexcept { return reasoning_tokens_; }

    std::int32_t n_tool_calls() const noexcept { return parser_.n_complete_calls(); }

private:
    /// A token whose log probability has not left yet.
    struct Waiting {
        gen::TokenLogprob logprob;
        std::int64_t begin = 0; ///< what it brought the parser
        std::int64_t end = 0;
        std::int64_t content_at = -1; ///< its first byte in the answer; -1: none, so far
    };

    void parse(std::int32_t token, gen::TokenLogprob* logprob);
    void place_content(std::int64_t held_before, bool all_given);
    void attach_logprobs(gen::Event& event);
    void show(std::int32_t choice, gen::EventBatch& events);
    void take_content(std::string_view text, std::int32_t choice, gen::EventBatch& events);
    void take_pieces(std::int32_t choice, gen::EventBatch& events);
    void release_held(std::int32_t choice, gen::EventBatch& events);
    gen::Event& emit(gen::EventKind kind, std::string_view text, std::int32_t choice,
                     gen::EventBatch& events);

    std::shared_ptr<const text::StopStrings> stops_;
    gen::ReasoningMode reasoning_;
    text::Detokenizer detokenizer_;
    text::OutputParser parser_;
    text::StopMatcher stop_;
    std::int64_t reasoning_tokens_ = 0;
    std::int32_t pending_tokens_ = 0; ///< since the last event
    bool ended_by_model_ = false;
    bool one_call_;
    bool call_ended_ = false; ///< of one_call
    bool logprobs_;
    bool shows_thinking_;          ///< in the answer
    std::vector<Waiting> waiting_; ///< by arrival
    std::int64_t n_input_ = 0;     ///< bytes that the parser has got
    std::int64_t n_content_ = 0;   ///< bytes of the answer that it has given
    std::int64_t n_shown_ = 0;     ///< of them, those that have left
    std::string text_;             ///< reused
    std::string shown_;            ///< reused
    text::ParsedOutput parsed_;
};

} // namespace bloom::engine
