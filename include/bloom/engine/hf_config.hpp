#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/engine/model_config.hpp>
#include <bloom/engine/tensor_info.hpp>

namespace bloom::engine {

/// How MLX quantised one module. The engine runs affine, 8 bits, group 64.
struct QuantizationSettings {
    std::int64_t bits = 8;
    std::int64_t group_size = 64;
    std::string mode = "affine";
};

/// The `quantization` object of config.json: defaults and entries for single modules. Whether a
/// module is quantised is decided by the file, that is by `<module>.scales`; this only says how.
struct HfQuantization {
    bool present = false;
    QuantizationSettings defaults;

    struct Override {
        bool quantised = true;
        QuantizationSettings settings;
    };

    std::map<std::string, Override, std::less<>> overrides; ///< by canonical module path

    /// Settings for a module, in any of the spellings of its path; {false, …} when the map denies
    /// it.
    Override lookup(std::string_view module_path) const;
};

/// One spelling for the paths that MLX and Hugging Face write differently:
/// `language_model.model.X` and `model.language_model.X` are `model.X`, `language_model.lm_head` is
/// `lm_head`, `model.visual.X` is `vision_tower.X`. Names of tensors are spelled alike.
std::string canonical_module_path(std::string_view path);

struct HfConfig {
    ModelConfig model;
    HfQuantization quantization;
    std::string model_type;
};

/// Largest config.json that is read.
inline constexpr std::uint64_t kMaxConfigJsonBytes = 4U << 20;

/// Parts of a model that its configuration may announce or deny, as the tensors have them.
struct HfParts {
    bool output_head = false; ///< lm_head
    bool draft_head = false;  ///< mtp
};

HfParts find_hf_parts(std::span<const TensorInfo> tensors);

/// Reads config.json, validated; of multimodal models the text part. `parts` decide about a tied
/// head where the file does not, and whether there is a draft head. Errors: unsupported
/// (model_type, rope type, activation, a quantisation that is not MLX affine), corrupt (not JSON,
/// missing or absurd values); the message names the key.
Result<HfConfig> read_hf_config(std::string_view json_text, const HfParts& parts);

} // namespace bloom::engine
