#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/engine/model_file.hpp>
#include <bloom/registry/catalog.hpp>

/// Models on disk, and which of the catalog they are.
namespace bloom::provider {

/// A model somewhere in a folder of models: a directory with config.json or a GGUF file (the first
/// part of a split one).
struct FoundModel {
    std::filesystem::path path;
    std::vector<std::string> names; ///< see names_of_path
};

// Bounds of a search.
inline constexpr int kModelFolderDepth = 3; ///< org/name/file.gguf, models--org--name/snapshots/rev
inline constexpr std::size_t kModelFolderEntries = 10'000;

/// What lies in `folder`, by path. A folder that cannot be read is empty.
std::vector<FoundModel> models_in(const std::filesystem::path& folder);

/// What a model may be called by where it lies: its file's or folder's name without the extension
/// and the part number, the same behind its parent's, and the repository (`org/name`) in a cache
/// as the Hugging Face tools keep it.
std::vector<std::string> names_of_path(const std::filesystem::path& path);

/// How most bytes of the file are stored: `8bit`, or the name of a floating-point type.
std::string quantization_of(const engine::ModelFile& file);

/// What the catalog compares. `source`: a path or the built-in id; `alias` may be empty.
registry::ModelFacts facts_of(const engine::ModelFile& file, std::string_view source,
                              std::string_view alias);

/// The path of a model that somebody named: a path that exists and the ids of built-in models as
/// they are; else a model in `models_dir` of that name, or the one that the catalog knows by it.
/// Cost: without a name that fits, opens every model of the folder.
/// Errors: not_found saying what would be accepted and where was looked.
Result<std::string> locate_model(std::string_view name, const std::filesystem::path& models_dir,
                                 const registry::Catalog& catalog);

} // namespace bloom::provider
