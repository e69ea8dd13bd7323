#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace bloom::test {

/// A number in the header of a GGUF image.
struct GgufField {
    enum class Kind : std::uint8_t {
        head,        ///< version and counts
        name_length, ///< of a key or a tensor: moves everything behind it
        value_type,
        text_length, ///< of a value, or of a string in an array
        count,       ///< of an array
        number,      ///< a value
        rank,
        dim,
        tensor_type,
        offset,
    };

    Kind kind = Kind::head;
    std::string owner; ///< key or tensor; empty for the head
    std::size_t at = 0;
    std::size_t bytes = 8;
    std::size_t index = 0; ///< of a dim, or of an array's element
};

struct GgufTensorFields {
    std::string name;
    std::size_t name_at = 0;
    std::vector<std::size_t> dims; ///< places, contiguous axis first
    std::size_t offset_at = 0;
};

/// Where the numbers of a good image's header are. Of arrays the first elements, the last and some
/// between. Written from the format's description; shares nothing with the reader under test.
class GgufFields {
public:
    explicit GgufFields(const std::vector<std::uint8_t>& image) : image_(image) {
        add(GgufField::Kind::head, {}, 4, 4);
        add(GgufField::Kind::head, {}, 8, 8);
        add(GgufField::Kind::head, {}, 16, 8);
        const auto n_tensors = number<std::uint64_t>(8);
        const auto n_keys = number<std::uint64_t>(16);
        at_ = 24;
        for (std::uint64_t i = 0; i < n_keys; ++i)
            walk_key();
        for (std::uint64_t i = 0; i < n_tensors; ++i)
            walk_tensor();
    }

    std::vector<GgufField> fields;
    std::vector<GgufTensorFields> tensors;
    std::vector<std::string> names; ///< of keys and tensors

    std::size_t header_bytes() const noexcept { return at_; }

private:
    template <class T>
    T number(std::size_t at) const {
        T value;
        std::memcpy(&value, image_.data() + at, sizeof value);
        return value;
    }

    void add(GgufField::Kind kind, std::string owner, std::size_t at, std::size_t bytes,
             std::size_t index = 0) {
        fields.push_back({kind, std::move(owner), at, bytes, index});
    }

    std::string walk_name() {
        const std::size_t length_at = at_;
        const auto length = number<std::uint64_t>(at_);
        std::string name(reinterpret_cast<const char*>(image_.data()) + at_ + 8, length);
        add(GgufField::Kind::name_length, name, length_at, 8);
        names.push_back(name);
        at_ += 8 + length;
        return name;
    }

    static std::size_t width(std::uint32_t type) {
        constexpr std::size_t kWidths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        return kWidths[type];
    }

    void walk_key() {
        constexpr std::uint32_t kString = 8;
        constexpr std::uint32_t kArray = 9;
        const std::string key = walk_name();
        const auto type = number<std::uint32_t>(at_);
        add(GgufField::Kind::value_type, key, at_, 4);
        at_ += 4;
        if (type == kString) {
            add(GgufField::Kind::text_length, key, at_, 8);
            at_ += 8 + number<std::uint64_t>(at_);
        } else if (type != kArray) {
            add(GgufField::Kind::number, key, at_, width(type));
            at_ += width(type);
        } else {
            walk_array(key);
        }
    }

    void walk_array(const std::string& key) {
        constexpr std::size_t kStep = 61;
        const auto type = number<std::uint32_t>(at_);
        const auto n = number<std::uint64_t>(at_ + 4);
        add(GgufField::Kind::value_type, key, at_, 4);
        add(GgufField::Kind::count, key, at_ + 4, 8);
        at_ += 12;
        for (std::uint64_t i = 0; i < n; ++i) {
            const bool shown = i < 2 || i + 1 == n || i % kStep == 0;
            const bool text = width(type) == 0;
            if (shown) {
                add(text ? GgufField::Kind::text_length : GgufField::Kind::number, key, at_,
                    text ? 8 : width(type), i);
            }
            at_ += text ? 8 + number<std::uint64_t>(at_) : width(type);
        }
    }

    void walk_tensor() {
        GgufTensorFields tensor;
        tensor.name_at = at_ + 8;
        tensor.name = walk_name();
        const auto rank = number<std::uint32_t>(at_);
        add(GgufField::Kind::rank, tensor.name, at_, 4);
        at_ += 4;
        for (std::uint32_t i = 0; i < rank; ++i, at_ += 8) {
            add(GgufField::Kind::dim, tensor.name, at_, 8, i);
            tensor.dims.push_back(at_);
        }
        add(GgufField::Kind::tensor_type, tensor.name, at_, 4);
        tensor.offset_at = at_ + 4;
        add(GgufField::Kind::offset, tensor.name, tensor.offset_at, 8);
        at_ += 12;
        tensors.push_back(std::move(tensor));
    }

    const std::vector<std::uint8_t>& image_;
    std::size_t at_ = 0;
};

} // namespace bloom::test
