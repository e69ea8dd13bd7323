// Any bytes as a safetensors image, and the same bytes as a config.json.
#include <cstddef>
#include <cstdint>

#include <bloom/base/check.hpp>
#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/safetensors.hpp>
#include <bloom/engine/weights.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace bloom::engine;
    const bloom::ByteSpan image(data, size);
    const auto config = read_hf_config(bloom::as_text(image), {});
    if (config) BLOOM_CHECK(validate(config->model).has_value());
    const auto model = SafetensorsModel::from_memory(image, "image");
    if (!model) return 0;
    for (const TensorInfo& tensor : model->tensors()) {
        BLOOM_CHECK(tensor.offset <= size);
        BLOOM_CHECK(tensor.bytes <= size - tensor.offset);
        BLOOM_CHECK(model->find_tensor(tensor.name) == &tensor);
    }
    if (!config) return 0;
    static_cast<void>(
        load_hf_weights(config->model, config->quantization, model->tensors()).has_value());
    return 0;
}
