// Damage done to every golden model: each number of its headers at 0, 1, the largest and where sums
// wrap; cut anywhere; tensors over each other, turned round, renamed. Whatever the family, such a
// file is refused with a name in the message, or it is a good one of another kind.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/model_file.hpp>
#include <bloom/engine/safetensors.hpp>
#include <bloom/json/reader.hpp>

#include "support/counts_allocations.hpp"
#include "support/gguf_fields.hpp"
#include "support/json_values.hpp"

namespace {

/// The largest piece of memory that was asked for since the last reset.
std::size_t g_largest = 0;

} // namespace

#if BLOOM_TEST_COUNTS_ALLOCATIONS
void* operator new(std::size_t bytes) {
    g_largest = std::max(g_largest, bytes);
    if (void* const memory = std::malloc(bytes)) return memory;
    throw std::bad_alloc();
}

void operator delete(void* memory) noexcept {
    std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
#endif

namespace bloom::engine {
namespace {

namespace fs = std::filesystem;
using test::GgufField;
using test::GgufFields;
using Bytes = std::vector<std::uint8_t>;

fs::path data_dir() {
    return fs::path(BLOOM_SOURCE_DIR) / "tests" / "golden" / "engine" / "data";
}

template <class Text>
Text read(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in.good()) << path;
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    return {bytes.begin(), bytes.end()};
}

/// Paths of all golden models of one container.
std::vector<fs::path> golden_models(bool gguf) {
    std::vector<fs::path> out;
    json::Parser parser;
    const json::Object root =
        parser.parse(read<std::string>(data_dir() / "index.json")).value().as_object().value();
    for (const json::Value name : root.at("cases").value().as_array().value()) {
        const fs::path file =
            data_dir() / name.as_string().value() / (gguf ? "model.gguf" : "model");
        if (fs::exists(file)) out.push_back(file);
    }
    EXPECT_GE(out.size(), 4U);
    return out;
}

bool contains_any(std::string_view message, const std::vector<std::string>& names) {
    return std::ranges::any_of(
        names, [&](const auto& name) { return message.find(name) != message.npos; });
}

/// What the checks of a whole configuration call its numbers; each message has the value as well.
const std::vector<std::string> kQuantities{
    "values of", "heads",  "head dimension", "layers",     "expert",    "rope",
    "epsilon",   "window", "vocabulary",     "context",    "rotated",   "conv",
    "width",     "linear", "draft",          "layer type", "the cap of"};

/// A tensor that is asked for and not there, perhaps under a name that this file does not use.
bool is_missing(std::string_view message) {
    return message.find("tensor \"") != message.npos && message.ends_with("is missing");
}

/// Of the parts that no text model reads, or whose one row may stand or lie.
bool may_be_turned(std::string_view tensor) {
    return contains_any(tensor, {"vision_tower", "visual", "embed_vision", "shared_expert_gate"});
}

/// Reads everything of a model that was accepted.
void use(const ModelFile& model, const Bytes& image) {
    for (const TensorInfo& tensor : model.tensors()) {
        ASSERT_GE(tensor.data, image.data());
        ASSERT_LE(tensor.data + tensor.bytes, image.data() + image.size());
    }
    std::vector<float> row;
    for (const WeightView& view : model.weights().all()) {
        row.resize(static_cast<std::size_t>(view.matrix.k));
        dequantise_row(view, view.matrix.rows * view.n_matrices() - 1, row);
        if (is_vector_role(view.role)) expand_vector(view, row);
    }
    static_cast<void>(model.tokenizer().has_value());
    static_cast<void>(model.metadata());
    static_cast<void>(model.warnings());
}

std::vector<std::string> unused_of(const Bytes& image) {
    const auto model = ModelFile::from_memory(image, "image");
    EXPECT_TRUE(model.has_value());
    const auto unused = model->weights().unused();
    return {unused.begin(), unused.end()};
}

/// No piece of memory may be larger than the file gives reason for.
constexpr std::size_t kSpareBytes = std::size_t{1} << 20;

/// Opens an image; the reason when it is refused, empty when it was accepted and used.
std::string outcome(const Bytes& image) {
    g_largest = 0;
    const auto model = ModelFile::from_memory(image, "image");
    EXPECT_LE(g_largest, 4 * image.size() + kSpareBytes);
    if (model) {
        use(*model, image);
        return {};
    }
    EXPECT_FALSE(model.error().message().empty());
    return std::string(model.error().message());
}

void put(Bytes& image, std::size_t at, std::uint64_t value, std::size_t bytes) {
    std::memcpy(image.data() + at, &value, bytes);
}

std::uint64_t get(const Bytes& image, std::size_t at, std::size_t bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, image.data() + at, bytes);
    return value;
}

constexpr std::uint64_t kValues[] = {0,
                                     1,
                                     ~std::uint64_t{0},
                                     std::uint64_t{1} << 63,
                                     std::uint64_t{1} << 31,
                                     ~std::uint64_t{0} - 31};

TEST(DamagedGoldens, EveryNumberOfAGgufHeader) {
    for (const fs::path& path : golden_models(true)) {
        SCOPED_TRACE(path);
        Bytes image = read<Bytes>(path);
        const GgufFields good(image);
        ASSERT_EQ(outcome(image), "");
        int n_refused = 0;
        for (const GgufField& field : good.fields) {
            const std::uint64_t before = get(image, field.at, field.bytes);
            for (const std::uint64_t value : kValues) {
                if (field.bytes < 8 && (value & 0xffffffffU) == 0 && value != 0) continue;
                put(image, field.at, value, field.bytes);
                if (get(image, field.at, field.bytes) == before) continue;
                const std::string why = outcome(image);
                n_refused += why.empty() ? 0 : 1;
                const bool of_place = field.kind == GgufField::Kind::rank ||
                                      field.kind == GgufField::Kind::dim ||
                                      field.kind == GgufField::Kind::offset;
                if (of_place) EXPECT_NE(why, "") << field.owner << " " << value;
                // Another length, type or rank moves all that follows, so that names are lost.
                const bool in_place = field.kind == GgufField::Kind::number ||
                                      field.kind == GgufField::Kind::dim ||
                                      field.kind == GgufField::Kind::offset ||
                                      field.kind == GgufField::Kind::tensor_type;
                if (why.empty() || !in_place) continue;
                EXPECT_TRUE(contains_any(why, good.names) || contains_any(why, kQuantities) ||
                            is_missing(why))
                    << field.owner << " at " << value << ": " << why;
            }
            put(image, field.at, before, field.bytes);
        }
        EXPECT_GT(n_refused, static_cast<int>(good.fields.size()));
        ASSERT_EQ(outcome(image), "");
    }
}

TEST(DamagedGoldens, GgufFilesThatAreCut) {
    for (const fs::path& path : golden_models(true)) {
        SCOPED_TRACE(path);
        const Bytes image = read<Bytes>(path);
        const std::size_t header = GgufFields(image).header_bytes();
        constexpr std::size_t kHeaderStep = 23;
        constexpr std::size_t kPadding = 64;
        for (std::size_t n = 0; n + kPadding < image.size();
             n += n < header ? kHeaderStep : std::max<std::size_t>(1, image.size() / 97)) {
            const Bytes cut(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(n));
            EXPECT_NE(outcome(cut), "") << n;
        }
    }
}

TEST(DamagedGoldens, GgufTensorsOverEachOtherTurnedOrRenamed) {
    for (const fs::path& path : golden_models(true)) {
        SCOPED_TRACE(path);
        Bytes image = read<Bytes>(path);
        const GgufFields good(image);
        const std::vector<std::string> unused = unused_of(image);
        for (std::size_t i = 0; i < good.tensors.size(); ++i) {
            const test::GgufTensorFields& tensor = good.tensors[i];
            const Bytes before = image;
            if (i > 0) {
                const test::GgufTensorFields& other = good.tensors[i - 1];
                put(image, tensor.offset_at, get(image, other.offset_at, 8), 8);
                const std::string why = outcome(image);
                EXPECT_TRUE(contains_any(why, {tensor.name, other.name})) << why;
                image = before;
            }
            if (tensor.dims.size() == 2) {
                const std::uint64_t first = get(image, tensor.dims[0], 8);
                const std::uint64_t second = get(image, tensor.dims[1], 8);
                put(image, tensor.dims[0], second, 8);
                put(image, tensor.dims[1], first, 8);
                const std::string why = outcome(image);
                EXPECT_TRUE(first == second || contains_any(why, {tensor.name}) ||
                            contains_any(tensor.name, unused))
                    << tensor.name << ": " << why;
                image = before;
            }
            // Missing under its name, it is asked for, unless the family can do without.
            image[tensor.name_at] = '~';
            const auto model = ModelFile::from_memory(image, "image");
            if (model) {
                EXPECT_TRUE(std::ranges::any_of(model->weights().unused(), [](const auto& name) {
                    return name.find('~') != name.npos;
                })) << tensor.name;
            } else {
                const std::string_view why = model.error().message();
                EXPECT_TRUE(contains_any(why, good.names) || is_missing(why)) << why;
            }
            image = before;
        }
    }
}

/// A directory in memory: config.json and the headers of its shards.
struct Directory {
    std::string config;
    std::vector<Bytes> shards;
    std::vector<std::string> names;  ///< of tensors and members of the configuration
    std::vector<std::string> unused; ///< tensors that no weight of the good model is from

    explicit Directory(const fs::path& path) : config(read<std::string>(path / "config.json")) {
        std::vector<fs::path> files;
        for (const auto& entry : fs::directory_iterator(path)) {
            if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
        }
        std::ranges::sort(files);
        for (const fs::path& file : files)
            shards.push_back(read<Bytes>(file));
        for (const test::JsonValue& value : test::json_values(config))
            names.push_back(value.key);
        for (const Bytes& shard : shards) {
            const std::string text = header(shard);
            for (const test::JsonValue& value : test::json_values(text))
                names.push_back(value.owner);
        }
        EXPECT_EQ(outcome(config, 0, shards[0], &unused), "");
    }

    static std::string header(const Bytes& shard) {
        const std::uint64_t length = get(shard, 0, 8);
        return {shard.begin() + 8, shard.begin() + 8 + static_cast<std::ptrdiff_t>(length)};
    }

    static Bytes with_header(const Bytes& shard, const std::string& text) {
        const std::uint64_t length = get(shard, 0, 8);
        Bytes out(8);
        put(out, 0, text.size(), 8);
        out.insert(out.end(), text.begin(), text.end());
        out.insert(out.end(), shard.begin() + 8 + static_cast<std::ptrdiff_t>(length), shard.end());
        return out;
    }

    /// Loads with one shard replaced; the reason when it is refused.
    std::string outcome(const std::string& config_json, std::size_t replaced, const Bytes& image,
                        std::vector<std::string>* unused_names = nullptr) const {
        g_largest = 0;
        std::vector<SafetensorsModel> models;
        std::vector<TensorInfo> tensors;
        for (std::size_t i = 0; i < shards.size(); ++i) {
            auto model = SafetensorsModel::from_memory(i == replaced ? image : shards[i], "shard");
            if (!model) return std::string(model.error().message());
            for (const TensorInfo& tensor : model->tensors())
                tensors.push_back(tensor);
            models.push_back(std::move(*model));
        }
        const auto read_config = read_hf_config(config_json, find_hf_parts(tensors));
        if (!read_config) return std::string(read_config.error().message());
        const auto weights =
            load_hf_weights(read_config->model, read_config->quantization, tensors);
        EXPECT_LE(g_largest, 4 * image.size() + kSpareBytes);
        if (!weights) return std::string(weights.error().message());
        if (unused_names != nullptr)
            unused_names->assign(weights->unused().begin(), weights->unused().end());
        std::vector<float> row;
        for (const WeightView& view : weights->all()) {
            row.resize(static_cast<std::size_t>(view.matrix.k));
            dequantise_row(view, view.matrix.rows * view.n_matrices() - 1, row);
        }
        return {};
    }
};

std::string replaced(std::string text, const test::JsonValue& at, std::string_view by) {
    return text.replace(at.begin, at.end - at.begin, by);
}

TEST(DamagedGoldens, EveryNumberOfASafetensorsHeader) {
    constexpr const char* kNumbers[] = {
        "0",   "1",   "-1", "9007199254740991", "18446744073709551615", "18446744073709551616",
        "1e3", "null"};
    for (const fs::path& path : golden_models(false)) {
        SCOPED_TRACE(path);
        const Directory good(path);
        ASSERT_EQ(good.outcome(good.config, 0, good.shards[0]), "");
        for (std::size_t s = 0; s < good.shards.size(); ++s) {
            const std::string header = Directory::header(good.shards[s]);
            const auto values = test::json_values(header);
            for (std::size_t i = 0; i < values.size(); ++i) {
                const test::JsonValue& value = values[i];
                if (value.owner == "__metadata__") continue;
                const std::string_view before =
                    std::string_view(header).substr(value.begin, value.end - value.begin);
                for (const char* by : kNumbers) {
                    if (before == by) continue;
                    const Bytes image =
                        Directory::with_header(good.shards[s], replaced(header, value, by));
                    const std::string why = good.outcome(good.config, s, image);
                    // What is no number of JSON's ends the reading of all of it.
                    EXPECT_TRUE(why.find(value.owner) != why.npos ||
                                why.find("header is wrong") != why.npos)
                        << value.owner << " " << value.key << " = " << by << ": " << why;
                }
            }
        }
    }
}

TEST(DamagedGoldens, SafetensorsFilesThatAreCut) {
    for (const fs::path& path : golden_models(false)) {
        SCOPED_TRACE(path);
        const Directory good(path);
        const Bytes& image = good.shards[0];
        const std::size_t header = get(image, 0, 8) + 8;
        for (std::size_t n = 0; n < image.size();
             n += n < header ? 41 : std::max<std::size_t>(1, image.size() / 97)) {
            const Bytes cut(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(n));
            EXPECT_NE(good.outcome(good.config, 0, cut), "") << n;
        }
    }
}

TEST(DamagedGoldens, SafetensorsThatAreOverEachOtherOrTurned) {
    for (const fs::path& path : golden_models(false)) {
        SCOPED_TRACE(path);
        const Directory good(path);
        for (std::size_t s = 0; s < good.shards.size(); ++s) {
            const std::string header = Directory::header(good.shards[s]);
            const auto values = test::json_values(header);
            std::string last_begin;
            for (std::size_t i = 0; i + 1 < values.size(); ++i) {
                const test::JsonValue& value = values[i];
                const test::JsonValue& next = values[i + 1];
                const auto text = [&](const test::JsonValue& v) {
                    return header.substr(v.begin, v.end - v.begin);
                };
                if (value.owner != next.owner || value.key != next.key) continue;
                // The taps of a convolution come either way.
                const bool conv = value.owner.find("conv") != value.owner.npos;
                if (value.key == "shape" && !conv && text(value) != text(next)) {
                    // Both at once, so that the number of elements stays.
                    std::string turned = replaced(header, next, text(value));
                    turned = replaced(std::move(turned), value, text(next));
                    const std::string why = good.outcome(
                        good.config, s, Directory::with_header(good.shards[s], turned));
                    EXPECT_TRUE(contains_any(value.owner, good.unused) ||
                                may_be_turned(value.owner) ||
                                why.find(value.owner.substr(0, value.owner.rfind('.'))) != why.npos)
                        << value.owner << ": " << why;
                }
                if (value.key != "data_offsets") continue;
                if (!last_begin.empty() && last_begin != text(value)) {
                    const std::string why =
                        good.outcome(good.config, s,
                                     Directory::with_header(good.shards[s],
                                                            replaced(header, value, last_begin)));
                    EXPECT_NE(why.find(value.owner), why.npos) << value.owner << ": " << why;
                }
                last_begin = text(value);
            }
        }
    }
}

TEST(DamagedGoldens, EveryMemberOfAConfiguration) {
    constexpr const char* kTexts[] = {"0",     "1",    "-1",   "2147483648", "9223372036854775808",
                                      "1e308", "0.5",  "null", "\"\"",       "[]",
                                      "{}",    "true", "[1]"};
    for (const fs::path& path : golden_models(false)) {
        SCOPED_TRACE(path);
        const Directory good(path);
        int n_refused = 0;
        for (const test::JsonValue& value : test::json_values(good.config)) {
            for (const char* by : kTexts) {
                const std::string why =
                    good.outcome(replaced(good.config, value, by), 0, good.shards[0]);
                n_refused += why.empty() ? 0 : 1;
                EXPECT_TRUE(why.empty() || contains_any(why, good.names) ||
                            contains_any(why, kQuantities))
                    << value.key << " = " << by << ": " << why;
            }
        }
        EXPECT_GT(n_refused, 50);
    }
}

} // namespace
} // namespace bloom::engine
