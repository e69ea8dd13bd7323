#pragma once

#include <bloom/base/result.hpp>
#include <bloom/engine/gguf.hpp>
#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/model_config.hpp>

#include "engine/gguf_keys.hpp"
#include "engine/hf_fields.hpp"

/// How each family writes its configuration, in either container. Readers fill in everything but
/// what tensors say for all families alike (rows of the vocabulary in GGUF); validate() comes after
/// them.
namespace bloom::engine::config {

// --- parts
// ----------------------------------------------------------------------------------------

/// Layers, width, heads, vocabulary and context of a family that states them all; none has a
/// default or follows from others. Errors: corrupt, naming what is missing.
Result<> read_hf_decoder_sizes(const hf::Fields& f, ModelConfig& c);
/// `rope_theta` and `rope_scaling`, or both inside `rope_parameters`, which newer files have.
Result<> read_hf_rope(const hf::Fields& f, ModelConfig& c);
/// The dimensions of a head that a `partial_rotary_factor` of `share` means, at least one.
/// Errors: corrupt; `where` has the factor.
Result<std::int64_t> hf_rotated_part(double share, std::int64_t head_dim, std::string_view where);
/// The scaling alone, from the object that has its type.
Result<> read_hf_rope_scaling(const hf::Fields& f, ModelConfig& c);
/// The base of the frequencies and their scaling.
Result<> read_gguf_rope(const ArchKeys& keys, const GgufFile& file, ModelConfig& c);

// --- families
// -------------------------------------------------------------------------------------

/// Qwen3.5, dense and with experts.
Result<> read_hf_qwen35(const hf::Fields& top, const HfParts& parts, ModelConfig& c);
Result<> read_gguf_qwen35(const ArchKeys& keys, const GgufFile& file, ModelConfig& c);

// What all models of a family have, whatever their files say; sizes are there already.
void assume_gemma4(ModelConfig& c);
void assume_afmoe(ModelConfig& c);
void assume_minimax_m2(ModelConfig& c);

/// Gemma 4, with experts and without; of the sizes that have no embeddings in every layer.
Result<> read_hf_gemma4(const hf::Fields& top, const HfParts& parts, ModelConfig& c);
Result<> read_gguf_gemma4(const ArchKeys& keys, const GgufFile& file, ModelConfig& c);

Result<> read_hf_afmoe(const hf::Fields& f, const HfParts& parts, ModelConfig& c);
Result<> read_gguf_afmoe(const ArchKeys& keys, const GgufFile& file, ModelConfig& c);

Result<> read_hf_minimax_m2(const hf::Fields& f, const HfParts& parts, ModelConfig& c);
Result<> read_gguf_minimax_m2(const ArchKeys& keys, const GgufFile& file, ModelConfig& c);

} // namespace bloom::engine::config
