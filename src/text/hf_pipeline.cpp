#include "hf_pipeline.hpp"

#include <limits>
#include <utility>

#include <fmt/format.h>

#include <bloom/base/text.hpp>

namespace bloom::text {
namespace {

constexpr std::string_view kMark = "\xe2\x96\x81"; // U+2581

Error unsupported(std::string_view part, std::string_view what) {
    return {Code::unsupported,
            fmt::format("the tokenizer's {} {} is not supported", part, quoted(what, 300))};
}

/// A pattern member: {"String": s} or {"Regex": r}.
struct Pattern {
    bool is_regex = false;
    std::string_view text;
};

Result<Pattern> read_pattern(const json::Object& owner) {
    BLOOM_TRY(const json::Value value, owner.at("pattern"));
    BLOOM_TRY(const json::Object pattern, value.as_object());
    if (const auto regex = present(pattern, "Regex")) {
        BLOOM_TRY(const std::string_view text, regex->as_string());
        return Pattern{true, text};
    }
    BLOOM_TRY(const json::Value literal, pattern.at("String"));
    BLOOM_TRY(const std::string_view text, literal.as_string());
    return Pattern{false, text};
}

/// Calls `read` for the part itself or, if it is a sequence, for its members. Nesting is bounded by
/// the reader of the JSON text.
template <class Read>
Result<> each_of(const json::Object& part, std::string_view list_key, const Read& read) {
    BLOOM_TRY(const std::string_view type, text_member(part, "type"));
    if (type != "Sequence") return read(part, type);
    BLOOM_TRY(const json::Value list, part.at(list_key));
    BLOOM_TRY(const json::Array members, list.as_array());
    for (const json::Value member : members) {
        BLOOM_TRY(const json::Object object, member.as_object());
        BLOOM_OK(each_of(object, list_key, read));
    }
    return {};
}

Result<> read_normalizer(const json::Object& part, std::string_view type, HfPipeline& out) {
    if (type == "NFC") {
        out.nfc = true;
        return {};
    }
    if (type == "Replace") {
        BLOOM_TRY(const Pattern pattern, read_pattern(part));
        BLOOM_TRY(const std::string_view content, text_member(part, "content"));
        if (pattern.text == " " && content == kMark) {
            out.marks_spaces = true;
            return {};
        }
        return unsupported("Replace normalizer", pattern.text);
    }
    if (type == "Prepend") {
        BLOOM_TRY(const std::string_view prefix, text_member(part, "prepend"));
        if (prefix != kMark) return unsupported("Prepend normalizer", prefix);
        out.space_prefix = SpacePrefix::always;
        return {};
    }
    return unsupported("normalizer", type);
}

Result<> read_split(const json::Object& part, HfPipeline& out) {
    BLOOM_TRY(const Pattern pattern, read_pattern(part));
    BLOOM_TRY(const std::string_view behavior, text_member(part, "behavior"));
    BLOOM_TRY(const bool invert, flag_member(part, "invert", false));
    if (!pattern.is_regex) {
        // Gemma splits at spaces after its normaliser has taken them all away.
        if (pattern.text == " " && out.marks_spaces && behavior == "MergedWithPrevious" &&
            !invert) {
            return {};
        }
        return unsupported("Split pattern", pattern.text);
    }
    const auto splitter = splitter_for_regex(pattern.text);
    if (!splitter && out.may_be_unknown) {
        out.unknown_regex = pattern.text;
        return {};
    }
    if (!splitter) return unsupported("Split regular expression", pattern.text);
    // Keeping the matches and dropping the rest is the same where the expression matches
    // everything.
    const bool isolated = behavior == "Isolated" && !invert;
    const bool inverted = behavior == "Removed" && invert && *splitter <= Splitter::o200k;
    if (!isolated && !inverted) return unsupported("Split behavior", behavior);
    // Behind ByteLevel the text is in another alphabet, where only ASCII patterns mean the same.
    if (out.byte_level && *splitter != Splitter::digits_three) {
        return unsupported("Split after ByteLevel with", pattern.text);
    }
    out.splitters.push_back(*splitter);
    return {};
}

Result<> read_metaspace(const json::Object& part, HfPipeline& out) {
    BLOOM_TRY(const std::string_view replacement, text_member(part, "replacement"));
    if (replacement != kMark) return unsupported("Metaspace replacement", replacement);
    BLOOM_TRY(const bool split, flag_member(part, "split", true));
    if (split) return unsupported("pre-tokenizer", "Metaspace with split");
    BLOOM_TRY(const bool old_prefix, flag_member(part, "add_prefix_space", true));
    BLOOM_TRY(std::string_view scheme, text_member(part, "prepend_scheme"));
    if (scheme.empty()) scheme = old_prefix ? "always" : "never";
    out.marks_spaces = true;
    if (scheme == "never") return {};
    if (scheme != "first" && scheme != "always") return unsupported("prepend_scheme", scheme);
    out.space_prefix = scheme == "first" ? SpacePrefix::first : SpacePrefix::always;
    return {};
}

Result<> read_pre_tokenizer(const json::Object& part, std::string_view type, HfPipeline& out) {
    if (type == "ByteLevel") {
        BLOOM_TRY(const bool prefix, flag_member(part, "add_prefix_space", true));
        if (prefix) return unsupported("pre-tokenizer", "ByteLevel with add_prefix_space");
        BLOOM_TRY(const bool use_regex, flag_member(part, "use_regex", true));
        if (out.byte_level) return unsupported("pre-tokenizer", "ByteLevel twice");
        if (use_regex) out.splitters.push_back(Splitter::gpt2);
        out.byte_level = true;
        return {};
    }
    if (type == "Split") return read_split(part, out);
    if (type == "Digits") {
        BLOOM_TRY(const bool single, flag_member(part, "individual_digits", false));
        if (out.byte_level) return unsupported("pre-tokenizer", "Digits after ByteLevel");
        out.splitters.push_back(single ? Splitter::digits_single : Splitter::digits_run);
        return {};
    }
    if (type == "Metaspace") return read_metaspace(part, out);
    return unsupported("pre-tokenizer", type);
}

/// Decoding is concatenation of token bytes here; this checks that the file means the same.
Result<> read_decoder(const json::Object& part, std::string_view type, HfPipeline& out) {
    if (type == "ByteLevel") {
        out.byte_level = true;
        return {};
    }
    if (type == "Replace") {
        BLOOM_TRY(const Pattern pattern, read_pattern(part));
        BLOOM_TRY(const std::string_view content, text_member(part, "content"));
        if (pattern.text == kMark && content == " ") return {};
        return unsupported("Replace decoder", pattern.text);
    }
    if (type == "ByteFallback" || type == "Fuse" || type == "Metaspace") return {};
    if (type == "Strip") {
        BLOOM_TRY(const std::string_view content, text_member(part, "content"));
        if (content == " ") return {};
        return unsupported("Strip decoder", content);
    }
    return unsupported("decoder", type);
}

/// The id that a template's special token stands for.
Result<std::int32_t> template_id(const json::Object& part, std::string_view name) {
    BLOOM_TRY(const json::Value list, part.at("special_tokens"));
    BLOOM_TRY(const json::Object tokens, list.as_object());
    BLOOM_TRY(const json::Value entry, tokens.at(name));
    BLOOM_TRY(const json::Object token, entry.as_object());
    BLOOM_TRY(const json::Value ids_value, token.at("ids"));
    BLOOM_TRY(const json::Array ids, ids_value.as_array());
    if (ids.size() != 1) return unsupported("post-processor token", name);
    BLOOM_TRY(const std::int64_t id, (*ids.begin()).as_int64());
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
        return Error{Code::corrupt, fmt::format("the post-processor names the token id {}", id)};
    }
    return static_cast<std::int32_t>(id);
}

Result<> read_post_processor(const json::Object& part, std::string_view type, HfPipeline& out) {
    if (type == "ByteLevel") return {}; // moves offsets only
    if (type != "TemplateProcessing") return unsupported("post-processor", type);
    BLOOM_TRY(const json::Value single, part.at("single"));
    BLOOM_TRY(const json::Array items, single.as_array());
    bool after_text = false;
    for (const json::Value item : items) {
        BLOOM_TRY(const json::Object object, item.as_object());
        if (present(object, "Sequence")) {
            if (std::exchange(after_text, true))
                return unsupported("post-processor", "two sequences");
            continue;
        }
        BLOOM_TRY(const json::Value special, object.at("SpecialToken"));
        BLOOM_TRY(const json::Object token, special.as_object());
        BLOOM_TRY(const std::string_view name, text_member(token, "id"));
        std::optional<std::int32_t>& slot = after_text ? out.eos_id : out.bos_id;
        if (slot) return unsupported("post-processor with a second token", name);
        BLOOM_TRY(slot, template_id(part, name));
    }
    return {};
}

} // namespace

std::optional<json::Value> present(const json::Object& object, std::string_view key) {
    const auto value = object.find(key);
    return value && !value->is_null() ? value : std::nullopt;
}

Result<std::string_view> text_member(const json::Object& object, std::string_view key) {
    const auto value = present(object, key);
    if (!value) return std::string_view();
    auto text = value->as_string();
    if (!text) return std::move(text).error().with_context(key);
    return text;
}

Result<bool> flag_member(const json::Object& object, std::string_view key, bool otherwise) {
    const auto value = present(object, key);
    if (!value) return otherwise;
    auto flag = value->as_bool();
    if (!flag) return std::move(flag).error().with_context(key);
    return flag;
}

Result<HfPipeline> read_hf_pipeline(const json::Object& tokenizer, std::string_view family_pre) {
    HfPipeline out;
    out.may_be_unknown = !family_pre.empty();
    using Reader = Result<> (*)(const json::Object&, std::string_view, HfPipeline&);
    const auto read = [&](std::string_view key, std::string_view list_key,
                          Reader reader) -> Result<> {
        const auto value = present(tokenizer, key);
        if (!value) return {};
        BLOOM_TRY(const json::Object part, value->as_object());
        return each_of(part, list_key, [&](const json::Object& one, std::string_view type) {
            return reader(one, type, out);
        });
    };
    BLOOM_OK(read("normalizer", "normalizers", read_normalizer));
    BLOOM_OK(read("pre_tokenizer", "pretokenizers", read_pre_tokenizer));
    BLOOM_OK(read("decoder", "decoders", read_decoder));
    BLOOM_OK(read("post_processor", "processors", read_post_processor));
    if (!out.unknown_regex.empty()) {
        BLOOM_TRY(out.splitters, splitters_for_pre(family_pre));
    }
    return out;
}

} // namespace bloom::text
