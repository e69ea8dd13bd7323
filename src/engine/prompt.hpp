#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/engine/model_file.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/text/chat_template.hpp>
#include <bloom/text/grammar/constraint.hpp>
#include <bloom/text/grammar/matcher.hpp>
#include <bloom/text/output_parser.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::engine {

/// One prompt as tokens, and how the answer to it begins.
struct Prompt {
    std::vector<std::int32_t> ids;
    bool in_reasoning = false; ///< the template has opened the thinking already
    std::string echo;          ///< what each answer begins with, see gen::Generation::echo
    /// What its answers have to follow, and how far what they continue has come in it; empty: any
    /// text will do.
    std::optional<text::GrammarMatcher> matcher = {};
    /// Of that grammar, while it is not there yet: Constraints::key_of.
    std::optional<std::string> constraint_key = {};
};

/// Template and tokenizer of one model.
class PromptMaker {
public:
    /// The file's "default" template, or a built-in one that fits its special tokens, or none.
    /// Errors: those of the tokenizer and of the template's syntax.
    /// A render that takes longer than render_ms_max ends with Code::timeout.
    static Result<PromptMaker> create(const ModelFile& file, std::int32_t render_ms_max);

    const std::shared_ptr<const text::Tokenizer>& tokenizer() const noexcept { return tokenizer_; }

    bool has_template() const noexcept { return template_.has_value(); }

    bool has_thinking_switch() const { return template_ && template_->has_thinking_switch(); }

    bool has_reasoning_effort() const { return template_ && template_->has_reasoning_effort(); }

    /// All prompts of a request, in order: that of its messages, or else its texts and then its
    /// token ids. Errors: invalid_argument with a sentence for the client (the template's own words
    /// where it refuses, an id outside of the vocabulary); others name what the template could not
    /// do.
    Result<std::vector<Prompt>> prepare(const gen::Generation& generation) const;

    /// What decides which answers a request allows, in_reasoning apart. Refers to the request.
    text::ConstraintRequest constraint_of(const gen::Generation& generation) const;

    text::OutputFormat output_format() const noexcept { return format_; }

    /// How answers to this request are to be parsed, in_reasoning apart.
    text::OutputParserOptions parser_options(const gen::Generation& generation) const;

private:
    Result<Prompt> chat(const gen::Generation& generation) const;
    Result<Prompt> from_text(std::string_view text, bool echo) const;
    Result<Prompt> from_ids(std::span<const std::int32_t> ids, bool echo) const;

    std::shared_ptr<const text::Tokenizer> tokenizer_;
    std::optional<text::ChatTemplate> template_;
    text::OutputFormat format_ = text::OutputFormat::plain;
    bool needs_bos_ = false; ///< prompts begin with BOS even where the template forgets it
    std::vector<text::TagToken> tags_; ///< of the format
    std::chrono::milliseconds render_max_{0};
};

} // namespace bloom::engine
