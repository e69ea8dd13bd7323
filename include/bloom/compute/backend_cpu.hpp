#pragma once

#include <memory>

#include <bloom/compute/backend.hpp>
#include <bloom/compute/packed_cache.hpp>
#include <bloom/compute/team.hpp>

namespace bloom::compute {

struct CpuBackendOptions {
    const kernels::KernelTable* table = nullptr; ///< required
    Team* team = nullptr;                        ///< required; outlives the backend
    /// f32 activations over dequantised weights instead of int8 products: goldens and audits.
    bool precise = false;
    /// Off: every operation by itself. The results are the same bits; tests compare them.
    bool fuse = true;
    /// Where packed matrices come from and go to while weights are uploaded; none: they are packed.
    /// Its finish() is the caller's.
    PackedCache* packed = nullptr;
};

/// The back end for processors. Compiling groups operations into regions of a few phases with a
/// barrier after each: norm + quantise + all products of one input + what follows each product row,
/// one or two; the preparation of q, k, v with attention, one where whole KV heads share it evenly
/// and two or three otherwise; the choice of experts with all their products, two or three. Work is
/// cut by output rows, or by (row, KV head) or chunks of a sequence, statically but for experts,
/// whose tasks workers take as they come: no sum depends on who computes it or on the number of
/// workers.
std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options);

} // namespace bloom::compute
