#include <limits>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/engine/gguf_model.hpp>

namespace bloom::engine {
namespace {

constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr std::string_view kTemplateKey = "tokenizer.chat_template";

Result<> read_tokens(const GgufMetadata& metadata, text::VocabSpec& out) {
    BLOOM_TRY(const GgufArray* tokens, metadata.array(kTokensKey, GgufType::string));
    if (tokens->size() == 0 || tokens->size() > text::kMaxTokens) {
        return Error{Code::too_large, fmt::format("{} has {} entries; 1 to {} are possible",
                                                  kTokensKey, tokens->size(), text::kMaxTokens)};
    }
    out.tokens.reserve(static_cast<std::size_t>(tokens->size()));
    for (std::uint64_t i = 0; i < tokens->size(); ++i) {
        const std::string_view token = tokens->string_at(i);
        if (!is_utf8(token)) {
            return Error{Code::corrupt,
                         fmt::format("token {}, {}, is not UTF-8", i, bloom::quoted(token))};
        }
        out.tokens.emplace_back(token);
    }
    return {};
}

/// A list that runs beside the tokens; nullptr when the file has none.
Result<const GgufArray*> side_list(const GgufMetadata& metadata, std::string_view key,
                                   GgufType element, std::size_t n_tokens) {
    if (metadata.find(key) == nullptr) return nullptr;
    BLOOM_TRY(const GgufArray* list, metadata.array(key, element));
    if (list->size() == n_tokens) return list;
    return Error{Code::corrupt,
                 fmt::format("{} has {} entries for {} tokens", key, list->size(), n_tokens)};
}

Result<> read_types_and_scores(const GgufMetadata& metadata, text::VocabSpec& out) {
    BLOOM_TRY(const GgufArray* types,
              side_list(metadata, "tokenizer.ggml.token_type", GgufType::i32, out.tokens.size()));
    for (std::uint64_t i = 0; types != nullptr && i < types->size(); ++i) {
        BLOOM_TRY(const std::int64_t type, types->integer_at(i));
        if (type < static_cast<int>(text::TokenType::normal) ||
            type > static_cast<int>(text::TokenType::byte)) {
            return Error{Code::corrupt, fmt::format("token {} has the unknown type {}", i, type)};
        }
        out.types.push_back(static_cast<text::TokenType>(type));
    }
    BLOOM_TRY(const GgufArray* scores,
              side_list(metadata, "tokenizer.ggml.scores", GgufType::f32, out.tokens.size()));
    for (std::uint64_t i = 0; scores != nullptr && i < scores->size(); ++i) {
        BLOOM_TRY(const double score, scores->real_at(i));
        if (score != score)
            return Error{Code::corrupt, fmt::format("token {} has the score NaN", i)};
        out.scores.push_back(static_cast<float>(score));
    }
    return {};
}

Result<> read_merges(const GgufMetadata& metadata, text::VocabSpec& out) {
    constexpr std::string_view kKey = "tokenizer.ggml.merges";
    if (metadata.find(kKey) == nullptr) return {};
    BLOOM_TRY(const GgufArray* merges, metadata.array(kKey, GgufType::string));
    if (merges->size() > text::kMaxMerges) {
        return Error{Code::too_large, fmt::format("{} has {} entries, the limit is {}", kKey,
                                                  merges->size(), text::kMaxMerges)};
    }
    out.merges.reserve(static_cast<std::size_t>(merges->size()));
    for (std::uint64_t i = 0; i < merges->size(); ++i) {
        const std::string_view merge = merges->string_at(i);
        if (!is_utf8(merge))
            return Error{Code::corrupt,
                         fmt::format("merge {}, {}, is not UTF-8", i, bloom::quoted(merge))};
        out.merges.emplace_back(merge);
    }
    return {};
}

Result<> read_ids(const GgufMetadata& metadata, text::VocabSpec& out) {
    struct Key {
        std::string_view name;
        std::int32_t* id;
    };

    for (const Key& key :
         {Key{"bos", &out.bos_id}, Key{"eos", &out.eos_id}, Key{"eot", &out.eot_id},
          Key{"eom", &out.eom_id}, Key{"unknown", &out.unk_id}, Key{"padding", &out.pad_id}}) {
        // Files write "none" as the key's absence, as -1 or as 0xffffffff.
        const std::string full = fmt::format("tokenizer.ggml.{}_token_id", key.name);
        constexpr std::int64_t kNoneUnsigned = std::numeric_limits<std::uint32_t>::max();
        BLOOM_TRY(const std::int64_t id, metadata.integer_or(full, -1, -1, kNoneUnsigned));
        if (id == -1 || id == kNoneUnsigned) continue;
        if (id >= static_cast<std::int64_t>(out.tokens.size())) {
            return Error{Code::corrupt,
                         fmt::format("{} is {}, there are {} tokens", full, id, out.tokens.size())};
        }
        *key.id = static_cast<std::int32_t>(id);
    }
    return {};
}

Result<> read_suppressed(const GgufMetadata& metadata, text::VocabSpec& out) {
    constexpr std::string_view kKey = "tokenizer.ggml.suppress_tokens";
    const GgufValue* const value = metadata.find(kKey);
    const auto* const list = value == nullptr ? nullptr : std::get_if<GgufArray>(&value->value);
    if (value == nullptr) return {};
    if (list == nullptr || list->size() > out.tokens.size()) {
        return Error{Code::corrupt,
                     fmt::format("{} is no list of at most {} tokens", kKey, out.tokens.size())};
    }
    for (std::uint64_t i = 0; i < list->size(); ++i) {
        BLOOM_TRY(const std::int64_t id, list->integer_at(i));
        if (id < 0 || id >= static_cast<std::int64_t>(out.tokens.size())) {
            return Error{Code::corrupt, fmt::format("{} has the id {}, there are {} tokens", kKey,
                                                    id, out.tokens.size())};
        }
        out.suppress_ids.push_back(static_cast<std::int32_t>(id));
    }
    return {};
}

Result<> read_switches(const GgufMetadata& metadata, text::VocabSpec& out) {
    const auto read = [&](std::string_view key, std::optional<bool>& to) -> Result<> {
        if (metadata.find(key) == nullptr) return {};
        BLOOM_TRY(to, metadata.boolean_or(key, false));
        return {};
    };
    BLOOM_OK(read("tokenizer.ggml.add_bos_token", out.add_bos));
    BLOOM_OK(read("tokenizer.ggml.add_eos_token", out.add_eos));
    std::optional<bool> space;
    BLOOM_OK(read("tokenizer.ggml.add_space_prefix", space));
    if (space) out.space_prefix = text::space_prefix_from_gguf(*space);
    return {};
}

Result<std::vector<ChatTemplate>> read_templates(const GgufMetadata& metadata) {
    std::vector<ChatTemplate> out;
    if (metadata.find(kTemplateKey) != nullptr) {
        BLOOM_TRY(const std::string_view source, metadata.text(kTemplateKey));
        out.push_back({"default", std::string(source)});
    }
    const std::string prefix = std::string(kTemplateKey) + ".";
    for (const GgufMetadata::Entry& entry : metadata.entries()) {
        if (!entry.key.starts_with(prefix)) continue;
        BLOOM_TRY(const std::string_view source, metadata.text(entry.key));
        out.push_back({entry.key.substr(prefix.size()), std::string(source)});
    }
    return out;
}

} // namespace

Result<ModelTokenizer> read_gguf_tokenizer(const GgufFile& file) {
    const GgufMetadata& metadata = file.metadata();
    ModelTokenizer out;
    BLOOM_TRY(const std::string_view model, metadata.text("tokenizer.ggml.model"));
    BLOOM_TRY(out.vocab.kind, text::vocab_kind_from_gguf(model));
    BLOOM_OK(read_tokens(metadata, out.vocab));
    BLOOM_OK(read_types_and_scores(metadata, out.vocab));
    BLOOM_OK(read_merges(metadata, out.vocab));
    BLOOM_TRY(const std::string_view pre, metadata.text_or("tokenizer.ggml.pre", ""));
    out.vocab.pre = pre;
    BLOOM_OK(read_ids(metadata, out.vocab));
    BLOOM_OK(read_suppressed(metadata, out.vocab));
    BLOOM_OK(read_switches(metadata, out.vocab));
    BLOOM_TRY(out.chat_templates, read_templates(metadata));
    return out;
}

} // namespace bloom::engine
