#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>
#include <bloom/engine/mapped_file.hpp>
#include <bloom/engine/tensor_info.hpp>

namespace bloom::engine {

// The rules that a GGUF file is held to, in the order of their checks:
//  1. magic, version 2 or 3, little endian
//  2. counts that fit into the file and below the caps
//  3. lengths of strings and arrays that fit into the rest of the file, before memory is taken
//  4. bool bytes 0 or 1; keys, names and texts in UTF-8
//  5. no key and no tensor name twice
//  6. general.alignment: u32, a power of two, 8 to 65,536
//  7. 1 to 4 dimensions, none 0, product below 2^63, rows of whole blocks, bytes below 2^64
//  8. data at multiples of the alignment, inside the file, one after the other without holes
//  9. values are read as what they are; integers from any integer type, with a range
// 10. semantic limits of ModelConfig before anything is sized by metadata
// Where the format has no bound, these are ours.
inline constexpr std::uint64_t kGgufMaxTensors = 1'000'000;
inline constexpr std::uint64_t kGgufMaxKeys = 100'000;
inline constexpr std::uint64_t kGgufMaxKeyBytes = 65'535;
inline constexpr std::uint64_t kGgufMaxTensorNameBytes = 63;
inline constexpr std::uint64_t kGgufMaxStringBytes = 16U << 20;
inline constexpr std::uint64_t kGgufMaxArrayElements = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kGgufMaxAlignment = 65'536;
inline constexpr std::uint64_t kGgufDefaultAlignment = 32;
inline constexpr std::int64_t kGgufMaxParts = 9999;
/// What the metadata of one part may take in memory; a sparse file costs an attacker nothing.
inline constexpr std::uint64_t kGgufMaxMetadataBytes = std::uint64_t{1} << 30;

/// Value types by their number in the file.
enum class GgufType : std::uint32_t {
    u8 = 0,
    i8 = 1,
    u16 = 2,
    i16 = 3,
    u32 = 4,
    i32 = 5,
    f32 = 6,
    boolean = 7,
    string = 8,
    array = 9,
    u64 = 10,
    i64 = 11,
    f64 = 12,
};

std::string_view to_string(GgufType type) noexcept;

/// An array value: elements of one type, strings in one block.
class GgufArray {
public:
    GgufType element() const noexcept { return element_; }

    std::uint64_t size() const noexcept { return size_; }

    /// i < size(), element() == string.
    std::string_view string_at(std::uint64_t i) const;
    /// Element i of an array of any integer type. Errors: invalid_argument for other types,
    /// too_large above int64.
    Result<std::int64_t> integer_at(std::uint64_t i) const;
    /// Element i of an array of bools. Errors: invalid_argument for other types.
    Result<bool> boolean_at(std::uint64_t i) const;
    /// Element i of an array of f32 or f64. Errors: invalid_argument for other types.
    Result<double> real_at(std::uint64_t i) const;

private:
    friend class GgufParser;
    GgufType element_ = GgufType::u8;
    std::uint64_t size_ = 0;
    std::string bytes_;               ///< fixed-size elements as in the file, or all strings
    std::vector<std::uint32_t> ends_; ///< strings: end of each in bytes_
};

/// One metadata value. Unsigned and signed integers, floats and bools keep their own type: readers
/// ask for what they need and get an error for anything else.
struct GgufValue {
    GgufType type = GgufType::u8;
    std::variant<std::uint64_t, std::int64_t, double, bool, std::string, GgufArray> value;

    /// For people: numbers as they are, strings quoted and cut, arrays by their first elements.
    std::string describe() const;
    /// "u32", "array of string".
    std::string type_name() const;
};

/// The key-value part of a GGUF file, with typed access.
/// Errors of all readers: not_found (absent), invalid_argument (another type), too_large (out of
/// the given range); the message names the key. The `_or` forms answer `fallback` for an absent
/// key.
class GgufMetadata {
public:
    struct Entry {
        std::string key;
        GgufValue value;
    };

    /// In file order.
    std::span<const Entry> entries() const noexcept { return entries_; }

    const GgufValue* find(std::string_view key) const noexcept;

    /// Any integer type, in [min, max].
    Result<std::int64_t> integer(std::string_view key, std::int64_t min, std::int64_t max) const;
    Result<std::int64_t> integer_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                                    std::int64_t max) const;
    /// f32 or f64, finite.
    Result<double> real(std::string_view key) const;
    Result<double> real_or(std::string_view key, double fallback) const;
    Result<bool> boolean_or(std::string_view key, bool fallback) const;
    /// A string, valid UTF-8.
    Result<std::string_view> text(std::string_view key) const;
    Result<std::string_view> text_or(std::string_view key, std::string_view fallback) const;
    /// An array of that element type.
    Result<const GgufArray*> array(std::string_view key, GgufType element) const;

private:
    friend class GgufParser;

    std::vector<Entry> entries_;
    std::unordered_map<std::string, std::size_t, StringHash, std::equal_to<>> index_;
};

/// A GGUF model (versions 2 and 3, one file or a split set), checked completely when opened: every
/// number in the header is one that can be relied on, every tensor lies inside its file and no two
/// overlap. The header is copied; only tensor data is read through the mapping.
/// Errors: corrupt (breaks the format), unsupported (version 1, big endian, unknown tensor types),
///         too_large (a cap), invalid_argument (opened in the middle of a split set), not_found,
///         io_error. Messages quote names from the file, escaped and cut.
/// Lifetime: owns the mappings that TensorInfo::data points into; movable. Thread: const from any.
/// Source: ggml-org/ggml: docs/gguf.md.
class GgufFile {
public:
    /// Opens a file, or all parts of a split set by its first part.
    static Result<GgufFile> open(const std::filesystem::path& path);
    /// Reads an image in memory that outlives the object. No split sets.
    static Result<GgufFile> from_memory(ByteSpan bytes, std::string name);

    std::uint32_t version() const noexcept { return version_; }

    /// Of the first part.
    const GgufMetadata& metadata() const noexcept { return metadata_; }

    /// Of all parts, in file order; TensorInfo::file is the part.
    std::span<const TensorInfo> tensors() const noexcept { return tensors_; }

    const TensorInfo* find_tensor(std::string_view name) const noexcept;

    std::span<const MappedFile> files() const noexcept { return files_; }

private:
    GgufFile() = default;
    Result<> add_part(MappedFile file);
    Result<> check_split_of_first(const std::filesystem::path& path) const;
    Result<> open_other_parts(const std::filesystem::path& path);

    std::uint32_t version_ = 0;
    GgufMetadata metadata_;
    std::vector<TensorInfo> tensors_;
    std::unordered_map<std::string, std::size_t, StringHash, std::equal_to<>> tensor_index_;
    std::vector<MappedFile> files_;
};

} // namespace bloom::engine
