#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

namespace bloom::text {

/// Bytes [begin, end) of a text.
struct ByteRange {
    std::size_t begin = 0;
    std::size_t end = 0;

    bool operator==(const ByteRange&) const = default;
};

/// One stage of a pre-tokenizer: cuts a text into pieces. Each stands for a published regular
/// expression and is scanned by hand in linear time.
enum class Splitter : std::uint8_t {
    gpt2,
    llama3,
    qwen2,
    qwen35,
    o200k,
    afmoe_digits,  ///< runs of digits, in groups of three from the right
    afmoe_scripts, ///< runs of Asian scripts
    afmoe_words,
    digits_single,       ///< every number character alone
    digits_run,          ///< runs of number characters
    digits_three,        ///< three ASCII digits at a time
    falcon_punctuation,  ///< runs of punctuation and of $+<=>^~|`
    default_punctuation, ///< the same without `
    newline_single,      ///< every CR or LF alone
    space_letters,       ///< optional white space and letters
    space_punctuation,   ///< optional white space and punctuation
    cjk_run,
    deepseek_letters, ///< optional white space and letters of the bicameral scripts
    deepseek_punctuation,
    trailing_space, ///< white space at the end of the piece
};

/// The stages that GGUF's `tokenizer.ggml.pre` names. Errors: unsupported, naming it.
Result<std::vector<Splitter>> splitters_for_pre(std::string_view pre);

/// The stage whose regular expression has exactly this text, as in tokenizer.json.
std::optional<Splitter> splitter_for_regex(std::string_view regex) noexcept;

/// Cuts `text` by all stages in order and replaces `pieces` by the result: consecutive, not empty,
/// together the whole text. Ill-formed UTF-8 counts as one unassigned character per byte.
/// Returns:  the number of characters looked at, stages and look-ahead together; at most a small
///           constant times the text's length times the stages.
/// Thread:   any.
std::uint64_t split(std::span<const Splitter> stages, std::string_view text,
                    std::vector<ByteRange>& pieces);

} // namespace bloom::text
