#include <fmt/format.h>

#include <bloom/engine/arch.hpp>

namespace bloom::engine {

Result<std::unique_ptr<const Graph>> load_graph(const ModelFile& file, compute::Backend& backend,
                                                const ArchOptions& options) {
    switch (file.config().arch) {
    case Arch::llama:
    case Arch::qwen2:
    case Arch::qwen3:
        return load_dense(file, backend, options);
    case Arch::qwen3_moe:
        return load_qwen3_moe(file, backend, options);
    case Arch::qwen35:
    case Arch::qwen35_moe:
        return load_qwen35(file, backend, options);
    case Arch::gemma4:
        return load_gemma4(file, backend, options);
    case Arch::afmoe:
        return load_afmoe(file, backend, options);
    case Arch::minimax_m2:
        return load_minimax_m2(file, backend, options);
    }
    return Error{Code::unsupported,
                 fmt::format("no graph for architecture {}", to_string(file.config().arch))};
}

} // namespace bloom::engine
