#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/safetensors.hpp>
#include <bloom/engine/weights.hpp>

#include "engine/roles.hpp"
#include "support/safetensors_writer.hpp"

/// Every spelling in which directories keep the experts of a layer means the same matrices.
namespace bloom::engine {
namespace {

using test::SafetensorsWriter;
using Shape = std::vector<std::int64_t>;

constexpr std::int64_t kExperts = 3;
constexpr std::int64_t kWidth = 64;
constexpr std::int64_t kFfn = 32;

ModelConfig tiny(Arch arch) {
    ModelConfig c;
    c.arch = arch;
    c.n_layers = 1;
    c.d_model = kWidth;
    c.n_heads = 2;
    c.n_kv_heads = 1;
    c.head_dim = 32;
    c.vocab_rows = 40;
    c.ffn_dim = 64;
    c.tied_output = true;
    c.experts.n_experts = kExperts;
    c.experts.top_k = 2;
    c.experts.ffn_dim = kFfn;
    return c;
}

/// Matrix `which` (gate, up, down) of an expert, all its elements alike.
std::vector<float> values(int which, std::int64_t expert) {
    return std::vector<float>(static_cast<std::size_t>(kWidth * kFfn),
                              static_cast<float>(10 * which + expert));
}

Shape shape(int which) {
    return which == 2 ? Shape{kWidth, kFfn} : Shape{kFfn, kWidth};
}

std::string stacked(const std::vector<int>& parts) {
    std::vector<float> all;
    for (std::int64_t e = 0; e < kExperts; ++e) {
        for (const int which : parts) {
            const auto one = values(which, e);
            all.insert(all.end(), one.begin(), one.end());
        }
    }
    return SafetensorsWriter::bytes(all);
}

constexpr const char* kLong[] = {"gate_proj", "up_proj", "down_proj"};
constexpr const char* kShort[] = {"w1", "w3", "w2"};

void put_single(SafetensorsWriter& w, const std::string& place, const char* const* names) {
    for (std::int64_t e = kExperts - 1; e >= 0; --e) { // the order in the file means nothing
        for (const int which : {0, 1, 2}) {
            w.add(place + "." + std::to_string(e) + "." + names[which] + ".weight", "F32",
                  shape(which), SafetensorsWriter::bytes(values(which, e)));
        }
    }
}

void put_stacks(SafetensorsWriter& w, const std::string& place, const std::string& suffix) {
    for (const int which : {0, 1, 2}) {
        Shape with_experts{kExperts};
        for (const std::int64_t dim : shape(which))
            with_experts.push_back(dim);
        w.add(place + "." + kLong[which] + suffix, "F32", with_experts, stacked({which}));
    }
}

void put_merged(SafetensorsWriter& w, const std::string& place, const std::string& suffix) {
    w.add(place + ".gate_up_proj" + suffix, "F32", {kExperts, 2 * kFfn, kWidth}, stacked({0, 1}));
    w.add(place + ".down_proj" + suffix, "F32", {kExperts, kWidth, kFfn}, stacked({2}));
}

/// Everything but the experts; `spell` may change names.
void put_rest(SafetensorsWriter& w, const ModelConfig& c, const std::string& prefix,
              const std::function<std::string(std::string)>& spell) {
    for (std::int64_t layer = -1; layer < c.n_layers; ++layer) {
        for (const roles::RoleInfo& role : roles::all()) {
            if (role.per_layer != (layer >= 0) || role.kind == roles::Kind::experts ||
                !roles::is_wanted(role.role, c, layer))
                continue;
            const roles::Names names = roles::names(role.role, c.arch);
            std::string name(names.hf);
            if (layer >= 0) name = "model.layers.0." + name;
            if (!names.hf_suffix.empty()) name += "." + std::string(names.hf_suffix);
            if (name.starts_with("model.")) name = prefix + name.substr(6);
            const auto [rows, k] = roles::expected_shape(role.role, c, layer);
            const Shape dims = role.kind == roles::Kind::vector ? Shape{k} : Shape{rows, k};
            w.add(spell(name), "F32", dims,
                  std::string(static_cast<std::size_t>(rows * k * 4), '\0'));
        }
    }
}

struct Spelling {
    Arch arch;
    const char* prefix;
    std::function<void(SafetensorsWriter&)> put;
    std::function<std::string(std::string)> spell = [](std::string name) { return name; };
};

TEST(ExpertNames, AllSpellingsMeanTheSame) {
    const auto newer = [](std::string name) {
        const std::size_t at = name.find("block_sparse_moe");
        return at == std::string::npos ? name : name.replace(at, 16, "mlp");
    };
    const std::string layer = "model.layers.0.";
    const std::string outer = "language_model.model.layers.0.";
    const std::string inner = "model.language_model.layers.0.";
    const std::vector<Spelling> spellings = {
        {Arch::qwen3_moe, "model.", [&](auto& w) { put_single(w, layer + "mlp.experts", kLong); }},
        {Arch::qwen3_moe, "model.",
         [&](auto& w) { put_stacks(w, layer + "mlp.switch_mlp", ".weight"); }},
        {Arch::qwen35_moe, "model.language_model.",
         [&](auto& w) { put_merged(w, inner + "mlp.experts", ""); }},
        {Arch::qwen35_moe, "language_model.model.",
         [&](auto& w) { put_merged(w, outer + "mlp.experts", ".weight"); }},
        {Arch::afmoe, "model.", [&](auto& w) { put_single(w, layer + "mlp.experts", kLong); }},
        {Arch::afmoe, "model.", [&](auto& w) { put_stacks(w, layer + "mlp.experts", ".weight"); }},
        {Arch::afmoe, "model.", [&](auto& w) { put_merged(w, layer + "mlp.experts", ""); }},
        {Arch::gemma4, "model.language_model.",
         [&](auto& w) { put_merged(w, inner + "experts", ""); }},
        {Arch::gemma4, "language_model.model.",
         [&](auto& w) { put_stacks(w, outer + "experts.switch_glu", ".weight"); }},
        {Arch::minimax_m2, "model.",
         [&](auto& w) { put_single(w, layer + "block_sparse_moe.experts", kShort); }},
        {Arch::minimax_m2, "model.",
         [&](auto& w) { put_stacks(w, layer + "block_sparse_moe.switch_mlp", ".weight"); }},
        {Arch::minimax_m2, "model.", [&](auto& w) { put_merged(w, layer + "mlp.experts", ""); },
         newer},
    };
    for (const Spelling& spelling : spellings) {
        ModelConfig c = tiny(spelling.arch);
        c.experts.selection_bias = spelling.arch == Arch::minimax_m2;
        SafetensorsWriter w;
        put_rest(w, c, spelling.prefix, spelling.spell);
        spelling.put(w);
        w.add("model.visual.blocks.0.weight", "F32", {1}, std::string(4, '\0'));
        w.add("mtp.fc.weight", "F32", {1}, std::string(4, '\0'));
        const auto image = w.build();
        const auto file = SafetensorsModel::from_memory(image, "image");
        ASSERT_TRUE(file) << file.error().message();
        const std::string what = w.tensors.back().name + " of " + std::string(to_string(c.arch));
        const auto weights = load_hf_weights(c, {}, file->tensors());
        ASSERT_TRUE(weights) << what << ": " << weights.error().message();
        EXPECT_TRUE(weights->unused().empty()) << weights->unused().front();
        const Role roles[] = {Role::w_gate_exps, Role::w_up_exps, Role::w_down_exps};
        std::uint64_t bytes = 0;
        for (int which = 0; which < 3; ++which) {
            const WeightView& view = weights->at(roles[which], 0);
            ASSERT_EQ(view.n_matrices(), kExperts);
            bytes += view.bytes();
            std::vector<float> row(static_cast<std::size_t>(view.matrix.k));
            for (std::int64_t e = 0; e < kExperts; ++e) {
                for (const std::int64_t r : {std::int64_t{0}, view.matrix.rows - 1}) {
                    dequantise_row(view, e * view.matrix.rows + r, row);
                    EXPECT_EQ(row.front(), static_cast<float>(10 * which + e)) << what;
                    EXPECT_EQ(row.back(), static_cast<float>(10 * which + e)) << what;
                }
            }
        }
        EXPECT_EQ(bytes, 3U * kExperts * kWidth * kFfn * 4) << what;
    }
}

TEST(ExpertNames, FaultsAreNamed) {
    const ModelConfig c = tiny(Arch::minimax_m2);
    const auto load = [&](const std::function<void(SafetensorsWriter&)>& put) {
        SafetensorsWriter w;
        put_rest(w, c, "model.", [](std::string name) { return name; });
        put(w);
        const auto image = w.build();
        const auto file = SafetensorsModel::from_memory(image, "image");
        EXPECT_TRUE(file);
        const auto weights = load_hf_weights(c, {}, file->tensors());
        return weights ? std::string() : std::string(weights.error().message());
    };
    const std::string place = "model.layers.0.block_sparse_moe.experts";
    EXPECT_NE(load([](auto&) {}).find("block_sparse_moe.switch_mlp.gate_proj.weight\" is missing"),
              std::string::npos);
    EXPECT_NE(load([&](auto& w) {
                  put_single(w, place, kShort);
                  std::erase_if(w.tensors,
                                [](const auto& t) { return t.name.ends_with("1.w3.weight"); });
              }).find("experts.1.w3.weight\" is missing"),
              std::string::npos);
    EXPECT_NE(load([&](auto& w) {
                  put_merged(w, place, "");
                  auto& merged = w.tensors[w.tensors.size() - 2];
                  merged.shape = {kExperts, kFfn, 2 * kWidth};
              }).find("has the shape [3, 32, 128], the configuration asks for [3, 64, 64]"),
              std::string::npos);
    // The original release.
    EXPECT_NE(load([&](auto& w) {
                  put_single(w, place, kShort);
                  for (auto& t : w.tensors) {
                      if (!t.name.ends_with("0.w1.weight")) continue;
                      t.dtype = "F8_E4M3";
                      t.data.resize(t.data.size() / 4);
                  }
              }).find("experts.0.w1.weight\" is of type f8_e4m3; 8-bit floats"),
              std::string::npos);
}

} // namespace
} // namespace bloom::engine
