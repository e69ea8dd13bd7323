#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>
#include <bloom/engine/mapped_file.hpp>
#include <bloom/engine/tensor_info.hpp>

namespace bloom::engine {

// The rules that a safetensors file is held to, in the order of their checks:
//  1. 8 bytes of length, 0 < length <= cap and inside the file
//  2. JSON from "{" on, depth and UTF-8 checked, no key twice, only spaces behind
//  3. tensor names not empty, without NUL, below the caps
//  4. known dtype; at most 8 dimensions, written as plain integers below 2^53; sizes without
//  overflow
//  5. data_offsets inside the data and as long as the tensor
//  6. tensors cover the data from end to end: no overlap, no hole, nothing behind
//  7. no name in two shards
inline constexpr std::uint64_t kSafetensorsMaxHeaderBytes = 100'000'000;
inline constexpr std::size_t kSafetensorsMaxDepth = 8;
inline constexpr std::uint64_t kSafetensorsMaxTensors = 1'000'000;
inline constexpr std::size_t kSafetensorsMaxNameBytes = 1024;
inline constexpr std::uint64_t kSafetensorsMaxIndexBytes = 64'000'000;
inline constexpr std::size_t kSafetensorsMaxShards = 9999;

/// The header of one safetensors file.
struct SafetensorsHeader {
    std::vector<TensorInfo> tensors;                           ///< by position in the file
    std::vector<std::pair<std::string, std::string>> metadata; ///< `__metadata__`
};

/// Reads and checks a header, rules 1 to 6; `shard` is what TensorInfo::file becomes, data pointers
/// are set into the file's mapping and have any alignment.
/// Errors: corrupt (breaks the format), unsupported (unknown dtype), too_large, io_error.
Result<SafetensorsHeader> read_safetensors_header(const MappedFile& file, std::uint32_t shard);

/// All safetensors files of a model directory: model.safetensors, or the shards that
/// model.safetensors.index.json names.
/// Errors: not_found (no file, or a mapped tensor that its shard lacks), corrupt, too_large,
/// io_error;
///         a link out of the store is permission_denied.
/// Lifetime: owns the mappings; movable. Thread: const from any.
class SafetensorsModel {
public:
    static Result<SafetensorsModel> open(const std::filesystem::path& directory);
    /// One file's image that outlives the object.
    static Result<SafetensorsModel> from_memory(ByteSpan bytes, std::string name);

    /// Tensors that belong to the model, by shard and position.
    std::span<const TensorInfo> tensors() const noexcept { return tensors_; }

    const TensorInfo* find_tensor(std::string_view name) const noexcept;

    std::span<const MappedFile> files() const noexcept { return files_; }

    /// `__metadata__` of the first file.
    std::span<const std::pair<std::string, std::string>> metadata() const noexcept {
        return metadata_;
    }

    /// What is odd but harmless: tensors outside the index, a total_size that is wrong.
    std::span<const std::string> warnings() const noexcept { return warnings_; }

private:
    SafetensorsModel() = default;
    Result<> add_file(MappedFile file);
    Result<> open_shards(const std::filesystem::path& directory, const std::filesystem::path& store,
                         std::string_view index_json);

    std::vector<TensorInfo> tensors_;
    std::unordered_map<std::string, std::size_t, StringHash, std::equal_to<>> by_name_;
    std::vector<MappedFile> files_;
    std::vector<std::pair<std::string, std::string>> metadata_;
    std::vector<std::string> warnings_;
};

} // namespace bloom::engine
