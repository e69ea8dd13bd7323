#include <algorithm>
#include <map>
#include <optional>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/engine/safetensors.hpp>
#include <bloom/json/reader.hpp>

namespace bloom::engine {
namespace {

constexpr std::uint64_t kPrefixBytes = 8;
constexpr std::uint64_t kMaxDim = std::uint64_t{1} << 53;

template <class... Args>
Error corrupt(fmt::format_string<Args...> format, Args&&... args) {
    return {Code::corrupt, fmt::format(format, std::forward<Args>(args)...)};
}

std::optional<StorageType> parse_dtype(std::string_view name) noexcept {
    struct Entry {
        std::string_view name;
        StorageType type;
    };

    static constexpr Entry kTypes[] = {
        {"F32", StorageType::f32},         {"F16", StorageType::f16},
        {"BF16", StorageType::bf16},       {"U32", StorageType::u32},
        {"I32", StorageType::i32},         {"I64", StorageType::i64},
        {"U64", StorageType::u64},         {"F64", StorageType::f64},
        {"C64", StorageType::c64},         {"U16", StorageType::u16},
        {"I16", StorageType::i16},         {"U8", StorageType::u8},
        {"I8", StorageType::i8},           {"BOOL", StorageType::boolean},
        {"F8_E4M3", StorageType::f8_e4m3}, {"F8_E5M2", StorageType::f8_e5m2},
        {"F8_E8M0", StorageType::f8_e8m0},
    };
    for (const Entry& entry : kTypes) {
        if (entry.name == name) return entry.type;
    }
    return std::nullopt;
}

/// A JSON value of the header that is not what it should be.
Error bad_member(std::string_view tensor, std::string_view member, const Error& cause) {
    return corrupt("tensor {}: {} is wrong: {}", bloom::quoted(tensor), member, cause.message());
}

/// Rule 4, the shape. Also answers the number of elements.
Result<std::uint64_t> read_shape(TensorInfo& tensor, const json::Value& value) {
    const auto shape = value.as_array();
    if (!shape) return bad_member(tensor.name, "shape", shape.error());
    std::uint64_t elements = 1;
    for (const json::Value dim_value : *shape) {
        if (tensor.n_dims == kMaxTensorDims) {
            return corrupt("tensor {} has more than {} dimensions", bloom::quoted(tensor.name),
                           kMaxTensorDims);
        }
        const auto dim = dim_value.as_uint64();
        if (!dim) return bad_member(tensor.name, "shape", dim.error());
        if (*dim >= kMaxDim)
            return corrupt("tensor {} has a dimension of {}", bloom::quoted(tensor.name), *dim);
        const auto product = checked_mul(elements, *dim);
        if (!product)
            return corrupt("tensor {} has more than 2^64 elements", bloom::quoted(tensor.name));
        elements = *product;
        tensor.dims[static_cast<std::size_t>(tensor.n_dims++)] = static_cast<std::int64_t>(*dim);
    }
    return elements;
}

/// Rule 5. Offsets stay relative to the data section here.
Result<> read_offsets(TensorInfo& tensor, const json::Value& value, std::uint64_t data_bytes) {
    const auto offsets = value.as_array();
    if (!offsets) return bad_member(tensor.name, "data_offsets", offsets.error());
    if (offsets->size() != 2) {
        return corrupt("tensor {}: data_offsets has {} entries, not 2", bloom::quoted(tensor.name),
                       offsets->size());
    }
    std::uint64_t ends[2] = {};
    std::size_t i = 0;
    for (const json::Value offset_value : *offsets) {
        const auto offset = offset_value.as_uint64();
        if (!offset) return bad_member(tensor.name, "data_offsets", offset.error());
        ends[i++] = *offset;
    }
    if (ends[0] > ends[1] || ends[1] > data_bytes) {
        return corrupt("tensor {}: data_offsets [{}, {}] do not lie in {} bytes of data",
                       bloom::quoted(tensor.name), ends[0], ends[1], data_bytes);
    }
    if (ends[1] - ends[0] != tensor.bytes) {
        return corrupt("tensor {} takes {} bytes, its data_offsets span {}",
                       bloom::quoted(tensor.name), tensor.bytes, ends[1] - ends[0]);
    }
    tensor.offset = ends[0];
    return {};
}

/// Rules 3 to 5 for one member of the header.
Result<TensorInfo> read_tensor(const json::Member& member, std::uint64_t data_bytes) {
    TensorInfo tensor;
    tensor.name = member.key;
    if (tensor.name.empty()) return corrupt("a tensor has an empty name");
    if (tensor.name.size() > kSafetensorsMaxNameBytes) {
        return corrupt("the tensor name {} has more than {} bytes", bloom::quoted(tensor.name),
                       kSafetensorsMaxNameBytes);
    }
    if (tensor.name.find('\0') != std::string::npos) {
        return corrupt("the tensor name {} contains a NUL", bloom::quoted(tensor.name));
    }
    const auto object = member.value.as_object();
    if (!object) return bad_member(tensor.name, "its entry", object.error());
    const auto dtype = object->find("dtype");
    const auto shape = object->find("shape");
    const auto offsets = object->find("data_offsets");
    if (!dtype || !shape || !offsets) {
        return corrupt("tensor {} needs dtype, shape and data_offsets", bloom::quoted(tensor.name));
    }
    const auto dtype_name = dtype->as_string();
    if (!dtype_name) return bad_member(tensor.name, "dtype", dtype_name.error());
    const auto type = parse_dtype(*dtype_name);
    if (!type) {
        return Error{Code::unsupported,
                     fmt::format("tensor {} has the unknown dtype {}", bloom::quoted(tensor.name),
                                 bloom::quoted(*dtype_name))};
    }
    tensor.type = *type;
    BLOOM_TRY(const std::uint64_t elements, read_shape(tensor, *shape));
    const auto bytes = checked_mul(elements, std::uint64_t{storage_block(tensor.type).bytes});
    if (!bytes) return corrupt("tensor {} is larger than 2^64 bytes", bloom::quoted(tensor.name));
    tensor.bytes = *bytes;
    BLOOM_OK(read_offsets(tensor, *offsets, data_bytes));
    return tensor;
}

Result<std::vector<std::pair<std::string, std::string>>> read_strings(const json::Value& value) {
    const auto object = value.as_object();
    if (!object) return corrupt("__metadata__ is wrong: {}", object.error().message());
    std::vector<std::pair<std::string, std::string>> out;
    for (const json::Member member : *object) {
        const auto text = member.value.as_string();
        if (!text)
            return corrupt("__metadata__ {} is wrong: {}", bloom::quoted(member.key),
                           text.error().message());
        out.emplace_back(member.key, *text);
    }
    return out;
}

/// Rule 6: the tensors cover the data section from end to end.
Result<> check_layout(std::vector<TensorInfo>& tensors, std::uint64_t data_bytes) {
    std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
        return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
    });
    std::uint64_t end = 0;
    for (const TensorInfo& tensor : tensors) {
        if (tensor.offset < end) {
            return corrupt("tensor {} at {} overlaps the one before it, which ends at {}",
                           bloom::quoted(tensor.name), tensor.offset, end);
        }
        if (tensor.offset > end) {
            return corrupt("a hole of {} bytes lies before tensor {}", tensor.offset - end,
                           bloom::quoted(tensor.name));
        }
        end = tensor.offset + tensor.bytes; // inside the file, rule 5
    }
    if (end != data_bytes) return corrupt("{} bytes follow the last tensor", data_bytes - end);
    return {};
}

/// Rules 1 and 2: the header's text with the padding that the parser wants behind it.
Result<std::string> read_header_text(const MappedFile& file, std::uint64_t& header_bytes) {
    if (file.size() < kPrefixBytes) {
        return corrupt("not a safetensors file: it has {} bytes", file.size());
    }
    std::uint8_t prefix[kPrefixBytes];
    BLOOM_OK(file.read_at(0, prefix));
    header_bytes = load_le<std::uint64_t>(prefix);
    if (header_bytes == 0) return corrupt("the header is empty");
    if (header_bytes > kSafetensorsMaxHeaderBytes) {
        return Error{Code::too_large, fmt::format("the header has {} bytes, the limit is {}",
                                                  header_bytes, kSafetensorsMaxHeaderBytes)};
    }
    if (header_bytes > file.size() - kPrefixBytes) {
        return corrupt("the header has {} bytes, the file ends after {}", header_bytes,
                       file.size() - kPrefixBytes);
    }
    std::string text(static_cast<std::size_t>(header_bytes) + json::kPadding, '\0');
    BLOOM_OK(file.read_at(kPrefixBytes, {reinterpret_cast<std::uint8_t*>(text.data()),
                                         static_cast<std::size_t>(header_bytes)}));
    if (text[0] != '{') return corrupt("the header does not start with \"{{\"");
    const std::size_t last = text.find_last_not_of(' ', static_cast<std::size_t>(header_bytes) - 1);
    if (text[last] != '}') return corrupt("the header does not end with \"}}\" and spaces");
    return text;
}

bool is_plain_shard_name(std::string_view name) noexcept {
    if (!name.ends_with(".safetensors")) return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    });
}

/// The index file: which shard holds which tensor.
struct ShardIndex {
    std::map<std::string, std::string, std::less<>> shard_of; ///< tensor -> file
    std::optional<std::uint64_t> total_bytes;
};

Result<ShardIndex> read_index(std::string_view text) {
    json::Parser parser(kSafetensorsMaxDepth);
    const auto root = parser.parse(text, {.reject_duplicates = true});
    if (!root) return corrupt("the shard index is wrong: {}", root.error().message());
    const auto object = root->as_object();
    if (!object) return corrupt("the shard index is wrong: {}", object.error().message());
    const auto map_value = object->find("weight_map");
    if (!map_value) return corrupt("the shard index has no weight_map");
    const auto map = map_value->as_object();
    if (!map) return corrupt("weight_map is wrong: {}", map.error().message());
    ShardIndex out;
    for (const json::Member member : *map) {
        const auto file = member.value.as_string();
        if (!file)
            return corrupt("weight_map {} is wrong: {}", bloom::quoted(member.key),
                           file.error().message());
        if (!is_plain_shard_name(*file)) {
            return corrupt(
                "weight_map {} names the file {}, which is not a plain *.safetensors name",
                bloom::quoted(member.key), bloom::quoted(*file));
        }
        out.shard_of.emplace(member.key, *file);
    }
    if (out.shard_of.size() > kSafetensorsMaxTensors) {
        return Error{Code::too_large,
                     fmt::format("the shard index names {} tensors, the limit is {}",
                                 out.shard_of.size(), kSafetensorsMaxTensors)};
    }
    if (const auto metadata = object->find("metadata"); metadata && metadata->is_object()) {
        const auto total = metadata->as_object()->find("total_size");
        const auto bytes =
            total ? total->as_uint64() : Result<std::uint64_t>(Error{Code::not_found});
        if (bytes) out.total_bytes = *bytes; // informative: odd values are not worth an error
    }
    return out;
}

} // namespace

Result<SafetensorsHeader> read_safetensors_header(const MappedFile& file, std::uint32_t shard) {
    std::uint64_t header_bytes = 0;
    BLOOM_TRY(const std::string text, read_header_text(file, header_bytes));
    json::Parser parser(kSafetensorsMaxDepth);
    const auto root = parser.parse_padded(
        std::string_view(text).substr(0, static_cast<std::size_t>(header_bytes)),
        {.reject_duplicates = true});
    if (!root) return corrupt("the header is wrong: {}", root.error().message());
    BLOOM_TRY(const json::Object object, root->as_object());
    if (object.size() > kSafetensorsMaxTensors + 1) {
        return Error{Code::too_large, fmt::format("the header names {} tensors, the limit is {}",
                                                  object.size(), kSafetensorsMaxTensors)};
    }
    const std::uint64_t data_begin = kPrefixBytes + header_bytes;
    const std::uint64_t data_bytes = file.size() - data_begin;
    SafetensorsHeader out;
    for (const json::Member member : object) {
        if (member.key == "__metadata__") {
            BLOOM_TRY(out.metadata, read_strings(member.value));
            continue;
        }
        BLOOM_TRY(TensorInfo tensor, read_tensor(member, data_bytes));
        out.tensors.push_back(std::move(tensor));
    }
    BLOOM_OK(check_layout(out.tensors, data_bytes));
    for (TensorInfo& tensor : out.tensors) {
        tensor.file = shard;
        tensor.offset += data_begin;
        tensor.data = file.bytes().data() + tensor.offset;
    }
    return out;
}

Result<> SafetensorsModel::add_file(MappedFile file) {
    const auto shard = static_cast<std::uint32_t>(files_.size());
    files_.push_back(std::move(file));
    const MappedFile& added = files_.back();
    auto header = read_safetensors_header(added, shard);
    if (!header) return std::move(header).error().with_context(added.name());
    if (shard == 0) metadata_ = std::move(header->metadata);
    for (TensorInfo& tensor : header->tensors) {
        if (!by_name_.emplace(tensor.name, tensors_.size()).second) { // rule 7
            return corrupt("{}: tensor {} is in an earlier shard, too", added.name(),
                           bloom::quoted(tensor.name));
        }
        tensors_.push_back(std::move(tensor));
    }
    return {};
}

Result<> SafetensorsModel::open_shards(const std::filesystem::path& directory,
                                       const std::filesystem::path& store,
                                       std::string_view index_json) {
    BLOOM_TRY(const ShardIndex index, read_index(index_json));
    std::map<std::string, std::uint32_t, std::less<>>
        shards; // ordered: the same set opens in the same order
    for (const auto& [tensor, file] : index.shard_of)
        shards.emplace(file, 0);
    if (shards.size() > kSafetensorsMaxShards) {
        return Error{Code::too_large, fmt::format("the shard index names {} files, the limit is {}",
                                                  shards.size(), kSafetensorsMaxShards)};
    }
    for (auto& [name, shard] : shards) {
        BLOOM_TRY(MappedFile file, MappedFile::open_inside(directory, name, store));
        shard = static_cast<std::uint32_t>(files_.size());
        BLOOM_OK(add_file(std::move(file)));
    }
    std::uint64_t total = 0;
    for (const auto& [name, file] : index.shard_of) {
        const TensorInfo* tensor = find_tensor(name);
        if (tensor == nullptr || tensor->file != shards.find(file)->second) {
            return Error{Code::not_found,
                         fmt::format("{}: tensor {} is not in {}, where the index puts it",
                                     directory.string(), bloom::quoted(name), bloom::quoted(file))};
        }
        total += tensor->bytes;
    }
    if (index.total_bytes && *index.total_bytes != total) {
        warnings_.push_back(fmt::format("total_size of the index is {}, the tensors have {} bytes",
                                        *index.total_bytes, total));
    }
    const std::size_t outside = std::erase_if(
        tensors_, [&](const TensorInfo& tensor) { return !index.shard_of.contains(tensor.name); });
    if (outside > 0)
        warnings_.push_back(
            fmt::format("{} tensors are not in the index and are ignored", outside));
    by_name_.clear();
    for (std::size_t i = 0; i < tensors_.size(); ++i)
        by_name_.emplace(tensors_[i].name, i);
    return {};
}

Result<SafetensorsModel> SafetensorsModel::open(const std::filesystem::path& directory) {
    SafetensorsModel out;
    BLOOM_TRY(const std::filesystem::path store, store_root(directory));
    const auto index = read_small_file(directory, "model.safetensors.index.json", store,
                                       kSafetensorsMaxIndexBytes);
    if (index) {
        BLOOM_OK(out.open_shards(directory, store, *index));
        return out;
    }
    if (index.error().code() != Code::not_found) return Error(index.error());
    BLOOM_TRY(MappedFile file, MappedFile::open_inside(directory, "model.safetensors", store));
    BLOOM_OK(out.add_file(std::move(file)));
    return out;
}

Result<SafetensorsModel> SafetensorsModel::from_memory(ByteSpan bytes, std::string name) {
    SafetensorsModel out;
    BLOOM_OK(out.add_file(MappedFile::from_memory(bytes, std::move(name))));
    return out;
}

const TensorInfo* SafetensorsModel::find_tensor(std::string_view name) const noexcept {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

} // namespace bloom::engine
