#include <algorithm>
#include <map>
#include <optional>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/provider/model_folder.hpp>
#include <bloom/provider/model_source.hpp>

namespace bloom::provider {
namespace {

namespace fs = std::filesystem;

/// `-00001-of-00006` at the end of a split file's stem.
constexpr std::size_t kPartSuffix = 15;

struct Part {
    std::string_view stem; ///< without the suffix
    bool later = false;    ///< not the first part
};

Part split_stem(std::string_view stem) {
    if (stem.size() <= kPartSuffix) return {stem, false};
    const std::string_view suffix = stem.substr(stem.size() - kPartSuffix);
    const auto digits = [&](std::size_t at) {
        return std::ranges::all_of(suffix.substr(at, 5),
                                   [](char c) { return c >= '0' && c <= '9'; });
    };
    if (suffix[0] != '-' || suffix.substr(6, 4) != "-of-" || !digits(1) || !digits(10))
        return {stem, false};
    return {stem.substr(0, stem.size() - kPartSuffix), suffix.substr(1, 5) != "00001"};
}

bool is_gguf(const fs::path& path) {
    return path.extension() == ".gguf";
}

void search(const fs::path& folder, int depth, std::size_t& left, std::vector<FoundModel>& out) {
    std::error_code failure;
    for (fs::directory_iterator it(folder, failure), end; !failure && it != end && left > 0;
         it.increment(failure)) {
        --left;
        std::error_code ignored;
        const fs::path& path = it->path();
        if (is_gguf(path)) {
            if (!split_stem(path.stem().native()).later) out.push_back({path, names_of_path(path)});
        } else if (it->is_directory(ignored)) {
            if (fs::exists(path / "config.json", ignored)) {
                out.push_back({path, names_of_path(path)});
            } else if (depth > 1) {
                search(path, depth - 1, left, out);
            }
        }
    }
}

/// `org/name` from `models--org--name`, the folder of a repository in a download cache.
std::optional<std::string> cached_repository(const fs::path& path) {
    constexpr std::string_view kPrefix = "models--";
    for (const fs::path& part : path) {
        const std::string name = part.string();
        if (!name.starts_with(kPrefix)) continue;
        std::string repository = name.substr(kPrefix.size());
        if (const std::size_t at = repository.find("--"); at != std::string::npos)
            repository.replace(at, 2, "/");
        return repository;
    }
    return std::nullopt;
}

} // namespace

std::vector<FoundModel> models_in(const fs::path& folder) {
    std::vector<FoundModel> out;
    std::size_t left = kModelFolderEntries;
    search(folder, kModelFolderDepth, left, out);
    std::ranges::sort(out, {}, &FoundModel::path);
    return out;
}

std::vector<std::string> names_of_path(const fs::path& given) {
    std::error_code failure;
    fs::path path = fs::absolute(given, failure).lexically_normal(); // "." has a name, too
    if (path.filename().empty()) path = path.parent_path();
    std::vector<std::string> names;
    names.push_back(is_gguf(path) ? std::string(split_stem(path.stem().native()).stem)
                                  : path.filename().string());
    if (path.has_parent_path() && path.parent_path().has_filename())
        names.push_back(path.parent_path().filename().string() + "/" + names.front());
    if (auto repository = cached_repository(path)) names.push_back(std::move(*repository));
    return names;
}

std::string quantization_of(const engine::ModelFile& file) {
    using engine::StorageType;
    std::map<StorageType, std::uint64_t> bytes;
    for (const engine::TensorInfo& tensor : file.tensors())
        bytes[tensor.type] += tensor.bytes;
    const auto most = std::max_element(bytes.begin(), bytes.end(),
                                       [](auto& a, auto& b) { return a.second < b.second; });
    if (most == bytes.end()) return {};
    // Affine codes come four to a word.
    const StorageType type = most->first;
    if (type == StorageType::q8_0 || type == StorageType::u32 || type == StorageType::u8)
        return "8bit";
    return std::string(engine::to_string(type));
}

registry::ModelFacts facts_of(const engine::ModelFile& file, std::string_view source,
                              std::string_view alias) {
    const engine::ModelConfig& c = file.config();
    registry::ModelFacts facts;
    facts.shape = {std::string(engine::to_string(c.arch)),
                   c.n_layers,
                   c.d_model,
                   c.n_heads,
                   c.vocab_rows,
                   c.experts.n_experts};
    facts.quantization = quantization_of(file);
    if (!alias.empty()) facts.names.emplace_back(alias);
    facts.names.push_back(file.name());
    if (source != kBuiltInModel) {
        for (std::string& name : names_of_path(fs::path(source)))
            facts.names.push_back(std::move(name));
    }
    return facts;
}

Result<std::string> locate_model(std::string_view name, const fs::path& models_dir,
                                 const registry::Catalog& catalog) {
    if (check_model_source(name)) return std::string(name);
    const std::vector<FoundModel> found = models_in(models_dir);
    for (const FoundModel& model : found) {
        if (std::ranges::any_of(model.names, [&](auto& own) { return iequals(own, name); }))
            return model.path.string();
    }
    const registry::CatalogEntry* const entry = catalog.find(name);
    if (entry == nullptr) {
        return Error{
            Code::not_found,
            fmt::format("model {}: no such file or folder, and nothing of that name in {}; "
                        "give a .gguf file, a folder with config.json and safetensors, a "
                        "name that 'darkbloom models' lists, or {}",
                        bloom::quoted(name, 4096), models_dir.string(), kBuiltInModel)};
    }
    for (const FoundModel& model : found) {
        if (std::ranges::any_of(model.names, [&](auto& n) { return is_name_of(*entry, n); }))
            return model.path.string();
    }
    for (const FoundModel& model : found) {
        const std::string path = model.path.string();
        const auto file = open_model(path);
        if (file && catalog.recognise(facts_of(*file, path, {})) == entry) return path;
    }
    return Error{
        Code::not_found,
        fmt::format("model {}: {} is in the catalog, but not in {}; put its files there ({} "
                    "GB{}), or give their path",
                    bloom::quoted(name, 4096), entry->display_name, models_dir.string(),
                    entry->size_gb,
                    entry->repositories.empty() ? std::string()
                                                : ", published as " + entry->repositories.front())};
}

} // namespace bloom::provider
