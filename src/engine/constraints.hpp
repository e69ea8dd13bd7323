#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/constraint.hpp>
#include <bloom/text/grammar/matcher.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::engine {

/// Grammars with their masks (16 MiB at most, each) that are kept for requests to come.
inline constexpr std::size_t kMaxKeptGrammars = 16;

/// The grammars of an engine's requests, each made once for all that ask for the same.
/// Thread: the engine's.
class Constraints {
public:
    struct Found {
        std::shared_ptr<text::BoundGrammar> grammar; ///< nullptr: any text will do
        bool made = false;                           ///< it was not there yet
    };

    /// n_rows: logits of a step.
    Constraints(std::shared_ptr<const text::Tokenizer> tokenizer, text::OutputFormat format,
                std::int32_t n_rows)
        : tokenizer_(std::move(tokenizer)), format_(format), n_rows_(n_rows) {}

    /// Lays out the vocabulary before the first request needs it. Errors: GrammarVocab's.
    Result<> prepare();

    /// The token that ends thinking; -1: the vocabulary has none.
    std::int32_t thinking_end() const noexcept { return thinking_end_; }

    /// Errors: those of make_constraint, in sentences for the client; out_of_memory.
    Result<Found> find(const text::ConstraintRequest& request);

private:
    struct Kept {
        std::string key;
        std::size_t hash = 0;
        std::uint64_t used = 0;
        std::shared_ptr<text::BoundGrammar> grammar;
    };

    std::shared_ptr<const text::Tokenizer> tokenizer_;
    text::OutputFormat format_;
    std::int32_t n_rows_;
    std::shared_ptr<const text::GrammarVocab> vocab_;
    std::int32_t thinking_end_ = -1;
    std::vector<Kept> kept_;
    std::uint64_t n_uses_ = 0;
};

} // namespace bloom::engine
