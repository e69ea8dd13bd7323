#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What an estimate needs to know of a model and of a machine. Plain values.
namespace bloom::fit {

inline constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

/// What a model is for; the label clients filter by.
enum class Category : std::uint8_t { general, coding, reasoning, chat, multimodal, embedding };

/// "General", "Coding" and so on.
std::string_view label(Category category) noexcept;

/// How the layers of a model remember what they have read; the pattern repeats over the layers.
struct Attention {
    enum class Kind : std::uint8_t {
        full,    ///< every layer keeps every token
        sliding, ///< `others` layers keep the last `window` tokens, then `full` keep all
        linear,  ///< `others` layers keep a state of constant size, then `full` keep all
        latent,  ///< every layer keeps `latent` elements a token instead of keys and values
        unknown, ///< a hybrid whose pattern is not known
    };
    Kind kind = Kind::full;
    std::int32_t others = 0;
    std::int32_t full = 1;
    std::int32_t window = 0;
    std::int32_t latent = 0;
};

/// Facts about a published model; 0 or empty: unknown.
struct ModelFacts {
    std::string name; ///< organisation/model
    std::string provider;
    std::int64_t params = 0;
    std::int64_t active_params = 0; ///< of one token, mixture of experts only
    std::int32_t n_experts = 0;
    std::int32_t n_experts_used = 0;
    std::int64_t context_length = 0;
    std::string release_date; ///< YYYY-MM-DD
    std::string architecture;
    std::string use_case_text;
    std::optional<Category> category;    ///< absent: inferred from name and text
    std::string quantization = "Q4_K_M"; ///< what it is published in by default
    std::string format = "gguf";
    std::string license;
    std::int32_t n_layers = 0;
    std::int32_t n_heads = 0;
    std::int32_t n_kv_heads = 0;
    std::int32_t head_dim = 0;
    std::int32_t hidden = 0;
    std::int32_t vocab = 0;
    std::int32_t ffn = 0;        ///< width of the feed-forward network, or of one expert
    std::int32_t shared_ffn = 0; ///< width of the experts that every token uses
    Attention attention;
    std::vector<std::string> gguf_repos;
    std::vector<std::string> only_quants; ///< the ones that exist; empty: any GGUF quantization

    bool is_moe() const noexcept { return n_experts > 0; }

    double params_b() const noexcept { return static_cast<double>(params) / 1e9; }

    double active_b() const noexcept { return static_cast<double>(active_params) / 1e9; }
};

/// Cards of one kind.
struct GpuFacts {
    std::string name;
    std::optional<double> vram_gb; ///< of one card
    std::string backend = "Vulkan";
    std::int32_t count = 1;
    bool unified = false; ///< shares the processor's memory
    std::optional<double> bandwidth_gbps;
    std::string driver;
};

struct SystemFacts {
    double total_ram_gb = 0;
    double available_ram_gb = 0;
    std::int32_t n_cpus = 0; ///< logical ones that may be used
    std::string cpu_name;
    bool arm = false;
    std::vector<GpuFacts> gpus; ///< the primary one first
    std::optional<double> gpu_available_gb;
    std::optional<double> memory_bandwidth_gbps; ///< of the host, measured

    bool has_gpu() const noexcept { return !gpus.empty(); }

    bool unified() const noexcept { return has_gpu() && gpus.front().unified; }

    /// "CPU (x86)" or "CPU (ARM)" without a GPU.
    std::string_view backend() const noexcept;
    /// Memory of all cards together; 0: unknown or none.
    double vram_total_gb() const noexcept;
    std::int32_t n_gpus() const noexcept;
};

/// Figures that follow from the parameters and the default quantization (fit API section 5.3).
struct PublishedNeeds {
    double min_ram_gb = 0;
    double recommended_ram_gb = 0;
    double min_vram_gb = 0;
};

PublishedNeeds published_needs(const ModelFacts& model);

/// "7.6B", "14B", "137M" (section 5.4).
std::string parameter_count(std::int64_t params);

/// The category that the model states, or what its name and text suggest (section 3.9).
Category category_of(const ModelFacts& model);

/// Names of capabilities ("vision", "tool_use", "audio", "tts") that name and text suggest.
std::vector<std::string> capabilities_of(const ModelFacts& model);

} // namespace bloom::fit
