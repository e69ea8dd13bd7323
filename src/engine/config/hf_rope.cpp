#include <cmath>

#include "engine/config/families.hpp"

namespace bloom::engine::config {

using hf::Fields;
using hf::unsupported;

namespace {

Result<> read_yarn(const Fields& f, ModelConfig& c) {
    for (const char* key : {"mscale", "mscale_all_dim"}) {
        if (f.find(key)) return unsupported("rope scaling with {} is not supported", key);
    }
    BLOOM_TRY(const bool truncate, f.boolean_or("truncate", true));
    if (!truncate) return unsupported("rope scaling with truncate = false is not supported");
    RopeScaling& s = c.rope_scaling;
    s.kind = RopeScalingKind::yarn;
    BLOOM_TRY(s.factor, f.real("factor"));
    BLOOM_TRY(s.original_ctx_len, f.integer_or("original_max_position_embeddings", c.ctx_len));
    BLOOM_TRY(s.beta_fast, f.real_or("beta_fast", 32.0));
    BLOOM_TRY(s.beta_slow, f.real_or("beta_slow", 1.0));
    BLOOM_TRY(s.attention_factor, f.real_or("attention_factor", 0.1 * std::log(s.factor) + 1.0));
    return {};
}

} // namespace

Result<> read_hf_rope_scaling(const Fields& f, ModelConfig& c) {
    BLOOM_TRY(const std::string old_type, f.text_or("type", ""));
    BLOOM_TRY(const std::string type, f.text_or("rope_type", old_type));
    RopeScaling& s = c.rope_scaling;
    if (type == "default") return {};
    if (type == "linear") {
        s.kind = RopeScalingKind::linear;
        BLOOM_TRY(s.factor, f.real("factor"));
        return {};
    }
    if (type == "llama3") {
        s.kind = RopeScalingKind::llama3;
        BLOOM_TRY(s.factor, f.real("factor"));
        BLOOM_TRY(s.low_freq_factor, f.real("low_freq_factor"));
        BLOOM_TRY(s.high_freq_factor, f.real("high_freq_factor"));
        BLOOM_TRY(s.original_ctx_len, f.integer("original_max_position_embeddings"));
        return {};
    }
    if (type == "yarn") return read_yarn(f, c);
    return unsupported("rope type {} is not supported; default, linear, llama3 and yarn are",
                       bloom::quoted(type));
}

// None at all would be a rotary_dim of 0, which stands for all.
Result<std::int64_t> hf_rotated_part(double share, std::int64_t head_dim, std::string_view where) {
    if (share > 0.0 && share <= 1.0) {
        const std::int64_t part = std::llround(share * static_cast<double>(head_dim));
        if (part > 0) return part;
    }
    return hf::corrupt("{}: partial_rotary_factor is {}", where, share);
}

Result<> read_hf_rope(const Fields& f, ModelConfig& c) {
    BLOOM_TRY(c.rope_theta, f.real_or("rope_theta", c.rope_theta));
    BLOOM_TRY(const auto parameters, f.object("rope_parameters"));
    if (parameters) {
        if (parameters->find("full_attention") || parameters->find("sliding_attention")) {
            return unsupported("rope_parameters for single layer types are not supported");
        }
        BLOOM_TRY(c.rope_theta, parameters->real_or("rope_theta", c.rope_theta));
        return read_hf_rope_scaling(*parameters, c);
    }
    BLOOM_TRY(const auto scaling, f.object("rope_scaling"));
    return scaling ? read_hf_rope_scaling(*scaling, c) : Result<>();
}

} // namespace bloom::engine::config
