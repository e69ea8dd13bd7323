#include "kernels/generic/prelude.hpp"
#include "kernels/isa/avx512vnni/simd.hpp"
#include "kernels/tables.hpp"

namespace bloom::kernels::avx512vnni {
namespace {
#include "kernels/generic/operations.inc"
} // namespace

const KernelTable kTable = {
    .isa = "avx512vnni",
    .required = kAvx2 | kFma | kF16c | kAvx512 | kAvx512Vnni,
    .panel_rows = kPanelRows,
    .packed_bytes = &packed_bytes,
    .pack = &pack,
    .unpack_row = &unpack_row,
    .quantise = &quantise,
    .matmul_q8 = &matmul_q8,
    .matmul_f32 = &matmul_f32,
    .rms_norm = &rms_norm,
    .rope = &rope,
    .silu_mul = &silu_mul,
    .add = &add,
    .store_kv = &store_kv,
    .argmax = &argmax,
    .softmax_stats = &softmax_stats,
    .attention = &attention,
};

const Probe kProbe = {
    .isa = "avx512vnni",
    .read = &probe_read,
    .dot = &probe_dot,
    .dot_ops = kProbeDotOps,
    .read_plain = &probe_read_plain,
    .fma = &probe_fma,
    .fma_ops = kProbeFmaOps,
};

} // namespace bloom::kernels::avx512vnni
