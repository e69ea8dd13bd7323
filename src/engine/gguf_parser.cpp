#include "engine/gguf_parser.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include <fmt/format.h>

#include <bloom/base/text.hpp>

namespace bloom::engine {
namespace {

/// Size of one positional read of the header.
constexpr std::size_t kWindowBytes = 256 * 1024;
/// The smallest key-value record: length, a one-byte value after an empty key and its type.
constexpr std::uint64_t kMinKeyBytes = 8 + 4 + 1;
/// The smallest tensor record: length, dims count, type, offset (rank 0 is refused later).
constexpr std::uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;
/// Bytes a metadata entry takes besides its text, for the cap on memory.
constexpr std::uint64_t kEntryOverhead = 256;

template <class... Args>
Error corrupt(fmt::format_string<Args...> format, Args&&... args) {
    return {Code::corrupt, fmt::format(format, std::forward<Args>(args)...)};
}

/// Bytes of a fixed-size value; 0 for strings, arrays and unknown types.
std::uint64_t fixed_bytes(GgufType type) noexcept {
    switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
        return 1;
    case GgufType::u16:
    case GgufType::i16:
        return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
        return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
        return 8;
    case GgufType::string:
    case GgufType::array:
        return 0;
    }
    return 0;
}

bool is_known(std::uint32_t type) noexcept {
    return type <= static_cast<std::uint32_t>(GgufType::f64);
}

Result<StorageType> storage_type(std::uint32_t id, std::string_view tensor) {
    switch (id) {
    case 0:
        return StorageType::f32;
    case 1:
        return StorageType::f16;
    case 8:
        return StorageType::q8_0;
    case 24:
        return StorageType::i8;
    case 25:
        return StorageType::i16;
    case 26:
        return StorageType::i32;
    case 27:
        return StorageType::i64;
    case 28:
        return StorageType::f64;
    case 30:
        return StorageType::bf16;
    default:
        return Error{
            Code::unsupported,
            fmt::format(
                "tensor {} has ggml type {}; F32, F16, BF16 and Q8_0 can be read: use a Q8_0 "
                "or F16 file of this model",
                bloom::quoted(tensor), id)};
    }
}

} // namespace

Result<GgufPart> GgufParser::parse() {
    BLOOM_OK(read_head());
    BLOOM_OK(read_metadata());
    BLOOM_OK(read_alignment());
    BLOOM_OK(read_tensors());
    BLOOM_OK(check_layout());
    return std::move(out_);
}

Result<> GgufParser::read(void* out, std::size_t n, std::string_view what) {
    if (n > remaining()) {
        return corrupt("the file ends inside {} ({} bytes wanted at {}, {} left)", what, n, pos_,
                       remaining());
    }
    auto* to = static_cast<std::uint8_t*>(out);
    while (n > 0) {
        const std::uint64_t window_end = window_begin_ + window_.size();
        if (pos_ < window_begin_ || pos_ >= window_end) {
            window_.resize(
                static_cast<std::size_t>(std::min<std::uint64_t>(kWindowBytes, remaining())));
            window_begin_ = pos_;
            BLOOM_OK(file_.read_at(pos_, window_));
            continue;
        }
        const std::size_t take =
            static_cast<std::size_t>(std::min<std::uint64_t>(n, window_end - pos_));
        std::memcpy(to, window_.data() + (pos_ - window_begin_), take);
        to += take;
        pos_ += take;
        n -= take;
    }
    return {};
}

template <class T>
Result<T> GgufParser::read_number(std::string_view what) {
    T value;
    BLOOM_OK(read(&value, sizeof value, what));
    return value;
}

Result<std::string> GgufParser::read_string(std::uint64_t max_bytes, std::string_view what) {
    BLOOM_TRY(const auto length, read_number<std::uint64_t>(what));
    if (length > remaining()) {
        return corrupt("{} has a length of {} bytes, {} are left in the file", what, length,
                       remaining());
    }
    if (length > max_bytes) {
        return Error{Code::too_large,
                     fmt::format("{} has {} bytes, the limit is {}", what, length, max_bytes)};
    }
    std::string text(static_cast<std::size_t>(length), '\0');
    BLOOM_OK(read(text.data(), text.size(), what));
    return text;
}

// Rules 1 and 2.
Result<> GgufParser::read_head() {
    char magic[4];
    BLOOM_OK(read(magic, sizeof magic, "the magic number"));
    if (std::memcmp(magic, "GGUF", 4) != 0)
        return corrupt("not a GGUF file: it does not start with \"GGUF\"");
    BLOOM_TRY(out_.version, read_number<std::uint32_t>("the version"));
    if ((out_.version & 0xffff) == 0) {
        return Error{Code::unsupported, "big-endian GGUF file; convert it to little endian"};
    }
    if (out_.version != 2 && out_.version != 3) {
        return Error{Code::unsupported,
                     fmt::format("GGUF version {}; 2 and 3 can be read", out_.version)};
    }
    BLOOM_TRY(n_tensors_, read_number<std::uint64_t>("the tensor count"));
    BLOOM_TRY(n_keys_, read_number<std::uint64_t>("the key count"));
    if (n_keys_ > remaining() / kMinKeyBytes) {
        return corrupt("{} metadata keys do not fit into {} bytes", n_keys_, remaining());
    }
    if (n_tensors_ > remaining() / kMinTensorBytes) {
        return corrupt("{} tensors do not fit into {} bytes", n_tensors_, remaining());
    }
    if (n_keys_ > kGgufMaxKeys) {
        return Error{Code::too_large,
                     fmt::format("{} metadata keys, the limit is {}", n_keys_, kGgufMaxKeys)};
    }
    if (n_tensors_ > kGgufMaxTensors) {
        return Error{Code::too_large,
                     fmt::format("{} tensors, the limit is {}", n_tensors_, kGgufMaxTensors)};
    }
    return {};
}

// Rules 3, 4 and 5 for keys.
Result<> GgufParser::read_metadata() {
    for (std::uint64_t i = 0; i < n_keys_; ++i) {
        BLOOM_TRY(std::string key, read_string(kGgufMaxKeyBytes, "a metadata key"));
        if (!is_utf8(key)) return corrupt("metadata key {} is not UTF-8", bloom::quoted(key));
        if (!out_.metadata.index_.emplace(key, out_.metadata.entries_.size()).second) {
            return corrupt("metadata key {} stands twice", bloom::quoted(key));
        }
        BLOOM_OK(keep(kEntryOverhead + 2 * key.size(), key));
        BLOOM_TRY(GgufValue value, read_value(key));
        out_.metadata.entries_.push_back({std::move(key), std::move(value)});
    }
    return {};
}

Result<> GgufParser::keep(std::uint64_t bytes, std::string_view key) {
    kept_bytes_ += bytes; // far from wrapping: every piece was checked against the file's size
    if (kept_bytes_ <= kGgufMaxMetadataBytes) return {};
    return Error{Code::too_large,
                 fmt::format("metadata takes more than {} bytes of memory at key {}",
                             kGgufMaxMetadataBytes, bloom::quoted(key))};
}

Result<GgufValue> GgufParser::read_value(std::string_view key) {
    const std::string what = "the value of " + bloom::quoted(key);
    BLOOM_TRY(const auto id, read_number<std::uint32_t>(what));
    if (!is_known(id))
        return corrupt("metadata key {} has the unknown type {}", bloom::quoted(key), id);
    const auto type = static_cast<GgufType>(id);
    if (type == GgufType::array) {
        BLOOM_TRY(GgufArray array, read_array(key));
        return GgufValue{type, std::move(array)};
    }
    if (type == GgufType::string) {
        BLOOM_TRY(std::string text, read_string(kGgufMaxStringBytes, what));
        BLOOM_OK(keep(text.size(), key));
        return GgufValue{type, std::move(text)};
    }
    return read_scalar(type, key);
}

Result<GgufValue> GgufParser::read_scalar(GgufType type, std::string_view key) {
    std::uint8_t raw[8] = {};
    BLOOM_OK(read(raw, static_cast<std::size_t>(fixed_bytes(type)),
                  "the value of " + bloom::quoted(key)));
    switch (type) {
    case GgufType::u8:
        return GgufValue{type, std::uint64_t{raw[0]}};
    case GgufType::u16:
        return GgufValue{type, std::uint64_t{load_le<std::uint16_t>(raw)}};
    case GgufType::u32:
        return GgufValue{type, std::uint64_t{load_le<std::uint32_t>(raw)}};
    case GgufType::u64:
        return GgufValue{type, load_le<std::uint64_t>(raw)};
    case GgufType::i8:
        return GgufValue{type, std::int64_t{load_le<std::int8_t>(raw)}};
    case GgufType::i16:
        return GgufValue{type, std::int64_t{load_le<std::int16_t>(raw)}};
    case GgufType::i32:
        return GgufValue{type, std::int64_t{load_le<std::int32_t>(raw)}};
    case GgufType::i64:
        return GgufValue{type, load_le<std::int64_t>(raw)};
    case GgufType::f32:
        return GgufValue{type, double{load_le<float>(raw)}};
    case GgufType::f64:
        return GgufValue{type, load_le<double>(raw)};
    case GgufType::boolean:
        if (raw[0] > 1)
            return corrupt("metadata key {} has the bool byte {}", bloom::quoted(key), raw[0]);
        return GgufValue{type, raw[0] == 1};
    case GgufType::string:
    case GgufType::array:
        break;
    }
    return Error{Code::internal, "not a scalar"};
}

Result<GgufArray> GgufParser::read_array(std::string_view key) {
    const std::string what = "the array " + bloom::quoted(key);
    BLOOM_TRY(const auto id, read_number<std::uint32_t>(what));
    if (!is_known(id)) return corrupt("{} has elements of the unknown type {}", what, id);
    GgufArray array;
    array.element_ = static_cast<GgufType>(id);
    if (array.element_ == GgufType::array)
        return corrupt("{} contains arrays, which is not allowed", what);
    BLOOM_TRY(array.size_, read_number<std::uint64_t>(what));
    const bool strings = array.element_ == GgufType::string;
    const std::uint64_t min_element = strings ? 8 : fixed_bytes(array.element_);
    if (array.size_ > remaining() / min_element) {
        return corrupt("{} has {} elements, which do not fit into {} bytes", what, array.size_,
                       remaining());
    }
    if (array.size_ > kGgufMaxArrayElements) {
        return Error{Code::too_large, fmt::format("{} has {} elements, the limit is {}", what,
                                                  array.size_, kGgufMaxArrayElements)};
    }
    if (strings) {
        BLOOM_OK(read_string_array(array, key));
        return array;
    }
    BLOOM_OK(keep(array.size_ * min_element, key));
    array.bytes_.resize(static_cast<std::size_t>(array.size_ * min_element));
    BLOOM_OK(read(array.bytes_.data(), array.bytes_.size(), what));
    if (array.element_ == GgufType::boolean) {
        for (const char c : array.bytes_) {
            if (static_cast<unsigned char>(c) > 1)
                return corrupt("{} contains a bool byte above 1", what);
        }
    }
    return array;
}

Result<> GgufParser::read_string_array(GgufArray& array, std::string_view key) {
    const std::string what = "a string of the array " + bloom::quoted(key);
    for (std::uint64_t i = 0; i < array.size_; ++i) {
        BLOOM_TRY(const auto length, read_number<std::uint64_t>(what));
        if (length > remaining()) {
            return corrupt("{} (element {}) has a length of {} bytes, {} are left in the file",
                           what, i, length, remaining());
        }
        if (length > kGgufMaxStringBytes) {
            return Error{Code::too_large,
                         fmt::format("{} (element {}) has {} bytes, the limit is {}", what, i,
                                     length, kGgufMaxStringBytes)};
        }
        BLOOM_OK(keep(length + sizeof(std::uint32_t), key));
        const std::size_t begin = array.bytes_.size();
        array.bytes_.resize(begin + static_cast<std::size_t>(length));
        BLOOM_OK(read(array.bytes_.data() + begin, static_cast<std::size_t>(length), what));
        array.ends_.push_back(
            static_cast<std::uint32_t>(array.bytes_.size())); // below the cap of `keep`
    }
    return {};
}

// Rule 6.
Result<> GgufParser::read_alignment() {
    const GgufValue* value = out_.metadata.find("general.alignment");
    if (value == nullptr) return {};
    if (value->type != GgufType::u32) {
        return corrupt("general.alignment has type {}, not u32", value->type_name());
    }
    alignment_ = std::get<std::uint64_t>(value->value);
    const bool power_of_two = alignment_ != 0 && (alignment_ & (alignment_ - 1)) == 0;
    if (!power_of_two || alignment_ < 8 || alignment_ > kGgufMaxAlignment) {
        return corrupt("general.alignment is {}; it must be a power of two from 8 to {}",
                       alignment_, kGgufMaxAlignment);
    }
    return {};
}

// Rules 3, 5 and 7 for tensors.
Result<> GgufParser::read_tensors() {
    std::unordered_set<std::string, StringHash, std::equal_to<>> names;
    for (std::uint64_t i = 0; i < n_tensors_; ++i) {
        BLOOM_TRY(TensorInfo tensor, read_tensor(i));
        if (!names.insert(tensor.name).second)
            return corrupt("tensor {} stands twice", bloom::quoted(tensor.name));
        out_.tensors.push_back(std::move(tensor));
    }
    return {};
}

Result<TensorInfo> GgufParser::read_tensor(std::uint64_t number) {
    TensorInfo tensor;
    tensor.file = part_;
    BLOOM_TRY(tensor.name,
              read_string(kGgufMaxTensorNameBytes, fmt::format("the name of tensor {}", number)));
    if (tensor.name.empty()) return corrupt("tensor {} has an empty name", number);
    if (!is_utf8(tensor.name))
        return corrupt("the name of tensor {}, {}, is not UTF-8", number,
                       bloom::quoted(tensor.name));
    BLOOM_OK(read_dims(tensor));
    BLOOM_TRY(const auto type,
              read_number<std::uint32_t>("the type of tensor " + bloom::quoted(tensor.name)));
    BLOOM_TRY(tensor.type, storage_type(type, tensor.name));
    BLOOM_TRY(tensor.offset,
              read_number<std::uint64_t>("the offset of tensor " + bloom::quoted(tensor.name)));

    std::uint64_t elements = 1;
    for (const std::int64_t dim : tensor.shape()) {
        const auto product = checked_mul(elements, static_cast<std::uint64_t>(dim));
        if (!product ||
            *product > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
            return corrupt("tensor {} has more than 2^63 elements: {}", bloom::quoted(tensor.name),
                           shape_text(tensor.shape()));
        }
        elements = *product;
    }
    const StorageBlock block = storage_block(tensor.type);
    const auto row = static_cast<std::uint64_t>(tensor.shape().back());
    if (row % block.elements != 0) {
        return corrupt("tensor {} has rows of {} elements, not a multiple of the {} of a {} block",
                       bloom::quoted(tensor.name), row, block.elements, to_string(tensor.type));
    }
    const auto bytes = checked_mul(elements / block.elements, std::uint64_t{block.bytes});
    if (!bytes) return corrupt("tensor {} is larger than 2^64 bytes", bloom::quoted(tensor.name));
    tensor.bytes = *bytes;
    return tensor;
}

Result<> GgufParser::read_dims(TensorInfo& tensor) {
    constexpr std::uint32_t kMaxDims = 4;
    const std::string what = "the shape of tensor " + bloom::quoted(tensor.name);
    BLOOM_TRY(const auto n_dims, read_number<std::uint32_t>(what));
    if (n_dims < 1 || n_dims > kMaxDims) {
        return corrupt("tensor {} has {} dimensions; 1 to {} are allowed",
                       bloom::quoted(tensor.name), n_dims, kMaxDims);
    }
    tensor.n_dims = static_cast<int>(n_dims);
    for (std::uint32_t i = 0; i < n_dims; ++i) {
        BLOOM_TRY(const auto ne, read_number<std::uint64_t>(what));
        if (ne == 0)
            return corrupt("dimension {} of tensor {} is 0", i, bloom::quoted(tensor.name));
        if (ne > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
            return corrupt("dimension {} of tensor {} is {}", i, bloom::quoted(tensor.name), ne);
        }
        tensor.dims[n_dims - 1 - i] =
            static_cast<std::int64_t>(ne); // the file starts with the contiguous axis
    }
    return {};
}

// Rule 8, in the strict form of the reference: tensors follow each other with nothing but padding.
Result<> GgufParser::check_layout() {
    if (out_.tensors.empty()) return {};
    const std::uint64_t data_begin = (pos_ + alignment_ - 1) / alignment_ * alignment_;
    if (data_begin > file_.size())
        return corrupt("the file ends before its tensor data at {}", data_begin);
    const std::uint64_t data_bytes = file_.size() - data_begin;

    std::vector<std::size_t> order(out_.tensors.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return out_.tensors[a].offset < out_.tensors[b].offset;
    });
    std::uint64_t end = 0; // of the previous tensor, padding included
    for (const std::size_t i : order) {
        TensorInfo& tensor = out_.tensors[i];
        if (tensor.offset % alignment_ != 0) {
            return corrupt("tensor {} lies at offset {}, not a multiple of {}",
                           bloom::quoted(tensor.name), tensor.offset, alignment_);
        }
        const auto tensor_end = checked_add(tensor.offset, tensor.bytes);
        if (!tensor_end || *tensor_end > data_bytes) {
            return corrupt(
                "tensor {} ({} bytes at offset {}) passes the end of the file ({} bytes of data)",
                bloom::quoted(tensor.name), tensor.bytes, tensor.offset, data_bytes);
        }
        if (tensor.offset < end) {
            return corrupt("tensor {} at offset {} overlaps the one before it, which ends at {}",
                           bloom::quoted(tensor.name), tensor.offset, end);
        }
        if (tensor.offset > end) {
            return corrupt("a hole of {} bytes lies before tensor {}", tensor.offset - end,
                           bloom::quoted(tensor.name));
        }
        end = (*tensor_end + alignment_ - 1) / alignment_ *
              alignment_; // no wrap: at most the file's size + 64 KiB
        tensor.offset += data_begin;
        tensor.data = file_.bytes().data() + tensor.offset;
    }
    return {};
}

} // namespace bloom::engine
