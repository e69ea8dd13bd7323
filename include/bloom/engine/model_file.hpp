#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>
#include <bloom/engine/model_config.hpp>
#include <bloom/engine/tensor_info.hpp>
#include <bloom/engine/weights.hpp>
#include <bloom/text/vocab.hpp>

namespace bloom::engine {

class GgufFile;
struct SyntheticShape;

enum class Container : std::uint8_t { gguf, safetensors, synthetic };

std::string_view to_string(Container container) noexcept;

/// A Jinja chat template that came with the model.
struct ChatTemplate {
    std::string name; ///< "default", "tool_use" or what the file says
    std::string source;
};

/// What text needs to know about the model.
struct ModelTokenizer {
    text::VocabSpec vocab;
    /// Templates that came with the model, "default" first where there is one; in a directory
    /// chat_template.jinja stands before the entry of tokenizer_config.json, which may be stale.
    std::vector<ChatTemplate> chat_templates;
};

/// One line of `inspect`: a metadata key with its value shortened for reading.
struct MetadataEntry {
    std::string key;
    std::string type; ///< "u32", "string", "array of string"
    std::string value;
};

/// A model on disk (or in memory), opened and checked: configuration, weights by role, tokenizer
/// data. Nothing is read but headers until somebody reads through a WeightView. Lifetime: every
/// view of it dies with it; moving keeps them valid. Thread: const members from any.
class ModelFile {
public:
    /// A `.gguf` file (the first part of a split set) or a directory with config.json and
    /// safetensors. Errors: not_found, corrupt, unsupported, too_large, io_error; the message names
    /// file and reason.
    static Result<ModelFile> open(const std::filesystem::path& path);
    /// A GGUF image in memory that outlives the object.
    static Result<ModelFile> from_memory(ByteSpan gguf, std::string name);

    /// A model of random weights, for measuring: nothing is read, and every matrix is made when it
    /// is asked for. `format` is q8_0 or affine8_bf16. It has a tokenizer of bytes.
    /// Errors: unsupported (a width that is not a multiple of the format's group).
    static Result<ModelFile> synthetic(const SyntheticShape& shape, kernels::WeightFormat format);

    ModelFile(ModelFile&&) noexcept;
    ModelFile& operator=(ModelFile&&) noexcept;
    ~ModelFile();

    Container container() const noexcept;
    const ModelConfig& config() const noexcept;
    const Weights& weights() const noexcept;

    /// general.name or the directory's name; for people, not for lookups.
    const std::string& name() const noexcept;
    /// Bytes of all files together; of synthetic models what their weights would take.
    std::uint64_t file_bytes() const noexcept;
    /// Elements of all weights that the graph uses.
    std::int64_t n_parameters() const noexcept;

    /// Vocabulary and chat templates, copied out of the container: GGUF metadata, or tokenizer.json
    /// and its side files. Cost: parses tens of megabytes for a large vocabulary; call once.
    /// No token's id passes the rows of the embedding.
    /// Errors: not_found when the model has no tokenizer; corrupt for more tokens than rows; else
    /// those of the text module's readers.
    Result<ModelTokenizer> tokenizer() const;

    /// Every tensor as it stands in the file, used or not, in file order.
    std::span<const TensorInfo> tensors() const noexcept;
    /// Metadata for people: values longer than a line are cut.
    std::vector<MetadataEntry> metadata() const;

    /// What is odd but does not stop the model: unused tensors, a wrong size in the shard index.
    std::vector<std::string> warnings() const;

    /// What tells these files from others without reading them whole: size, time of change and a
    /// checksum of the first bytes of each. Empty for bytes in memory.
    std::string identity() const;

    /// The weights will hardly be read: begin_layer() shall not bring them in.
    void skip_read_ahead() noexcept;
    /// Before a layer is packed: reads ahead and checks that no file has changed its size since it
    /// was opened. `layer` -1: the weights outside of layers. Errors: corrupt.
    Result<> begin_layer(std::int64_t layer) const;
    /// After it has been packed: its pages may leave memory.
    void end_layer(std::int64_t layer) const noexcept;

    // What is packed, the only way to the values of a synthetic model. Results point into the file
    // or into `scratch`, which is resized and must outlive their use.

    /// A matrix with its rows in the model's order.
    kernels::SourceMatrix matrix(const WeightView& view, std::vector<std::uint8_t>& scratch) const;
    /// All matrices of an expert role.
    std::vector<kernels::SourceMatrix> experts(const WeightView& view,
                                               std::vector<std::uint8_t>& scratch) const;
    /// A vector as f32 in the model's order. out.size() == view.matrix.k.
    void vector(const WeightView& view, std::span<float> out) const;

private:
    struct Impl;
    static Result<ModelFile> from_gguf(GgufFile file, const std::string& fallback_name);
    static Result<ModelFile> open_directory(const std::filesystem::path& directory);
    explicit ModelFile(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

} // namespace bloom::engine
