#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/vocab.hpp>

namespace bloom::text {

/// Longest text that encode takes at once: far more than any context holds.
inline constexpr std::size_t kMaxEncodeBytes = std::size_t{64} << 20;

/// Work done by one encode, for tests that bound it and for benchmarks. Counts are added.
struct EncodeStats {
    std::uint64_t scan_steps = 0;  ///< characters looked at by normaliser and pre-tokenizer
    std::uint64_t merge_steps = 0; ///< pair look-ups, heap entries and short-word scans
    std::uint64_t words = 0;
    std::uint64_t cache_hits = 0;
};

struct EncodeOptions {
    /// Put BOS and EOS where the model wants them. A text that starts with the BOS token itself
    /// does not get a second one.
    bool add_special = true;
    /// Match control tokens (`<|im_end|>`) in the text. User-defined tokens always match.
    bool parse_special = true;
    /// Bytes that came from users: control tokens that touch them are not matched. Sorted,
    /// disjoint.
    std::span<const ByteRange> user_ranges = {};
    EncodeStats* stats = nullptr;
};

/// Text to token ids and back, for one vocabulary.
/// Thread:   immutable after create; any number of threads may encode and decode. Each thread keeps
///           its own bounded cache of words.
/// Lifetime: owns everything; views it returns live as long as it does.
/// Source:   the Hugging Face pipeline: added tokens, normaliser, pre-tokenizer, model, BOS/EOS.
class Tokenizer {
public:
    struct Impl; ///< the tables, known to src/text only

    /// Errors: corrupt (a merge without its tokens, ids out of range), unsupported (unknown pre),
    /// too_large (kMaxTokens and the other bounds), each naming the value.
    static Result<std::shared_ptr<const Tokenizer>> create(VocabSpec spec);
    ~Tokenizer();
    Tokenizer(const Tokenizer&) = delete;
    Tokenizer& operator=(const Tokenizer&) = delete;

    /// Appends the ids of `text` to `out`. Any bytes are accepted: ill-formed UTF-8 goes through
    /// the byte tokens. Cost: O(n log n) in the worst case. Errors: too_large, invalid_argument
    /// (ranges).
    Result<> encode(std::string_view text, const EncodeOptions& options,
                    std::vector<std::int32_t>& out) const;
    /// Number of ids that encode would give.
    Result<std::size_t> count(std::string_view text, const EncodeOptions& options = {}) const;

    /// The bytes that a token stands for in a text, possibly part of a character. Control tokens
    /// give their own text; unused ids and ids out of range (rows that only pad the embedding) give
    /// none.
    std::string_view bytes_of(std::int32_t id) const noexcept;
    /// Concatenated bytes; control tokens left out unless asked for.
    std::string decode(std::span<const std::int32_t> ids, bool with_control = false) const;

    /// Control or unknown: no visible text.
    bool is_control(std::int32_t id) const noexcept;
    /// `unused` for ids out of range.
    TokenType type_of(std::int32_t id) const noexcept;
    /// The id whose bytes are exactly this text; added tokens win over ordinary ones.
    std::optional<std::int32_t> token_id(std::string_view text) const noexcept;

    /// Ids of the vocabulary, which may be fewer than rows of the embedding.
    std::int32_t n_tokens() const noexcept;
    std::optional<std::int32_t> bos() const noexcept;
    std::optional<std::int32_t> eos() const noexcept;
    bool adds_bos() const noexcept;
    /// Whether a decoded answer starts with a space that is not part of it (SentencePiece prefix).
    bool strips_leading_space() const noexcept;
    /// Generation ends with any of these; sorted, unique.
    std::span<const std::int32_t> stop_ids() const noexcept;
    bool is_stop(std::int32_t id) const noexcept;
    /// Ids that the model's files forbid to sample; sorted, unique.
    std::span<const std::int32_t> suppressed_ids() const noexcept;
    /// Texts of the control tokens, by id.
    std::span<const std::string_view> special_token_texts() const noexcept;

private:
    explicit Tokenizer(std::unique_ptr<const Impl> impl) noexcept;

    std::unique_ptr<const Impl> impl_;
};

} // namespace bloom::text
