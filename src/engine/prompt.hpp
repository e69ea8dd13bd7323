#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/engine/model_file.hpp>
#include <bloom/gen/event.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/text/chat_template.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::engine {

/// One prompt as tokens, and how the answer to it begins.
struct Prompt {
    std::vector<std::int32_t> ids;
    bool starts_in_reasoning = false; ///< the template has opened the thinking already
};

/// Why a request could not become tokens.
struct PromptFailure {
    gen::Failure failure = gen::Failure::invalid_request;
    std::string message;
};

/// Template and tokenizer of one model.
class PromptMaker {
public:
    /// Errors: those of the tokenizer and of the template's syntax.
    static Result<PromptMaker> create(const ModelFile& file);

    const std::shared_ptr<const text::Tokenizer>& tokenizer() const noexcept { return tokenizer_; }

    bool has_template() const noexcept { return template_.has_value(); }

    const text::ChatTemplate* chat_template() const noexcept {
        return template_ ? &*template_ : nullptr;
    }

    /// All prompts of a request, in order. Errors: invalid_argument with a sentence for the client;
    /// anything else is the template's own failure.
    Result<std::vector<Prompt>> prepare(const gen::Generation& generation) const;

private:
    Result<Prompt> chat(const gen::Generation& generation) const;

    std::shared_ptr<const text::Tokenizer> tokenizer_;
    std::optional<text::ChatTemplate> template_;
};

} // namespace bloom::engine
