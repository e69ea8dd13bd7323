#include "engine/config/families.hpp"

namespace bloom::engine::config {

Result<> read_hf_decoder_sizes(const hf::Fields& f, ModelConfig& c) {
    BLOOM_TRY(c.n_layers, f.integer("num_hidden_layers"));
    BLOOM_TRY(c.d_model, f.integer("hidden_size"));
    BLOOM_TRY(c.n_heads, f.integer("num_attention_heads"));
    BLOOM_TRY(c.n_kv_heads, f.integer("num_key_value_heads"));
    BLOOM_TRY(c.head_dim, f.integer("head_dim"));
    BLOOM_TRY(c.vocab_rows, f.integer("vocab_size"));
    BLOOM_TRY(c.ctx_len, f.integer("max_position_embeddings"));
    return {};
}

} // namespace bloom::engine::config
