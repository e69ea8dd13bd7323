#include "cli/assessment.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bloom/base/text.hpp>
#include <bloom/hw/memory_info.hpp>
#include <bloom/provider/model_folder.hpp>

#include "cli/common.hpp"

namespace bloom::cli {
namespace {

std::vector<std::string> features_of(const engine::ModelFile& file) {
    const engine::ModelConfig& c = file.config();
    std::vector<std::string> out;
    const auto add = [&](bool has, std::string text) {
        if (has) out.push_back(std::move(text));
    };
    const auto count = [](const std::vector<std::uint8_t>& layers) {
        return std::ranges::count(layers, std::uint8_t{1});
    };
    const auto windowed = std::ranges::count_if(c.layer_windows, [](auto w) { return w > 0; });
    add(!c.linear.layers.empty(),
        fmt::format("{} of {} layers of linear attention", count(c.linear.layers), c.n_layers));
    add(windowed > 0, fmt::format("attention windows in {} of {} layers", windowed, c.n_layers));
    add(c.global_head_dim > 0, fmt::format("{} heads of {} in layers without a window",
                                           c.global_kv_heads, c.global_head_dim));
    add(c.global_k_is_v, "values of layers without a window from their keys");
    add(c.qk_norm, c.qk_norm_whole ? "queries and keys normalised as a whole"
                                   : "queries and keys normalised by head");
    add(c.attn_gate, "gate on the attention's output");
    add(c.rotary_dim > 0 && c.rotary_dim < c.head_dim,
        fmt::format("{} of {} dimensions rotated", c.rotary_dim, c.head_dim));
    add(!c.unrotated_layers.empty(),
        fmt::format("{} layers without rotation", count(c.unrotated_layers)));
    add(c.rope_scaling.kind != engine::RopeScalingKind::none,
        fmt::format("rope scaling {}", to_string(c.rope_scaling.kind)));
    add(c.experts.n_experts > 0 && c.experts.sigmoid, "sigmoid router");
    add(c.experts.selection_bias, "selection bias");
    add(c.experts.shared_ffn_dim > 0,
        fmt::format("shared expert of width {}", c.experts.shared_ffn_dim));
    add(c.attn_post_norm, "norms behind the blocks");
    add(c.logit_softcap > 0, fmt::format("logits capped at {}", c.logit_softcap));
    add(c.n_draft_layers > 0, fmt::format("{} draft layers", c.n_draft_layers));
    add(c.tied_output, "head tied to the embedding");
    return out;
}

Assessment::TokenizerReport report_tokenizer(const engine::ModelFile& file) {
    Assessment::TokenizerReport out;
    auto parts = file.tokenizer();
    if (!parts) {
        out.fault = std::string(parts.error().message());
        return out;
    }
    const auto made = text::Tokenizer::create(std::move(parts->vocab));
    if (!made) {
        out.fault = std::string(made.error().message());
        return out;
    }
    const text::Tokenizer& tokenizer = **made;
    out.n_tokens = tokenizer.n_tokens();
    out.stop_ids.assign(tokenizer.stop_ids().begin(), tokenizer.stop_ids().end());
    out.fingerprint = text::tokenizer_fingerprint(tokenizer);
    out.published = text::find_published(out.fingerprint);
    out.n_vectors = text::known_vectors(tokenizer).size();
    out.failing = text::failing_vectors(tokenizer);
    return out;
}

bool fits(const Assessment& a) {
    return a.usable_bytes == 0 ||
           static_cast<std::uint64_t>(a.need.least_bytes()) <= a.usable_bytes;
}

void write_tokenizer(json::Writer& w, const Assessment::TokenizerReport& t) {
    w.key("tokenizer").begin_object();
    if (!t.fault.empty()) {
        w.key("error").string(t.fault).end_object();
        return;
    }
    w.key("n_tokens").integer(t.n_tokens).key("stop_ids").begin_array();
    for (const std::int32_t id : t.stop_ids)
        w.integer(id);
    w.end_array().key("fingerprint").string(t.fingerprint).key("published_as");
    t.published != nullptr ? w.string(t.published->name) : w.null();
    w.key("known_vectors").integer(t.n_vectors);
    w.key("failing_vectors").begin_array();
    for (const text::IdVector& vector : t.failing)
        w.string(vector.text);
    w.end_array().end_object();
}

std::string tokenizer_as_text(const Assessment::TokenizerReport& t) {
    if (!t.fault.empty()) return fmt::format("tokenizer: cannot be used: {}\n", t.fault);
    std::string out = fmt::format(
        "tokenizer: {} tokens, stops at {}, {}\n", t.n_tokens, fmt::join(t.stop_ids, " "),
        t.published != nullptr ? fmt::format("behaves as published: {}", t.published->name)
                               : std::string("not one that is known"));
    for (const text::IdVector& vector : t.failing) {
        out += fmt::format("warning: {} does not become {}\n", bloom::quoted(vector.text),
                           fmt::join(vector.ids, " "));
    }
    return out;
}

} // namespace

Assessment assess(const engine::ModelFile& file, std::string_view source, std::int64_t n_layers,
                  bool precise) {
    const registry::Catalog& catalog = registry::Catalog::built_in();
    const registry::ModelFacts facts = provider::facts_of(file, source, {});
    Assessment out;
    out.need =
        engine::memory_need(file, n_layers, precise ? kernels::KvType::f32 : kernels::KvType::f16);
    out.entry = catalog.recognise(facts);
    if (out.entry == nullptr) out.same_shape = catalog.same_shape(facts.shape);
    out.quantization = facts.quantization;
    out.usable_bytes = hw::read_memory_info().usable_bytes();
    out.features = features_of(file);
    out.tokenizer = report_tokenizer(file);
    return out;
}

void write_assessment(json::Writer& w, const Assessment& a) {
    w.key("catalog_id");
    a.entry != nullptr ? w.string(a.entry->id) : w.null();
    w.key("quantization").string(a.quantization).key("features").begin_array();
    for (const std::string& feature : a.features)
        w.string(feature);
    w.end_array().key("memory").begin_object();
    w.key("packed_bytes").integer(a.need.packed_bytes);
    w.key("kv_bytes_per_token").integer(a.need.kv_bytes_per_token);
    w.key("window_bytes").integer(a.need.window_bytes);
    w.key("recurrent_bytes").integer(a.need.recurrent_bytes);
    w.key("groups").begin_array();
    for (const compute::KvGroupSpec& group : a.need.state.groups) {
        w.begin_object().key("n_layers").integer(group.n_layers);
        w.key("n_kv_heads").integer(group.n_kv_heads).key("head_dim").integer(group.k_dim);
        w.key("window").integer(group.window);
        w.key("bytes_per_token")
            .integer(compute::page_bytes(group) / compute::kPageTokens)
            .end_object();
    }
    w.end_array().key("least_bytes").integer(a.need.least_bytes());
    w.key("usable_bytes").integer(a.usable_bytes).key("fits").boolean(fits(a)).end_object();
    write_tokenizer(w, a.tokenizer);
}

std::string assessment_as_text(const Assessment& a) {
    const auto human = [](std::int64_t bytes) { return human_bytes(static_cast<double>(bytes)); };
    std::string out;
    if (a.entry != nullptr) {
        out += fmt::format("catalog: {} ({}, needs {} GB)\n", a.entry->id, a.entry->display_name,
                           a.entry->min_ram_gb);
    } else if (a.same_shape != nullptr) {
        out += fmt::format("catalog: none, though of the shape of {}; serve it as that with "
                           "--model PATH={} if it is\n",
                           a.same_shape->display_name, a.same_shape->id);
    }
    for (const compute::KvGroupSpec& group : a.need.state.groups) {
        const std::int64_t per_token = compute::page_bytes(group) / compute::kPageTokens;
        out += fmt::format("keys and values: {} layers, {} heads of {}: {} per token{}\n",
                           group.n_layers, group.n_kv_heads, group.k_dim, human(per_token),
                           group.window > 0 ? fmt::format(", at most {} tokens", group.window)
                                            : std::string());
    }
    if (a.need.state.recurrent) {
        out += fmt::format("recurrent state: {} layers, {} per sequence\n",
                           a.need.state.recurrent->n_layers, human(a.need.recurrent_bytes));
    }
    out += fmt::format("memory: {} of weights, {} at least; {}\n", human(a.need.packed_bytes),
                       human(a.need.least_bytes()),
                       a.usable_bytes == 0 ? std::string("memory of this machine unknown")
                       : fits(a)           ? fmt::format("fits, {} can be used here",
                                                         human(static_cast<std::int64_t>(a.usable_bytes)))
                                           : fmt::format("does NOT fit, {} can be used here",
                                                         human(static_cast<std::int64_t>(a.usable_bytes))));
    out += tokenizer_as_text(a.tokenizer);
    if (!a.features.empty()) out += fmt::format("features: {}\n", fmt::join(a.features, ", "));
    return out;
}

} // namespace bloom::cli
