#include "kernels/generic/prelude.hpp"
#include "kernels/isa/neon/simd.hpp"
#include "kernels/tables.hpp"

namespace bloom::kernels::neon_dot {
namespace {
#include "kernels/generic/operations.inc"
} // namespace

const KernelTable kTable = {
    .isa = "neon_dot",
    .required = kNeonDot,
#include "kernels/generic/entries.inc"
};

const Probe kProbe = {
    .isa = "neon_dot",
#include "kernels/generic/probe_entries.inc"
};

} // namespace bloom::kernels::neon_dot
