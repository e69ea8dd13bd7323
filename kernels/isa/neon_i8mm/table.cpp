#include "kernels/generic/prelude.hpp"
#include "kernels/isa/neon/simd.hpp"
#include "kernels/tables.hpp"

namespace bloom::kernels::neon_i8mm {
namespace {
#include "kernels/generic/operations.inc"
} // namespace

const KernelTable kTable = {
    .isa = "neon_i8mm",
    .required = kNeonDot | kNeonI8mm,
#include "kernels/generic/entries.inc"
};

const Probe kProbe = {
    .isa = "neon_i8mm",
#include "kernels/generic/probe_entries.inc"
};

} // namespace bloom::kernels::neon_i8mm
