#pragma once

#include <cstdint>

#include "kernels/kernel_table.hpp"
#include <bloom/base/result.hpp>
#include <bloom/engine/model_file.hpp>
#include <bloom/engine/state.hpp>

/// What a model takes in memory, computed from its headers alone.
namespace bloom::engine {

/// What a process needs besides weights and state: its own data, tokenizer, activations, the pages
/// of a file that is being packed.
inline constexpr std::int64_t kMemoryHeadroomBytes = std::int64_t{512} << 20;

/// What the graph of a configuration will declare: keys and values of every attention layer, by
/// groups of one shape in order of appearance, and the state of the linear ones. n_layers: only the
/// first so many; 0: all. `draft`: with the layers that guess further tokens, which run only where
/// the model is whole.
StateSpec state_of(const ModelConfig& config, std::int64_t n_layers, kernels::KvType type,
                   bool draft = true);

struct MemoryNeed {
    std::int64_t packed_bytes = 0;  ///< of all weights as they are computed with
    std::int64_t largest_bytes = 0; ///< of the file's pages that are in memory while packing: the
                                    ///< largest layer
    StateSpec state;
    std::int64_t kv_bytes_per_token = 0; ///< of groups without a window: grows with the context
    std::int64_t window_bytes = 0;       ///< of a sequence in groups with one: does not
    std::int64_t recurrent_bytes = 0;    ///< of a sequence
    std::int64_t least_state_bytes = 0;  ///< of the recurrent states that an engine always takes
    std::int64_t least_kv_bytes = 0;     ///< without which no sequence can run

    /// With which the model can be loaded and answer.
    std::int64_t least_bytes() const noexcept {
        return packed_bytes + least_kv_bytes + least_state_bytes + kMemoryHeadroomBytes;
    }
};

/// Draft layers included, for they are loaded where there are any.
MemoryNeed memory_need(const ModelFile& file, std::int64_t n_layers, kernels::KvType type);

/// Errors: out_of_memory with the numbers, when the model cannot run in `available_bytes`; 0 means
/// unknown, and everything fits.
Result<> check_fits(const ModelFile& file, std::int64_t n_layers, kernels::KvType type,
                    std::int64_t available_bytes);

} // namespace bloom::engine
