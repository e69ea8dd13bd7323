#include "kernels/generic/prelude.hpp"
#include "kernels/isa/avx2/simd.hpp"
#include "kernels/tables.hpp"

namespace bloom::kernels::avx2 {
namespace {
#include "kernels/generic/operations.inc"
} // namespace

const KernelTable kTable = {
    .isa = "avx2",
    .required = kAvx2 | kFma | kF16c,
#include "kernels/generic/entries.inc"
};

const Probe kProbe = {
    .isa = "avx2",
#include "kernels/generic/probe_entries.inc"
};

} // namespace bloom::kernels::avx2
