#pragma once

#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/text/grammar/constraint.hpp>
#include <bloom/text/grammar/matcher.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::engine {

/// Grammars with their masks (16 MiB at most, each) that are kept for requests to come.
inline constexpr std::size_t kMaxKeptGrammars = 16;

/// The grammars of an engine's requests, each made once for all that ask for the same. Most take a
/// millisecond or two, those of large or hostile schemas a second: where others would wait for
/// that, a thread of its own makes them, one at a time.
/// Thread: the engine's.
class Constraints {
public:
    struct Found {
        std::shared_ptr<text::BoundGrammar> grammar; ///< nullptr: any text will do
        bool made = false;                           ///< here and now
        bool pending = false;                        ///< it is being made; to be asked for again
    };

    /// n_rows: logits of a step.
    Constraints(std::shared_ptr<const text::Tokenizer> tokenizer, text::OutputFormat format,
                std::int32_t n_rows)
        : tokenizer_(std::move(tokenizer)), format_(format), n_rows_(n_rows) {}

    /// Lays out the vocabulary before the first request needs it. Errors: GrammarVocab's.
    Result<> prepare();

    /// The token that ends thinking; -1: the vocabulary has none.
    std::int32_t thinking_end() const noexcept { return thinking_end_; }

    /// What tells the grammar of a request from others: a digest of all that decides it, since
    /// schemas may be long; empty where any text will do. Cost: linear in the schemas.
    static std::string key_of(const text::ConstraintRequest& request);

    /// `key` is that of `request`, which refers to `owner`. aside: what is not there is made
    /// elsewhere, and pending until it is. Cheap to ask again. Errors: those of make_constraint, in
    /// sentences for the client; out_of_memory.
    Result<Found> find(const std::string& key, const text::ConstraintRequest& request,
                       const std::shared_ptr<const gen::Generation>& owner, bool aside);

private:
    using Made = Result<std::shared_ptr<const text::Grammar>>;

    struct Kept {
        std::string key;
        std::uint64_t used = 0;
        std::shared_ptr<text::BoundGrammar> grammar;
    };

    struct Job {
        std::string key;
        std::future<Made> made;
    };

    bool start(const std::string& key, const text::ConstraintRequest& request,
               const std::shared_ptr<const gen::Generation>& owner);
    Result<Found> keep(std::string key, Made made);

    std::shared_ptr<const text::Tokenizer> tokenizer_;
    text::OutputFormat format_;
    std::int32_t n_rows_;
    std::shared_ptr<const text::GrammarVocab> vocab_;
    std::int32_t thinking_end_ = -1;
    std::vector<Kept> kept_;
    std::uint64_t n_uses_ = 0;
    std::optional<Job> job_;
};

} // namespace bloom::engine
