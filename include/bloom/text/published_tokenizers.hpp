#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/text/tokenizer.hpp>

/// Whether a model's tokenizer behaves like the one that its makers published.
namespace bloom::text {

/// The text whose ids tell tokenizers from each other: white space of all kinds, emoji, digits in
/// growing runs, several scripts, punctuation, contractions. It is the one that converters of
/// models recognise pre-tokenizers by. It holds nothing decomposed, so it does not test NFC.
std::string_view tokenizer_check_text() noexcept;

/// SHA-256 in hex of the ids of that text as "[1, 2, 3]", with BOS and EOS where the tokenizer adds
/// them. Thread: any.
std::string tokenizer_fingerprint(const Tokenizer& tokenizer);

struct PublishedTokenizer {
    std::string_view name;
    std::string_view pre; ///< as splitters_for_pre() has it
    std::string_view fingerprint;
};

std::span<const PublishedTokenizer> published_tokenizers() noexcept;

/// The published tokenizer of that fingerprint, or nullptr.
const PublishedTokenizer* find_published(std::string_view fingerprint) noexcept;

/// A text whose ids are known for a family.
struct IdVector {
    std::string_view text;
    std::vector<std::int32_t> ids;
};

/// Texts with known ids of the family that the tokenizer's special tokens belong to (Qwen3.5,
/// Gemma 4); empty for others.
std::vector<IdVector> known_vectors(const Tokenizer& tokenizer);

/// Those of known_vectors() that come out otherwise, control tokens parsed and nothing added.
std::vector<IdVector> failing_vectors(const Tokenizer& tokenizer);

} // namespace bloom::text
