#include "engine/directory_tokenizer.hpp"

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/mapped_file.hpp>
#include <bloom/text/hf_tokenizer.hpp>
#include <bloom/text/published_tokenizers.hpp>

namespace bloom::engine {
namespace {

/// Largest side file besides tokenizer.json; chat templates are bounded by 1 MiB themselves.
constexpr std::uint64_t kMaxSideFileBytes = 32U << 20;

/// The pre-tokenizer that a family's own files describe; empty where there is not one for all.
std::string_view pre_of(Arch arch) noexcept {
    switch (arch) {
    case Arch::qwen2:
    case Arch::qwen3:
    case Arch::qwen3_moe:
        return "qwen2";
    case Arch::qwen35:
    case Arch::qwen35_moe:
        return "qwen35";
    case Arch::afmoe:
        return "afmoe";
    case Arch::minimax_m2:
        return "minimax-m2";
    case Arch::llama: // Llama 2 and 3 differ
    case Arch::gemma4:
        break;
    }
    return {};
}

/// Optional files of one directory.
class SideFiles {
public:
    static Result<SideFiles> open(const std::filesystem::path& directory) {
        BLOOM_TRY(std::filesystem::path store, store_root(directory));
        return SideFiles(directory, std::move(store));
    }

    /// Empty when it is absent.
    Result<std::string> read(std::string_view name,
                             std::uint64_t max_bytes = kMaxSideFileBytes) const {
        auto text = read_small_file(directory_, name, store_, max_bytes);
        if (!text && text.error().code() == Code::not_found) return std::string();
        return text;
    }

private:
    SideFiles(std::filesystem::path directory, std::filesystem::path store)
        : directory_(std::move(directory)), store_(std::move(store)) {}

    std::filesystem::path directory_;
    std::filesystem::path store_;
};

/// What the family's splitters make of a file with unknown ones must be what was published.
Result<> check_published(const text::HfTokenizer& read, std::string_view pre) {
    BLOOM_TRY(const auto tokenizer, text::Tokenizer::create(read.vocab));
    const std::string fingerprint = text::tokenizer_fingerprint(*tokenizer);
    const text::PublishedTokenizer* const known = text::find_published(fingerprint);
    if (known != nullptr && known->pre == pre) return {};
    return Error{
        Code::unsupported,
        fmt::format("tokenizer.json splits text by {}, which is not built in, and with the "
                    "splits of {} it is no published tokenizer",
                    bloom::quoted(read.unknown_regex, 300), pre)};
}

} // namespace

Result<ModelTokenizer> read_directory_tokenizer(const std::filesystem::path& directory, Arch arch) {
    BLOOM_TRY(const SideFiles files, SideFiles::open(directory));
    BLOOM_TRY(const std::string tokenizer,
              files.read("tokenizer.json", text::kMaxTokenizerJsonBytes));
    std::string vocab;
    std::string merges;
    std::string added;
    if (tokenizer.empty()) {
        BLOOM_TRY(vocab, files.read("vocab.json", text::kMaxTokenizerJsonBytes));
        BLOOM_TRY(merges, files.read("merges.txt", text::kMaxTokenizerJsonBytes));
        BLOOM_TRY(added, files.read("added_tokens.json"));
        if (vocab.empty() || merges.empty()) {
            return Error{Code::not_found,
                         fmt::format("{} has no tokenizer.json, nor vocab.json and merges.txt",
                                     bloom::quoted(directory.string(), 256))};
        }
    }
    BLOOM_TRY(const std::string tokenizer_config, files.read("tokenizer_config.json"));
    BLOOM_TRY(const std::string generation, files.read("generation_config.json"));
    BLOOM_TRY(const std::string jinja, files.read("chat_template.jinja"));
    BLOOM_TRY(const std::string config, files.read("config.json", kMaxConfigJsonBytes));
    const std::string_view pre = pre_of(arch);
    BLOOM_TRY(text::HfTokenizer read,
              text::read_hf_tokenizer({.tokenizer_json = tokenizer,
                                       .tokenizer_config_json = tokenizer_config,
                                       .generation_config_json = generation,
                                       .chat_template_jinja = jinja,
                                       .config_json = config,
                                       .vocab_json = vocab,
                                       .merges_txt = merges,
                                       .added_tokens_json = added,
                                       .family_pre = pre}));
    if (!read.unknown_regex.empty()) BLOOM_OK(check_published(read, pre));
    ModelTokenizer out;
    out.vocab = std::move(read.vocab);
    if (!read.chat_template.empty())
        out.chat_templates.push_back({"default", std::move(read.chat_template)});
    for (auto& [name, source] : read.named_templates) {
        if (name != "default") out.chat_templates.push_back({std::move(name), std::move(source)});
    }
    return out;
}

} // namespace bloom::engine
