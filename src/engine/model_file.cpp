#include <algorithm>
#include <variant>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/engine/gguf.hpp>
#include <bloom/engine/gguf_model.hpp>
#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/model_file.hpp>
#include <bloom/engine/safetensors.hpp>
#include <bloom/json/reader.hpp>

#include "engine/directory_tokenizer.hpp"
#include "engine/synthetic_weights.hpp"

namespace bloom::engine {

struct ModelFile::Impl {
    std::variant<GgufFile, SafetensorsModel, SyntheticWeights> source;
    std::filesystem::path directory; ///< safetensors only
    std::string config_json;         ///< safetensors only
    std::string name;
    ModelConfig config;
    Weights weights;
    bool reads_ahead = true;

    explicit Impl(GgufFile file) : source(std::move(file)) {}

    explicit Impl(SafetensorsModel model) : source(std::move(model)) {}

    explicit Impl(SyntheticWeights weights) : source(std::move(weights)) {}

    /// Not null where there are no files.
    const SyntheticWeights* synthetic() const noexcept {
        return std::get_if<SyntheticWeights>(&source);
    }

    std::span<const MappedFile> files() const noexcept {
        if (const auto* gguf = std::get_if<GgufFile>(&source)) return gguf->files();
        const auto* model = std::get_if<SafetensorsModel>(&source);
        return model != nullptr ? model->files() : std::span<const MappedFile>();
    }

    std::span<const TensorInfo> tensors() const noexcept {
        if (const auto* gguf = std::get_if<GgufFile>(&source)) return gguf->tensors();
        const auto* model = std::get_if<SafetensorsModel>(&source);
        return model != nullptr ? model->tensors() : std::span<const TensorInfo>();
    }

    void advise_layer(std::int64_t layer, Advice advice) const noexcept {
        if (synthetic() != nullptr) return;
        for (int r = 0; r < kRoleCount; ++r) {
            const WeightView* view = weights.find(static_cast<Role>(r), layer);
            if (view == nullptr) continue;
            for (const FileRange& range : view->ranges)
                files()[range.file].advise(range.offset, range.bytes, advice);
        }
    }
};

namespace {

/// Tensors that a warning names one by one.
constexpr std::size_t kListedNames = 16;

std::string describe_config_value(const json::Value& value) {
    if (const auto b = value.as_bool()) return *b ? "true" : "false";
    if (const auto i = value.as_int64()) return fmt::format("{}", *i);
    if (const auto d = value.as_double()) return fmt::format("{}", *d);
    if (const auto s = value.as_string()) return bloom::quoted(*s);
    if (const auto a = value.as_array()) return fmt::format("[{} entries]", a->size());
    if (const auto o = value.as_object()) return fmt::format("{{{} members}}", o->size());
    return "null";
}

void add_config_metadata(std::string_view config_json, std::vector<MetadataEntry>& out) {
    json::Parser parser;
    const auto root =
        parser.parse(config_json); // it was read before; a failure only shortens the list
    if (!root || !root->is_object()) return;
    for (const json::Member member : *root->as_object()) {
        out.push_back({"config." + std::string(member.key),
                       std::string(json::to_string(member.value.kind())),
                       describe_config_value(member.value)});
    }
}

} // namespace

std::string_view to_string(Container container) noexcept {
    switch (container) {
    case Container::gguf:
        return "gguf";
    case Container::safetensors:
        return "safetensors";
    case Container::synthetic:
        return "synthetic";
    }
    return "?";
}

ModelFile::ModelFile(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

ModelFile::ModelFile(ModelFile&&) noexcept = default;
ModelFile& ModelFile::operator=(ModelFile&&) noexcept = default;
ModelFile::~ModelFile() = default;

Result<ModelFile> ModelFile::from_gguf(GgufFile file, const std::string& fallback_name) {
    auto impl = std::make_unique<Impl>(std::move(file));
    const auto& gguf = std::get<GgufFile>(impl->source);
    const auto read = [&]() -> Result<> {
        BLOOM_TRY(const std::string_view name,
                  gguf.metadata().text_or("general.name", fallback_name));
        impl->name = name;
        BLOOM_TRY(impl->config, read_gguf_config(gguf));
        BLOOM_TRY(impl->weights, load_gguf_weights(impl->config, gguf.tensors()));
        return {};
    };
    if (auto done = read(); !done)
        return std::move(done).error().with_context(gguf.files().front().name());
    return ModelFile(std::move(impl));
}

Result<ModelFile> ModelFile::open_directory(const std::filesystem::path& directory) {
    BLOOM_TRY(const std::filesystem::path store, store_root(directory));
    BLOOM_TRY(std::string config_json,
              read_small_file(directory, "config.json", store, kMaxConfigJsonBytes));
    BLOOM_TRY(SafetensorsModel model, SafetensorsModel::open(directory));
    auto impl = std::make_unique<Impl>(std::move(model));
    impl->directory = directory;
    impl->config_json = std::move(config_json);
    impl->name = directory.has_filename() ? directory.filename().string()
                                          : directory.parent_path().filename().string();
    const auto read = [&]() -> Result<> {
        const auto& tensors = std::get<SafetensorsModel>(impl->source);
        const HfParts parts = find_hf_parts(tensors.tensors());
        BLOOM_TRY(HfConfig config, read_hf_config(impl->config_json, parts));
        impl->config = std::move(config.model);
        BLOOM_TRY(impl->weights,
                  load_hf_weights(impl->config, config.quantization, tensors.tensors()));
        return {};
    };
    if (auto done = read(); !done) return std::move(done).error().with_context(directory.string());
    return ModelFile(std::move(impl));
}

Result<ModelFile> ModelFile::open(const std::filesystem::path& path) {
    std::error_code ec;
    if (std::filesystem::is_directory(path, ec)) return open_directory(path);
    if (path.extension() == ".safetensors") {
        return Error{Code::invalid_argument,
                     fmt::format("{} is one file of a model; open the directory it is in",
                                 bloom::quoted(path.string(), 256))};
    }
    BLOOM_TRY(GgufFile file, GgufFile::open(path));
    return from_gguf(std::move(file), path.stem().string());
}

Result<ModelFile> ModelFile::from_memory(ByteSpan gguf, std::string name) {
    BLOOM_TRY(GgufFile file, GgufFile::from_memory(gguf, name));
    return from_gguf(std::move(file), name);
}

Result<ModelFile> ModelFile::synthetic(const SyntheticShape& shape, kernels::WeightFormat format) {
    BLOOM_CHECK(format == kernels::WeightFormat::q8_0 ||
                format == kernels::WeightFormat::affine8_bf16);
    auto impl = std::make_unique<Impl>(SyntheticWeights(shape));
    impl->name = shape.name;
    impl->config = shape.config;
    BLOOM_TRY(impl->weights, shape_weights(shape.config, format));
    return ModelFile(std::move(impl));
}

Container ModelFile::container() const noexcept {
    if (impl_->synthetic() != nullptr) return Container::synthetic;
    return std::holds_alternative<GgufFile>(impl_->source) ? Container::gguf
                                                           : Container::safetensors;
}

const ModelConfig& ModelFile::config() const noexcept {
    return impl_->config;
}

const Weights& ModelFile::weights() const noexcept {
    return impl_->weights;
}

const std::string& ModelFile::name() const noexcept {
    return impl_->name;
}

std::uint64_t ModelFile::file_bytes() const noexcept {
    std::uint64_t sum = impl_->synthetic() != nullptr ? impl_->weights.total_bytes() : 0;
    for (const MappedFile& file : impl_->files())
        sum += file.size();
    return sum;
}

std::int64_t ModelFile::n_parameters() const noexcept {
    std::int64_t sum = 0;
    for (const WeightView& view : impl_->weights.all())
        sum += view.n_elements();
    return sum;
}

Result<ModelTokenizer> ModelFile::tokenizer() const {
    const auto* gguf = std::get_if<GgufFile>(&impl_->source);
    const SyntheticWeights* const synthetic = impl_->synthetic();
    Result<ModelTokenizer> out =
        synthetic != nullptr ? synthetic->tokenizer()
        : gguf != nullptr    ? read_gguf_tokenizer(*gguf)
                             : read_directory_tokenizer(impl_->directory, impl_->config.arch);
    // Token ids index the embedding without further questions, so here is the place to ask.
    if (out && static_cast<std::int64_t>(out->vocab.tokens.size()) > impl_->config.vocab_rows) {
        return Error{Code::corrupt,
                     fmt::format("{}: the tokenizer has {} tokens, the embedding {} rows",
                                 impl_->name, out->vocab.tokens.size(), impl_->config.vocab_rows)};
    }
    return out;
}

std::span<const TensorInfo> ModelFile::tensors() const noexcept {
    return impl_->tensors();
}

std::vector<MetadataEntry> ModelFile::metadata() const {
    std::vector<MetadataEntry> out;
    if (const auto* gguf = std::get_if<GgufFile>(&impl_->source)) {
        for (const GgufMetadata::Entry& entry : gguf->metadata().entries()) {
            out.push_back({entry.key, entry.value.type_name(), entry.value.describe()});
        }
        return out;
    }
    if (const SyntheticWeights* const synthetic = impl_->synthetic()) {
        const std::string& what = synthetic->shape().approximates;
        if (!what.empty()) out.push_back({"approximates", "string", what});
        return out;
    }
    for (const auto& [key, value] : std::get<SafetensorsModel>(impl_->source).metadata()) {
        out.push_back({"__metadata__." + key, "string", bloom::quoted(value)});
    }
    add_config_metadata(impl_->config_json, out);
    return out;
}

std::vector<std::string> ModelFile::warnings() const {
    std::vector<std::string> out;
    if (const auto* model = std::get_if<SafetensorsModel>(&impl_->source)) {
        out.assign(model->warnings().begin(), model->warnings().end());
    }
    const auto unused = impl_->weights.unused();
    for (std::size_t n = 0; n < unused.size() && n < kListedNames; ++n) {
        out.push_back(fmt::format("tensor {} is not used", bloom::quoted(unused[n])));
    }
    if (unused.size() > kListedNames) {
        out.push_back(fmt::format("{} tensors in all are not used", unused.size()));
    }
    return out;
}

kernels::SourceMatrix ModelFile::matrix(const WeightView& view,
                                        std::vector<std::uint8_t>& scratch) const {
    const SyntheticWeights* const synthetic = impl_->synthetic();
    return synthetic != nullptr ? synthetic->matrix(view, scratch) : in_model_order(view, scratch);
}

std::vector<kernels::SourceMatrix> ModelFile::experts(const WeightView& view,
                                                      std::vector<std::uint8_t>& scratch) const {
    const SyntheticWeights* const synthetic = impl_->synthetic();
    return synthetic != nullptr ? synthetic->experts(view, scratch) : view.experts;
}

void ModelFile::vector(const WeightView& view, std::span<float> out) const {
    const SyntheticWeights* const synthetic = impl_->synthetic();
    if (synthetic != nullptr) {
        synthetic->vector(view, out);
    } else {
        expand_vector(view, out);
    }
}

std::string ModelFile::identity() const {
    std::string out;
    for (const MappedFile& file : impl_->files()) {
        const std::string one = file.identity();
        if (one.empty()) return {};
        out += one;
        out += '\n';
    }
    return out;
}

void ModelFile::skip_read_ahead() noexcept {
    impl_->reads_ahead = false;
}

Result<> ModelFile::begin_layer(std::int64_t layer) const {
    for (const MappedFile& file : impl_->files())
        BLOOM_OK(file.check_unchanged());
    if (impl_->reads_ahead) impl_->advise_layer(layer, Advice::will_need);
    return {};
}

void ModelFile::end_layer(std::int64_t layer) const noexcept {
    impl_->advise_layer(layer, Advice::dont_need);
}

} // namespace bloom::engine
