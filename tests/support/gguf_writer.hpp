#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace bloom::test {

/// Builds GGUF images in memory, good ones by default and bad ones on request. Knows nothing of the
/// reader, so the two can disagree.
class GgufWriter {
public:
    // Value and tensor types by their number in the file.
    static constexpr std::uint32_t kU8 = 0, kI8 = 1, kU16 = 2, kI16 = 3, kU32 = 4, kI32 = 5,
                                   kF32 = 6, kBool = 7, kString = 8, kArray = 9, kU64 = 10,
                                   kI64 = 11, kF64 = 12;
    static constexpr std::uint32_t kTensorF32 = 0, kTensorF16 = 1, kTensorQ8_0 = 8,
                                   kTensorBf16 = 30;

    struct Tensor {
        std::string name;
        std::vector<std::uint64_t> ne; ///< contiguous axis first, as in the file
        std::uint32_t type = kTensorF32;
        std::vector<std::uint8_t> data;
        std::optional<std::uint64_t> offset; ///< instead of the next aligned one
    };

    std::string magic = "GGUF";
    std::uint32_t version = 3;
    std::uint64_t alignment = 32; ///< of the layout; the key is put by whoever wants it
    std::optional<std::uint64_t> tensor_count;
    std::optional<std::uint64_t> key_count;
    std::vector<Tensor> tensors;

    template <class T>
    static void append(std::vector<std::uint8_t>& out, T value) {
        static_assert(std::is_trivially_copyable_v<T>);
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
        out.insert(out.end(), bytes, bytes + sizeof value);
    }

    static void append_string(std::vector<std::uint8_t>& out, std::string_view text) {
        append<std::uint64_t>(out, text.size());
        out.insert(out.end(), text.begin(), text.end());
    }

    /// A key with any type number and any bytes.
    void put_raw(std::string_view key, std::uint32_t type, const std::vector<std::uint8_t>& value) {
        std::vector<std::uint8_t> entry;
        append_string(entry, key);
        append(entry, type);
        entry.insert(entry.end(), value.begin(), value.end());
        keys_.emplace_back(std::string(key), std::move(entry));
    }

    template <class T>
    void put(std::string_view key, std::uint32_t type, T value) {
        std::vector<std::uint8_t> bytes;
        append(bytes, value);
        put_raw(key, type, bytes);
    }

    void put_u32(std::string_view key, std::uint32_t value) { put(key, kU32, value); }

    void put_f32(std::string_view key, float value) { put(key, kF32, value); }

    void put_bool(std::string_view key, bool value) {
        put(key, kBool, static_cast<std::uint8_t>(value));
    }

    void put_string(std::string_view key, std::string_view value) {
        std::vector<std::uint8_t> bytes;
        append_string(bytes, value);
        put_raw(key, kString, bytes);
    }

    void put_strings(std::string_view key, const std::vector<std::string>& values) {
        std::vector<std::uint8_t> bytes;
        append(bytes, kString);
        append<std::uint64_t>(bytes, values.size());
        for (const std::string& value : values)
            append_string(bytes, value);
        put_raw(key, kArray, bytes);
    }

    template <class T>
    void put_array(std::string_view key, std::uint32_t element, const std::vector<T>& values) {
        std::vector<std::uint8_t> bytes;
        append(bytes, element);
        append<std::uint64_t>(bytes, values.size());
        for (const T value : values)
            append(bytes, value);
        put_raw(key, kArray, bytes);
    }

    /// Takes a key out again, or nothing.
    void remove(std::string_view key) {
        std::erase_if(keys_, [&](const auto& entry) { return entry.first == key; });
    }

    Tensor& add(std::string name, std::vector<std::uint64_t> ne, std::uint32_t type,
                std::vector<std::uint8_t> data) {
        tensors.push_back({std::move(name), std::move(ne), type, std::move(data), std::nullopt});
        return tensors.back();
    }

    Tensor& add_f32(std::string name, std::vector<std::uint64_t> ne,
                    const std::vector<float>& values) {
        std::vector<std::uint8_t> data(values.size() * 4);
        if (!values.empty()) std::memcpy(data.data(), values.data(), data.size());
        return add(std::move(name), std::move(ne), kTensorF32, std::move(data));
    }

    Tensor* find(std::string_view name) {
        for (Tensor& tensor : tensors) {
            if (tensor.name == name) return &tensor;
        }
        return nullptr;
    }

    std::vector<std::uint8_t> build() const {
        std::vector<std::uint8_t> out(magic.begin(), magic.end());
        append(out, version);
        append<std::uint64_t>(out, tensor_count.value_or(tensors.size()));
        append<std::uint64_t>(out, key_count.value_or(keys_.size()));
        for (const auto& [key, entry] : keys_)
            out.insert(out.end(), entry.begin(), entry.end());
        std::vector<std::uint8_t> data;
        for (const Tensor& tensor : tensors) {
            append_string(out, tensor.name);
            append<std::uint32_t>(out, static_cast<std::uint32_t>(tensor.ne.size()));
            for (const std::uint64_t ne : tensor.ne)
                append(out, ne);
            append(out, tensor.type);
            append<std::uint64_t>(out, tensor.offset.value_or(data.size()));
            data.insert(data.end(), tensor.data.begin(), tensor.data.end());
            pad(data);
        }
        if (!tensors.empty()) pad(out);
        out.insert(out.end(), data.begin(), data.end());
        return out;
    }

private:
    void pad(std::vector<std::uint8_t>& bytes) const {
        while (bytes.size() % alignment != 0)
            bytes.push_back(0);
    }

    std::vector<std::pair<std::string, std::vector<std::uint8_t>>> keys_;
};

} // namespace bloom::test
