#include "kernels/generic/prelude.hpp"
#include "kernels/isa/avx512vnni/simd.hpp"
#include "kernels/tables.hpp"

namespace bloom::kernels::avx512 {
namespace {
#include "kernels/generic/operations.inc"
} // namespace

const KernelTable kTable = {
    .isa = "avx512",
    .required = kAvx2 | kFma | kF16c | kAvx512,
#include "kernels/generic/entries.inc"
};

const Probe kProbe = {
    .isa = "avx512",
#include "kernels/generic/probe_entries.inc"
};

} // namespace bloom::kernels::avx512
