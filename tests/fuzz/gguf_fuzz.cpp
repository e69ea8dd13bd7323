// Any bytes as a GGUF image: opening, configuration, weights, tokenizer and the listing for people.
#include <cstddef>
#include <cstdint>
#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/engine/gguf.hpp>
#include <bloom/engine/gguf_model.hpp>
#include <bloom/engine/memory_need.hpp>
#include <bloom/engine/model_file.hpp>

namespace {

using namespace bloom::engine;

/// Whatever was accepted lies inside the image.
void check_tensors(std::span<const TensorInfo> tensors, bloom::ByteSpan image) {
    for (const TensorInfo& tensor : tensors) {
        BLOOM_CHECK(tensor.offset <= image.size());
        BLOOM_CHECK(tensor.bytes <= image.size() - tensor.offset);
        BLOOM_CHECK(tensor.data == image.data() + tensor.offset);
    }
}

void read_rows(const Weights& weights) {
    std::vector<float> row;
    for (const WeightView& view : weights.all()) {
        row.resize(static_cast<std::size_t>(view.matrix.k));
        dequantise_row(view, view.matrix.rows - 1, row);
        if (is_vector_role(view.role)) expand_vector(view, row);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bloom::ByteSpan image(data, size);
    const auto file = GgufFile::from_memory(image, "image");
    if (!file) return 0;
    check_tensors(file->tensors(), image);
    static_cast<void>(read_gguf_tokenizer(*file).has_value());
    const auto model = ModelFile::from_memory(image, "image");
    if (!model) return 0;
    static_cast<void>(model->metadata());
    static_cast<void>(model->warnings());
    static_cast<void>(verify_finite(model->weights(), true).has_value());
    read_rows(model->weights());
    const MemoryNeed need = memory_need(*model, 0, bloom::kernels::KvType::f16);
    BLOOM_CHECK(need.packed_bytes >= 0 && need.least_kv_bytes >= 0 && need.recurrent_bytes >= 0);
    return 0;
}
