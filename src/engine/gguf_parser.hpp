#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include <bloom/engine/gguf.hpp>

namespace bloom::engine {

/// Everything in the header of one GGUF file, checked against that file's size.
struct GgufPart {
    std::uint32_t version = 0;
    GgufMetadata metadata;
    std::vector<TensorInfo> tensors; ///< in the order of the header
};

/// Reads one header front to back through positional reads, rule by rule in the order of the
/// specification. A parser is used once.
class GgufParser {
public:
    /// `file` must outlive the tensors: their data pointers are set into its mapping.
    GgufParser(const MappedFile& file, std::uint32_t part) : file_(file), part_(part) {}

    Result<GgufPart> parse();

private:
    std::uint64_t remaining() const noexcept { return file_.size() - pos_; }

    Result<> read(void* out, std::size_t n, std::string_view what);
    Result<std::string> read_string(std::uint64_t max_bytes, std::string_view what);

    template <class T>
    Result<T> read_number(std::string_view what);

    Result<> read_head();
    Result<> read_metadata();
    Result<GgufValue> read_value(std::string_view key);
    Result<GgufValue> read_scalar(GgufType type, std::string_view key);
    Result<GgufArray> read_array(std::string_view key);
    Result<> read_string_array(GgufArray& array, std::string_view key);
    Result<> keep(std::uint64_t bytes, std::string_view key);
    Result<> read_alignment();
    Result<> read_tensors();
    Result<TensorInfo> read_tensor(std::uint64_t number);
    Result<> read_dims(TensorInfo& tensor);
    Result<> check_layout();

    const MappedFile& file_;
    std::uint32_t part_;
    std::uint64_t pos_ = 0;
    std::vector<std::uint8_t> window_; ///< bytes of the file from window_begin_
    std::uint64_t window_begin_ = 0;

    std::uint64_t n_tensors_ = 0;
    std::uint64_t n_keys_ = 0;
    std::uint64_t kept_bytes_ = 0;
    std::uint64_t alignment_ = kGgufDefaultAlignment;
    GgufPart out_;
};

} // namespace bloom::engine
