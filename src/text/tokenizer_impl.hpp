#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/text/special_tokens.hpp>
#include <bloom/text/tokenizer.hpp>

#include "bpe.hpp"
#include "token_store.hpp"

namespace bloom::text {

/// U+2581, which character vocabularies write for a space.
inline constexpr char32_t kSpaceMark = 0x2581;

/// The tables of one tokenizer, filled by build and then only read. Symbols below n_tokens are ids;
/// those above are characters that occur inside tokens without being one (spm only).
struct Tokenizer::Impl {
    VocabKind kind = VocabKind::byte_bpe;
    std::uint64_t serial = 0; ///< tells tokenizers apart in the per-thread caches
    bool ignore_merges = false;
    bool normalize_nfc = false;
    bool add_bos = false;
    bool add_eos = false;
    SpacePrefix space_prefix = SpacePrefix::never;
    std::int32_t bos_id = -1;
    std::int32_t eos_id = -1;
    std::int32_t unk_id = -1;

    std::vector<Splitter> splitters; ///< byte_bpe
    std::vector<TokenType> types;
    TokenStore bytes;
    TokenIndex words;   ///< what the model itself can produce: normal tokens
    TokenIndex by_text; ///< all, added tokens first
    MergeTable merges;
    std::array<std::int32_t, 256> byte_ids{}; ///< token of a single byte, -1 if there is none
    CharIndex chars;                          ///< character vocabularies: code point to symbol
    std::vector<char32_t> extra_chars;        ///< characters of the symbols from n_tokens on
    /// Pairs of first symbols that some merge can join. Where two neighbours are not in it, a text
    /// is cut and its parts merged apart, with the same result.
    PairSet joinable;
    bool can_cut = true;

    SpecialTokens specials;            ///< found in the raw text
    SpecialTokens normalized_specials; ///< found after normalisation
    std::vector<std::int32_t> stop_ids;
    std::vector<std::int32_t> suppress_ids; ///< sorted
    std::vector<std::string_view> special_texts;

    /// Fills everything from the spec; in tokenizer_build.cpp.
    static Result<std::unique_ptr<const Impl>> build(VocabSpec spec);
};

} // namespace bloom::text
