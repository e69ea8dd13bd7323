#include <cstring>

#include "kernels/kernel_table.hpp"
#include "kernels/tables.hpp"

namespace bloom::kernels {
namespace {

const KernelTable* const kFastestFirst[] = {
#if defined(BLOOM_KERNELS_NEON_I8MM)
    &neon_i8mm::kTable,
#endif
#if defined(BLOOM_KERNELS_NEON_DOT)
    &neon_dot::kTable,
#endif
#if defined(BLOOM_KERNELS_AVX512VNNI)
    &avx512vnni::kTable,
#endif
#if defined(BLOOM_KERNELS_AVX512)
    &avx512::kTable,
#endif
#if defined(BLOOM_KERNELS_AVX2VNNI)
    &avx2vnni::kTable,
#endif
#if defined(BLOOM_KERNELS_AVX2)
    &avx2::kTable,
#endif
    &scalar::kTable,     nullptr,
};

const Probe* const kProbes[] = {
#if defined(BLOOM_KERNELS_NEON_I8MM)
    &neon_i8mm::kProbe,
#endif
#if defined(BLOOM_KERNELS_NEON_DOT)
    &neon_dot::kProbe,
#endif
#if defined(BLOOM_KERNELS_AVX512VNNI)
    &avx512vnni::kProbe,
#endif
#if defined(BLOOM_KERNELS_AVX512)
    &avx512::kProbe,
#endif
#if defined(BLOOM_KERNELS_AVX2VNNI)
    &avx2vnni::kProbe,
#endif
#if defined(BLOOM_KERNELS_AVX2)
    &avx2::kProbe,
#endif
    &scalar::kProbe,
};

} // namespace

const KernelTable* const* all_tables() noexcept {
    return kFastestFirst;
}

const KernelTable* select_table(std::uint32_t have, const char* forced_isa) noexcept {
    const bool forced = forced_isa != nullptr && forced_isa[0] != '\0';
    for (const KernelTable* const* t = kFastestFirst; *t != nullptr; ++t) {
        if (forced && std::strcmp((*t)->isa, forced_isa) != 0) continue;
        if (((*t)->required & ~have) == 0) return *t;
    }
    return nullptr;
}

const Probe& probe_of(const KernelTable& table) noexcept {
    for (const Probe* p : kProbes) {
        if (std::strcmp(p->isa, table.isa) == 0) return *p;
    }
    return scalar::kProbe;
}

} // namespace bloom::kernels
