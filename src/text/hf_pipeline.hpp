#pragma once

#include <optional>
#include <string>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/text/vocab.hpp>

namespace bloom::text {

/// What the normaliser, pre-tokenizer, decoder and post-processor of a tokenizer.json come to.
struct HfPipeline {
    bool nfc = false;
    bool marks_spaces = false; ///< spaces become U+2581 somewhere
    bool byte_level = false;   ///< the GPT-2 byte alphabet is in use
    SpacePrefix space_prefix = SpacePrefix::never;
    std::vector<Splitter> splitters;
    /// A regular expression that is not built in; the splitters are then the family's.
    std::string unknown_regex;
    bool may_be_unknown = false;        ///< whether such an expression is let pass
    std::optional<std::int32_t> bos_id; ///< put in front by the template
    std::optional<std::int32_t> eos_id;
};

/// Reads the four parts. `family_pre`: a pre-tokenizer of splitters_for_pre() to take where the
/// file splits by an expression that is not built in; empty: such a file is an error. Errors:
/// unsupported, naming the part and its type or pattern.
Result<HfPipeline> read_hf_pipeline(const json::Object& tokenizer,
                                    std::string_view family_pre = {});

/// The member, or nothing where it is absent or null.
std::optional<json::Value> present(const json::Object& object, std::string_view key);
/// The member as text; empty where it is absent or null. Errors: invalid_argument naming the key.
Result<std::string_view> text_member(const json::Object& object, std::string_view key);
/// The member as truth value, or the given one where it is absent or null.
Result<bool> flag_member(const json::Object& object, std::string_view key, bool otherwise);

} // namespace bloom::text
