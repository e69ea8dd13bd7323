#include <cmath>

#include "engine/config/families.hpp"

namespace bloom::engine::config {
namespace {

Result<> read_yarn(const ArchKeys& keys, ModelConfig& c) {
    for (const char* name : {"rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor",
                             "rope.scaling.yarn_log_multiplier"}) {
        BLOOM_TRY(const double value, keys.real_or(name, 1.0));
        if (value != 1.0) {
            return Error{Code::unsupported,
                         fmt::format("{} is {}; only 1 is supported", keys.key(name), value)};
        }
    }
    RopeScaling& s = c.rope_scaling;
    BLOOM_TRY(s.original_ctx_len,
              keys.integer_or("rope.scaling.original_context_length", c.ctx_len, 1, kMaxCtxLen));
    BLOOM_TRY(s.beta_fast, keys.real_or("rope.scaling.yarn_beta_fast", s.beta_fast));
    BLOOM_TRY(s.beta_slow, keys.real_or("rope.scaling.yarn_beta_slow", s.beta_slow));
    BLOOM_TRY(const double extra, keys.real_or("rope.scaling.attn_factor", 1.0));
    s.attention_factor =
        extra * (0.1 * std::log(s.factor) + 1.0); // a bad factor is found by validate
    return {};
}

} // namespace

Result<> read_gguf_rope(const ArchKeys& keys, const GgufFile& file, ModelConfig& c) {
    BLOOM_TRY(c.rope_theta, keys.real_or("rope.freq_base", c.rope_theta));
    BLOOM_TRY(const std::string_view type, keys.text_or("rope.scaling.type", "none"));
    RopeScaling& s = c.rope_scaling;
    if (type == "linear") {
        s.kind = RopeScalingKind::linear;
    } else if (type == "yarn") {
        s.kind = RopeScalingKind::yarn;
    } else if (type != "none") {
        return Error{Code::unsupported,
                     fmt::format("rope scaling type {} is not supported; none, linear and yarn are",
                                 bloom::quoted(type))};
    } else if (keys.has("rope.scale_linear")) { // the key of files from before rope.scaling.*
        BLOOM_TRY(s.factor, keys.real_or("rope.scale_linear", 1.0));
        if (s.factor != 1.0) s.kind = RopeScalingKind::linear;
    }
    if (type != "none") {
        BLOOM_TRY(s.factor, keys.real_or("rope.scaling.factor", 1.0));
    }
    if (s.kind == RopeScalingKind::yarn) {
        BLOOM_OK(read_yarn(keys, c));
    }
    if (file.find_tensor("rope_freqs.weight") == nullptr) return {};
    if (s.kind != RopeScalingKind::none) {
        return Error{
            Code::unsupported,
            fmt::format("frequency divisors together with rope scaling {} are not supported",
                        to_string(s.kind))};
    }
    s.kind = RopeScalingKind::factors;
    return {};
}

} // namespace bloom::engine::config
