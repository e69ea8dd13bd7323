#include <cmath>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/engine/gguf.hpp>

#include "engine/gguf_parser.hpp"

namespace bloom::engine {
namespace {

Error wrong_type(std::string_view key, const GgufValue& value, std::string_view wanted) {
    return {Code::invalid_argument, fmt::format("metadata key {} is of type {}, not {}",
                                                bloom::quoted(key), value.type_name(), wanted)};
}

Error missing(std::string_view key) {
    return {Code::not_found, fmt::format("metadata key {} is missing", bloom::quoted(key))};
}

/// `<prefix>-00001-of-00003.gguf` taken apart.
struct PartName {
    std::string prefix;
    std::int64_t number = 0;
    std::int64_t count = 0;
};

std::optional<std::int64_t> five_digits(std::string_view text) {
    std::int64_t value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') return std::nullopt;
        value = value * 10 + (c - '0');
    }
    return value;
}

std::optional<PartName> parse_part_name(const std::string& file_name) {
    constexpr std::size_t kTail = std::string_view("-00001-of-00003.gguf").size();
    if (file_name.size() <= kTail) return std::nullopt;
    const std::string_view tail = std::string_view(file_name).substr(file_name.size() - kTail);
    const auto number = five_digits(tail.substr(1, 5));
    const auto count = five_digits(tail.substr(10, 5));
    if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf" || !number ||
        !count) {
        return std::nullopt;
    }
    return PartName{file_name.substr(0, file_name.size() - kTail), *number, *count};
}

std::string part_name(std::string_view prefix, std::int64_t number, std::int64_t count) {
    return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, number, count);
}

constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();

} // namespace

std::string_view to_string(GgufType type) noexcept {
    switch (type) {
    case GgufType::u8:
        return "u8";
    case GgufType::i8:
        return "i8";
    case GgufType::u16:
        return "u16";
    case GgufType::i16:
        return "i16";
    case GgufType::u32:
        return "u32";
    case GgufType::i32:
        return "i32";
    case GgufType::f32:
        return "f32";
    case GgufType::boolean:
        return "bool";
    case GgufType::string:
        return "string";
    case GgufType::array:
        return "array";
    case GgufType::u64:
        return "u64";
    case GgufType::i64:
        return "i64";
    case GgufType::f64:
        return "f64";
    }
    return "?";
}

// --- values
// ----------------------------------------------------------------------------------------

std::string_view GgufArray::string_at(std::uint64_t i) const {
    BLOOM_CHECK(element_ == GgufType::string);
    BLOOM_CHECK(i < size_);
    const auto at = static_cast<std::size_t>(i);
    const std::size_t begin = at == 0 ? 0 : ends_[at - 1];
    return std::string_view(bytes_).substr(begin, ends_[at] - begin);
}

Result<std::int64_t> GgufArray::integer_at(std::uint64_t i) const {
    BLOOM_CHECK(i < size_);
    const char* base = bytes_.data();
    const auto at = static_cast<std::size_t>(i);
    switch (element_) {
    case GgufType::u8:
        return std::int64_t{load_le<std::uint8_t>(base + at)};
    case GgufType::i8:
        return std::int64_t{load_le<std::int8_t>(base + at)};
    case GgufType::u16:
        return std::int64_t{load_le<std::uint16_t>(base + 2 * at)};
    case GgufType::i16:
        return std::int64_t{load_le<std::int16_t>(base + 2 * at)};
    case GgufType::u32:
        return std::int64_t{load_le<std::uint32_t>(base + 4 * at)};
    case GgufType::i32:
        return std::int64_t{load_le<std::int32_t>(base + 4 * at)};
    case GgufType::i64:
        return load_le<std::int64_t>(base + 8 * at);
    case GgufType::u64: {
        const auto value = load_le<std::uint64_t>(base + 8 * at);
        if (value > static_cast<std::uint64_t>(kInt64Max)) {
            return Error{Code::too_large, fmt::format("array element {} is {}", i, value)};
        }
        return static_cast<std::int64_t>(value);
    }
    default:
        return Error{
            Code::invalid_argument,
            fmt::format("array elements are of type {}, not integers", to_string(element_))};
    }
}

Result<bool> GgufArray::boolean_at(std::uint64_t i) const {
    BLOOM_CHECK(i < size_);
    if (element_ == GgufType::boolean) return bytes_[static_cast<std::size_t>(i)] != 0;
    return Error{Code::invalid_argument,
                 fmt::format("array elements are {}, not bools", to_string(element_))};
}

Result<double> GgufArray::real_at(std::uint64_t i) const {
    BLOOM_CHECK(i < size_);
    const auto at = static_cast<std::size_t>(i);
    if (element_ == GgufType::f32) return double{load_le<float>(bytes_.data() + 4 * at)};
    if (element_ == GgufType::f64) return load_le<double>(bytes_.data() + 8 * at);
    return Error{Code::invalid_argument,
                 fmt::format("array elements are of type {}, not floats", to_string(element_))};
}

std::string GgufValue::type_name() const {
    if (const auto* array = std::get_if<GgufArray>(&value)) {
        return fmt::format("array of {}", to_string(array->element()));
    }
    return std::string(to_string(type));
}

std::string GgufValue::describe() const {
    constexpr std::uint64_t kShownElements = 4;
    if (const auto* u = std::get_if<std::uint64_t>(&value)) return fmt::format("{}", *u);
    if (const auto* i = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *i);
    if (const auto* d = std::get_if<double>(&value)) return fmt::format("{}", *d);
    if (const auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
    if (const auto* s = std::get_if<std::string>(&value)) return bloom::quoted(*s);
    const auto& array = std::get<GgufArray>(value);
    std::string out = "[";
    for (std::uint64_t i = 0; i < array.size() && i < kShownElements; ++i) {
        if (i > 0) out += ", ";
        if (array.element() == GgufType::string) {
            out += bloom::quoted(array.string_at(i), 20);
        } else if (const auto real = array.real_at(i)) {
            out += fmt::format("{}", *real);
        } else if (const auto integer = array.integer_at(i)) {
            out += fmt::format("{}", *integer);
        } else if (const auto flag = array.boolean_at(i)) {
            out += *flag ? "true" : "false";
        } else {
            out += "?";
        }
    }
    if (array.size() > kShownElements) out += fmt::format(", ... {} in all", array.size());
    return out + "]";
}

// --- metadata
// --------------------------------------------------------------------------------------

const GgufValue* GgufMetadata::find(std::string_view key) const noexcept {
    const auto it = index_.find(key);
    return it == index_.end() ? nullptr : &entries_[it->second].value;
}

Result<std::int64_t> GgufMetadata::integer(std::string_view key, std::int64_t min,
                                           std::int64_t max) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return missing(key);
    std::int64_t out = 0;
    if (const auto* u = std::get_if<std::uint64_t>(&value->value)) {
        if (*u > static_cast<std::uint64_t>(kInt64Max)) {
            return Error{Code::too_large, fmt::format("metadata key {} is {}, above {}",
                                                      bloom::quoted(key), *u, max)};
        }
        out = static_cast<std::int64_t>(*u);
    } else if (const auto* i = std::get_if<std::int64_t>(&value->value)) {
        out = *i;
    } else {
        return wrong_type(key, *value, "an integer");
    }
    if (out < min || out > max) {
        return Error{Code::too_large, fmt::format("metadata key {} is {}, outside {} to {}",
                                                  bloom::quoted(key), out, min, max)};
    }
    return out;
}

Result<std::int64_t> GgufMetadata::integer_or(std::string_view key, std::int64_t fallback,
                                              std::int64_t min, std::int64_t max) const {
    if (find(key) == nullptr) return fallback;
    return integer(key, min, max);
}

Result<double> GgufMetadata::real(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return missing(key);
    const auto* real = std::get_if<double>(&value->value);
    if (real == nullptr) return wrong_type(key, *value, "a float");
    if (!std::isfinite(*real)) {
        return Error{Code::corrupt,
                     fmt::format("metadata key {} is {}", bloom::quoted(key), *real)};
    }
    return *real;
}

Result<double> GgufMetadata::real_or(std::string_view key, double fallback) const {
    if (find(key) == nullptr) return fallback;
    return real(key);
}

Result<bool> GgufMetadata::boolean_or(std::string_view key, bool fallback) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return fallback;
    const auto* boolean = std::get_if<bool>(&value->value);
    if (boolean == nullptr) return wrong_type(key, *value, "a bool");
    return *boolean;
}

Result<std::string_view> GgufMetadata::text(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return missing(key);
    const auto* text = std::get_if<std::string>(&value->value);
    if (text == nullptr) return wrong_type(key, *value, "a string");
    if (!is_utf8(*text))
        return Error{Code::corrupt,
                     fmt::format("metadata key {} is not UTF-8", bloom::quoted(key))};
    return std::string_view(*text);
}

Result<std::string_view> GgufMetadata::text_or(std::string_view key,
                                               std::string_view fallback) const {
    if (find(key) == nullptr) return fallback;
    return text(key);
}

Result<const GgufArray*> GgufMetadata::array(std::string_view key, GgufType element) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return missing(key);
    const auto* array = std::get_if<GgufArray>(&value->value);
    if (array == nullptr || array->element() != element) {
        return wrong_type(key, *value, fmt::format("array of {}", to_string(element)));
    }
    return array;
}

// --- files
// -----------------------------------------------------------------------------------------

Result<> GgufFile::add_part(MappedFile file) {
    const auto part = static_cast<std::uint32_t>(files_.size());
    files_.push_back(std::move(file));
    const MappedFile& added = files_.back();
    Result<GgufPart> parsed = GgufParser(added, part).parse();
    if (!parsed) return std::move(parsed).error().with_context(added.name());
    for (TensorInfo& tensor : parsed->tensors) {
        if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
            return Error{Code::corrupt, fmt::format("{}: tensor {} is in an earlier part, too",
                                                    added.name(), bloom::quoted(tensor.name))};
        }
        tensors_.push_back(std::move(tensor));
    }
    if (part == 0) {
        version_ = parsed->version;
        metadata_ = std::move(parsed->metadata);
        return {};
    }
    const auto number = parsed->metadata.integer("split.no", 0, kGgufMaxParts);
    if (!number) return Error(number.error()).with_context(added.name());
    const auto count = parsed->metadata.integer("split.count", 1, kGgufMaxParts);
    if (!count) return Error(count.error()).with_context(added.name());
    BLOOM_TRY(const std::int64_t expected, metadata_.integer("split.count", 1, kGgufMaxParts));
    if (*count != expected) {
        return Error{Code::corrupt,
                     fmt::format("{} says that its set has {} parts, the first part says {}",
                                 added.name(), *count, expected)};
    }
    if (*number != part) {
        return Error{Code::corrupt, fmt::format("{} says that it is part {} of its set, not {}",
                                                added.name(), *number + 1, part + 1)};
    }
    return {};
}

Result<> GgufFile::check_split_of_first(const std::filesystem::path& path) const {
    const auto name = parse_part_name(path.filename().string());
    BLOOM_TRY(const std::int64_t number, metadata_.integer_or("split.no", 0, 0, kGgufMaxParts));
    BLOOM_TRY(const std::int64_t count, metadata_.integer_or("split.count", 0, 0, kGgufMaxParts));
    if (number != 0 || (name && name->number != 1)) {
        const std::string first =
            name ? part_name(name->prefix, 1, name->count) : std::string("the first part");
        return Error{Code::invalid_argument,
                     fmt::format("{} is not the first part of its set; open {}",
                                 bloom::quoted(path.string(), 256), bloom::quoted(first, 256))};
    }
    if (!name && count > 1) {
        return Error{Code::corrupt, fmt::format("{} is the first of {} parts but not named like "
                                                "NAME-00001-of-{:05}.gguf",
                                                bloom::quoted(path.string(), 256), count, count)};
    }
    if (name && name->count != count) {
        return Error{Code::corrupt,
                     fmt::format("{}: split.count is {}, the name says {}",
                                 bloom::quoted(path.string(), 256), count, name->count)};
    }
    return {};
}

Result<> GgufFile::open_other_parts(const std::filesystem::path& path) {
    const auto name = parse_part_name(path.filename().string());
    if (!name) return {};
    for (std::int64_t number = 2; number <= name->count; ++number) {
        const std::filesystem::path next =
            path.parent_path() / part_name(name->prefix, number, name->count);
        BLOOM_TRY(MappedFile file, MappedFile::open(next));
        BLOOM_OK(add_part(std::move(file)));
    }
    return {};
}

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
    GgufFile out;
    BLOOM_TRY(MappedFile file, MappedFile::open(path));
    BLOOM_OK(out.add_part(std::move(file)));
    BLOOM_OK(out.check_split_of_first(path));
    BLOOM_OK(out.open_other_parts(path));
    if (out.metadata_.find("split.tensors.count") != nullptr) {
        BLOOM_TRY(const std::int64_t total,
                  out.metadata_.integer("split.tensors.count", 0, kInt64Max));
        if (static_cast<std::uint64_t>(total) != out.tensors_.size()) {
            return Error{Code::corrupt,
                         fmt::format("{}: split.tensors.count is {}, the parts have {}",
                                     bloom::quoted(path.string(), 256), total,
                                     out.tensors_.size())};
        }
    } else if (out.files_.size() > 1) {
        return missing("split.tensors.count").with_context(path.string());
    }
    return out;
}

Result<GgufFile> GgufFile::from_memory(ByteSpan bytes, std::string name) {
    GgufFile out;
    BLOOM_OK(out.add_part(MappedFile::from_memory(bytes, std::move(name))));
    BLOOM_TRY(const std::int64_t count,
              out.metadata_.integer_or("split.count", 0, 0, kGgufMaxParts));
    if (count > 1) return Error{Code::unsupported, "a split GGUF set cannot be read from memory"};
    return out;
}

const TensorInfo* GgufFile::find_tensor(std::string_view name) const noexcept {
    const auto it = tensor_index_.find(name);
    return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

} // namespace bloom::engine
