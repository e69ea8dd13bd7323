#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/pretokenizer.hpp>

namespace bloom::text {

/// Bounds on what a model file may ask for; the catalog's largest has 262,144 tokens.
inline constexpr std::size_t kMaxTokens = std::size_t{1} << 20;
inline constexpr std::size_t kMaxMerges = std::size_t{1} << 21;
inline constexpr std::size_t kMaxTokenBytes = 64 * 1024;
/// Added tokens are walked from every start in the text, so their length bounds the search.
inline constexpr std::size_t kMaxAddedTokenBytes = 1024;

/// How text becomes tokens.
enum class VocabKind : std::uint8_t {
    byte_bpe, ///< byte-level BPE over the GPT-2 byte alphabet (GGUF `gpt2`)
    spm,      ///< SentencePiece BPE by score, byte fallback (GGUF `llama`)
    char_bpe, ///< characters merged by a merges list, byte fallback (GGUF `gemma4`, Gemma, HF Llama
              ///< 2)
};

/// Values as GGUF stores them in `tokenizer.ggml.token_type`.
enum class TokenType : std::uint8_t {
    normal = 1,
    unknown = 2,
    control = 3,      ///< special added token: matched only where specials are parsed, hidden
    user_defined = 4, ///< plain added token: always matched, visible
    unused = 5,
    byte = 6,
};

/// Where a character vocabulary puts the space in front of a text.
enum class SpacePrefix : std::uint8_t {
    never,
    first,  ///< at the start of the text only
    always, ///< at the start and after every added token
};

/// What tokenizer.json says about an added token beyond its text; GGUF carries none of it.
struct AddedTokenRule {
    std::int32_t id = -1;
    bool single_word = false; ///< no match next to a word character
    bool lstrip = false;      ///< white space to the left belongs to the match
    bool rstrip = false;
    bool normalized = false; ///< matched after normalisation
    bool in_model = false;   ///< an ordinary piece of the model too: merges may end in it
};

/// Everything a Tokenizer is made from, as plain data. Model loaders copy it out of their
/// container; what a container leaves out stays empty and is implied by `kind` and `pre`.
struct VocabSpec {
    VocabKind kind = VocabKind::byte_bpe;
    /// Texts by id as the container spells them: byte_bpe normal tokens in the GPT-2 byte alphabet,
    /// character vocabularies with U+2581 for space and <0xHH> for bytes, added tokens as plain
    /// text.
    std::vector<std::string> tokens;
    std::vector<TokenType> types;    ///< by id; empty = all normal
    std::vector<float> scores;       ///< by id; spm only
    std::vector<std::string> merges; ///< "left right" in rank order, cut at the first space at >= 1
    std::string pre;                 ///< GGUF `tokenizer.ggml.pre`; unknown names are load errors
    std::vector<Splitter> splitters; ///< instead of `pre`, from tokenizer.json
    std::vector<AddedTokenRule> added_rules;

    std::int32_t bos_id = -1;
    std::int32_t eos_id = -1;
    std::int32_t eot_id = -1;
    std::int32_t eom_id = -1;
    std::int32_t unk_id = -1;
    std::int32_t pad_id = -1;
    /// The authoritative list of generation_config.json; empty = derived from ids and known texts.
    std::vector<std::int32_t> stop_ids;
    std::vector<std::int32_t> more_stop_ids; ///< of config.json: stop beside whatever else does
    std::vector<std::int32_t> suppress_ids;  ///< never sampled

    std::optional<bool> add_bos;             ///< absent: by kind and pre
    std::optional<bool> add_eos;             ///< absent: no
    std::optional<bool> ignore_merges;       ///< absent: true for Llama 3
    std::optional<bool> normalize_nfc;       ///< absent: true for Qwen
    std::optional<SpacePrefix> space_prefix; ///< absent: always for spm, never otherwise
};

/// The kind that GGUF's `tokenizer.ggml.model` names. Errors: unsupported, naming it.
Result<VocabKind> vocab_kind_from_gguf(std::string_view model);

/// GGUF's `add_space_prefix` as VocabSpec has it.
inline SpacePrefix space_prefix_from_gguf(bool add_space_prefix) noexcept {
    return add_space_prefix ? SpacePrefix::always : SpacePrefix::never;
}

} // namespace bloom::text
