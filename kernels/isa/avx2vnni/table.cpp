#include "kernels/generic/prelude.hpp"
#include "kernels/isa/avx2/simd.hpp"
#include "kernels/tables.hpp"

namespace bloom::kernels::avx2vnni {
namespace {
#include "kernels/generic/operations.inc"
} // namespace

const KernelTable kTable = {
    .isa = "avx2vnni",
    .required = kAvx2 | kFma | kF16c | kAvxVnni,
#include "kernels/generic/entries.inc"
};

const Probe kProbe = {
    .isa = "avx2vnni",
#include "kernels/generic/probe_entries.inc"
};

} // namespace bloom::kernels::avx2vnni
