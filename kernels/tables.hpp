#pragma once

#include "kernels/kernel_table.hpp"
#include "kernels/probe.hpp"

/// The tables that the build may contain; which ones it does is said by BLOOM_KERNELS_*.
namespace bloom::kernels {

namespace scalar {
extern const KernelTable kTable;
extern const Probe kProbe;
} // namespace scalar

namespace avx2 {
extern const KernelTable kTable;
extern const Probe kProbe;
} // namespace avx2

namespace avx2vnni {
extern const KernelTable kTable;
extern const Probe kProbe;
} // namespace avx2vnni

namespace avx512 {
extern const KernelTable kTable;
extern const Probe kProbe;
} // namespace avx512

namespace avx512vnni {
extern const KernelTable kTable;
extern const Probe kProbe;
} // namespace avx512vnni

namespace neon_dot {
extern const KernelTable kTable;
extern const Probe kProbe;
} // namespace neon_dot

namespace neon_i8mm {
extern const KernelTable kTable;
extern const Probe kProbe;
} // namespace neon_i8mm

} // namespace bloom::kernels
