#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/grammar/grammar.hpp>

namespace bloom::text {

class Tokenizer;

/// A vocabulary laid out for grammars: the bytes of its ordinary tokens as a trie. Control tokens
/// and tags are apart: they stand for themselves and never for their spelling. Tokens of more than
/// 32 bytes, which are runs of one character, and suppressed ones are never allowed. One for a
/// loaded model. Immutable. Thread: any. Cost of making one: about 50 ms at 100k tokens.
class GrammarVocab {
public:
    struct Impl; ///< known to src/text/grammar only

    /// `tag_ids`: tokens that are tags of the model's output format (`<think>`, `<tool_call>`)
    /// though the vocabulary may call them ordinary. `n_rows`: logits of a step, at least as many
    /// as the vocabulary has ids; rows beyond it are never allowed. Control tokens count as tags of
    /// their own text. Errors: invalid_argument (too few rows).
    static Result<std::shared_ptr<const GrammarVocab>>
    create(const Tokenizer& tokenizer, std::span<const std::int32_t> tag_ids, std::int32_t n_rows);
    ~GrammarVocab();

    std::int32_t n_rows() const noexcept;

    const Impl& impl() const noexcept { return *impl_; }

private:
    explicit GrammarVocab(std::unique_ptr<const Impl> impl) noexcept;
    std::unique_ptr<const Impl> impl_;
};

/// A grammar together with a vocabulary: keeps the masks that were found for its states, bounded
/// in bytes (16 MiB), for all requests that use it. Matchers keep it alive. Thread: one at a time
/// (the engine's).
class BoundGrammar {
public:
    struct Impl;

    /// Errors: out_of_memory.
    static Result<std::shared_ptr<BoundGrammar>> create(std::shared_ptr<const Grammar> grammar,
                                                        std::shared_ptr<const GrammarVocab> vocab);
    ~BoundGrammar();

    Impl& impl() noexcept { return *impl_; }

private:
    explicit BoundGrammar(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

/// Where one answer stands in its grammar. Copies are independent. Stop tokens of the vocabulary
/// are allowed exactly where the text so far is complete, and, so that an answer ends at all, where
/// the vocabulary has no token that fits: then can_end() is false and the answer is cut short.
/// With tokens for all 256 bytes that never happens.
/// A grammar whose text can be read in very many ways at once (rules that say the same several
/// times, nested) is followed in the first of them only: less is allowed, dead ends stay
/// impossible. Thread: as its BoundGrammar. Cost: a mask is looked up; where a state is met for the
/// first time, the vocabulary is walked:
/// 0.4 ms of CPU at 100k tokens inside a string, up to 3 ms within 32 rounds of a counter's bound;
/// 3 and 15 ms at 250k. accept() reuses its memory.
class GrammarMatcher {
public:
    explicit GrammarMatcher(std::shared_ptr<BoundGrammar> bound);
    ~GrammarMatcher();
    GrammarMatcher(const GrammarMatcher&);
    GrammarMatcher& operator=(const GrammarMatcher&);
    GrammarMatcher(GrammarMatcher&&) noexcept;
    GrammarMatcher& operator=(GrammarMatcher&&) noexcept;

    /// Bit i of word i / 64: token i may come next. [n_rows / 64, rounded up] words that live until
    /// the next call of anything on this BoundGrammar. At least one bit is set unless the answer
    /// has ended.
    std::span<const std::uint64_t> mask();
    /// The next token. False, and nothing changes, where it is not allowed. A stop token ends the
    /// answer.
    bool accept(std::int32_t token);
    /// Bytes instead of tokens, for tests and for text that a template has begun; here tags are
    /// matched by their spelling, whatever the vocabulary. False, and nothing changes, where they
    /// do not fit. What was accepted before cannot be taken back any more.
    bool accept_bytes(std::string_view bytes);
    /// Whether the text so far is a whole answer.
    bool can_end() const;
    /// Whether nothing but a stop token may follow, or the answer has ended.
    bool must_end() const;
    bool ended() const noexcept;
    /// Takes back the last `n` accepted tokens, a stop token too; at most kMaxRollback, and none
    /// from before accept_bytes().
    void rollback(std::int32_t n);

    static constexpr std::int32_t kMaxRollback = 32;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace bloom::text
