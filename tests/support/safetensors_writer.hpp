#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bloom::test {

/// A safetensors image from any header text and any data: bad headers are written by hand.
inline std::vector<std::uint8_t> safetensors_image(std::string_view header, std::string_view data) {
    const std::uint64_t length = header.size();
    std::vector<std::uint8_t> out(8);
    std::memcpy(out.data(), &length, 8);
    out.insert(out.end(), header.begin(), header.end());
    out.insert(out.end(), data.begin(), data.end());
    return out;
}

/// Builds good safetensors images.
class SafetensorsWriter {
public:
    struct Tensor {
        std::string name;
        std::string dtype;
        std::vector<std::int64_t> shape;
        std::string data;
    };

    std::vector<Tensor> tensors;
    std::string metadata;     ///< JSON of `__metadata__`, empty for none
    std::size_t n_spaces = 0; ///< behind the header; 0 leaves data at any address, as MLX does

    void add(std::string name, std::string dtype, std::vector<std::int64_t> shape,
             std::string data) {
        tensors.push_back({std::move(name), std::move(dtype), std::move(shape), std::move(data)});
    }

    /// Raw bytes of numbers, for `data`.
    template <class T>
    static std::string bytes(const std::vector<T>& values) {
        std::string out(values.size() * sizeof(T), '\0');
        if (!values.empty()) std::memcpy(out.data(), values.data(), out.size());
        return out;
    }

    std::vector<std::uint8_t> build() const {
        std::string header = "{";
        std::string data;
        if (!metadata.empty()) header += "\"__metadata__\":" + metadata;
        for (const Tensor& tensor : tensors) {
            if (header.size() > 1) header += ',';
            header += '"' + tensor.name + "\":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[";
            for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
                header += (i > 0 ? "," : "") + std::to_string(tensor.shape[i]);
            }
            header += "],\"data_offsets\":[" + std::to_string(data.size()) + ',' +
                      std::to_string(data.size() + tensor.data.size()) + "]}";
            data += tensor.data;
        }
        header += '}' + std::string(n_spaces, ' ');
        return safetensors_image(header, data);
    }
};

} // namespace bloom::test
