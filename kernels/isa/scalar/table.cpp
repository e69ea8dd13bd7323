#include "kernels/generic/prelude.hpp"
#include "kernels/isa/scalar/simd.hpp"
#include "kernels/tables.hpp"

namespace bloom::kernels::scalar {
namespace {
#include "kernels/generic/operations.inc"
} // namespace

const KernelTable kTable = {
    .isa = "scalar",
    .required = 0,
#include "kernels/generic/entries.inc"
};

const Probe kProbe = {
    .isa = "scalar",
#include "kernels/generic/probe_entries.inc"
};

} // namespace bloom::kernels::scalar
