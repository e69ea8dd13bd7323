#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/half.hpp"

/// The vector wrapper of the portable table: four lanes that every compiler can lower. What each
/// name promises is said here; the other instruction sets promise the same.
namespace bloom::kernels::scalar {
namespace {

using Vf = float __attribute__((vector_size(16)));
using Vi = std::int32_t __attribute__((vector_size(16)));

constexpr int kLanes = 4;
constexpr int kPanelVecs = 2;      ///< a panel is kPanelVecs * kLanes rows
constexpr int kStep = 16;          ///< columns of a row that one dot_step takes
constexpr int kTileTokens = 4;     ///< tokens that share the codes of a chunk
constexpr int kStreamTokens = 4;   ///< tokens that share a panel streamed from memory
constexpr int kRegisterTokens = 4; ///< a tile of more tokens keeps its f32 sums in memory
constexpr int kAttentionRows = 2;  ///< rows of an attention tile
constexpr int kAttentionSums = 8;  ///< vectors of sums that such a tile keeps in registers
constexpr bool kWidens = false;    ///< activations need a buffer to become XCode
using XCode = std::int8_t;         ///< what dot_step takes
using Codes = const std::uint8_t*; ///< codes of kLanes rows by kStep columns, ready for dot_step

inline Vf vset(float x) noexcept {
    return Vf{x, x, x, x};
}

inline Vf vzero() noexcept {
    return vset(0.0F);
}

inline Vf vload(const float* p) noexcept {
    Vf v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

/// The first n < kLanes values, the rest 0; reads nothing beyond them.
inline Vf vload_part(const float* p, int n) noexcept {
    Vf v = vzero();
    std::memcpy(&v, p, static_cast<std::size_t>(n) * sizeof(float));
    return v;
}

inline void vstore(float* p, Vf v) noexcept {
    std::memcpy(p, &v, sizeof v);
}

inline void vstore_part(float* p, Vf v, int n) noexcept {
    std::memcpy(p, &v, static_cast<std::size_t>(n) * sizeof(float));
}

/// a * b + c; fused where the instruction set has it.
inline Vf vfma(Vf a, Vf b, Vf c) noexcept {
    return a * b + c;
}

/// The larger of each; b where either is NaN.
inline Vf vmax(Vf a, Vf b) noexcept {
    return a > b ? a : b;
}

inline Vf vmin(Vf a, Vf b) noexcept {
    return a < b ? a : b;
}

/// t where a == b, else f.
inline Vf vselect_eq(Vf a, Vf b, Vf t, Vf f) noexcept {
    return a == b ? t : f;
}

/// Bit l is set where a[l] == b[l].
inline unsigned veq_mask(Vf a, Vf b) noexcept {
    unsigned mask = 0;
    for (int l = 0; l < kLanes; ++l)
        mask |= (a[l] == b[l] ? 1U : 0U) << l;
    return mask;
}

/// Bit l is set where a[l] > b[l].
inline unsigned vgt_mask(Vf a, Vf b) noexcept {
    unsigned mask = 0;
    for (int l = 0; l < kLanes; ++l)
        mask |= (a[l] > b[l] ? 1U : 0U) << l;
    return mask;
}

/// Bit l is set where a[l] >= b[l].
inline unsigned vge_mask(Vf a, Vf b) noexcept {
    unsigned mask = 0;
    for (int l = 0; l < kLanes; ++l)
        mask |= (a[l] >= b[l] ? 1U : 0U) << l;
    return mask;
}

/// Sum of the lanes as a tree: lane l and l + half, then the same with the lower half.
inline float vhsum(Vf v) noexcept {
    return (v[0] + v[2]) + (v[1] + v[3]);
}

/// Largest lane.
inline float vhmax(Vf v) noexcept {
    const float a = v[0] > v[2] ? v[0] : v[2];
    const float b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
}

inline Vi iset(std::int32_t x) noexcept {
    return Vi{x, x, x, x};
}

/// kLanes 32-bit words from anywhere.
inline Vi iload(const std::uint8_t* p) noexcept {
    Vi v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

/// Makes the compiler forget what it knows about the codes.
inline void forget(Codes& codes) noexcept {
    __asm__ volatile("" : "+r"(codes) : : "memory");
}

inline Vi iadd(Vi a, Vi b) noexcept {
    return a + b;
}

inline Vi imax(Vi a, Vi b) noexcept {
    return a > b ? a : b;
}

inline Vi ihalf(Vi a) noexcept {
    return a >> 1;
}

inline Vi isub(Vi a, Vi b) noexcept {
    return a - b;
}

inline std::int32_t ihmax(Vi v) noexcept {
    const std::int32_t a = v[0] > v[1] ? v[0] : v[1];
    const std::int32_t b = v[2] > v[3] ? v[2] : v[3];
    return a > b ? a : b;
}

inline std::int32_t ihsum(Vi v) noexcept {
    return v[0] + v[1] + v[2] + v[3];
}

/// Nearest integer, halves to even; |x| < 2^22 (anything else gives some number).
inline Vi vround_i(Vf v) noexcept {
    const Vf magic = vset(0x1.8p23F); // the sum's last mantissa bit has weight 1
    const Vf shifted = v + magic;
    Vi bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    return bits - iset(0x4b400000);
}

inline Vf vto_float(Vi v) noexcept {
    return __builtin_convertvector(v, Vf);
}

/// 2^n for n in [-126, 127].
inline Vf vpow2(Vi n) noexcept {
    const Vi bits = (n + iset(127)) << 23;
    Vf v;
    std::memcpy(&v, &bits, sizeof v);
    return v;
}

/// Bit patterns without the sign: ordered like the magnitudes, infinity and NaN on top.
inline Vi vabs_bits(Vf v) noexcept {
    Vi bits;
    std::memcpy(&bits, &v, sizeof bits);
    return bits & iset(0x7fffffff);
}

/// Stores lanes known to be in [-128, 127] as bytes.
inline void istore_i8(std::int8_t* p, Vi v) noexcept {
    for (int l = 0; l < kLanes; ++l)
        p[l] = static_cast<std::int8_t>(v[l]);
}

inline Vf vload_f16(const std::uint8_t* p) noexcept {
    using Halves = std::uint16_t __attribute__((vector_size(8)));
    Halves h;
    std::memcpy(&h, p, sizeof h);
    const Vi word = __builtin_convertvector(h, Vi);
    // Where f32 has its exponent the value is 2^112 times too small, subnormals included.
    const Vi bits = (word & iset(0x7fff)) << 13;
    Vf v;
    std::memcpy(&v, &bits, sizeof v);
    v = v * vset(0x1p112F);
    Vi out;
    std::memcpy(&out, &v, sizeof out);
    const Vi special = ((word & iset(0x7c00)) == iset(0x7c00)) & iset(0x7f800000);
    const Vi negative = ((word & iset(0x8000)) != iset(0)) & iset(-0x7fffffff - 1);
    out = out | special | negative;
    std::memcpy(&v, &out, sizeof v);
    return v;
}

inline Vf vload_f16_part(const std::uint8_t* p, int n) noexcept {
    std::uint8_t tmp[2 * kLanes] = {};
    std::memcpy(tmp, p, static_cast<std::size_t>(n) * 2);
    return vload_f16(tmp);
}

inline void vstore_f16_part(std::uint8_t* p, Vf v, int n) noexcept {
    for (int l = 0; l < n; ++l) {
        const std::uint16_t h = f32_to_f16(v[l]);
        std::memcpy(p + 2 * l, &h, sizeof h);
    }
}

inline void vstore_f16(std::uint8_t* p, Vf v) noexcept {
    vstore_f16_part(p, v, kLanes);
}

inline Vf vload_bf16(const std::uint8_t* p) noexcept {
    Vf v;
    for (int l = 0; l < kLanes; ++l)
        v[l] = bf16_to_f32(load_u16(p + 2 * l));
    return v;
}

inline Vf vload_f32(const std::uint8_t* p) noexcept {
    Vf v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline Codes load_codes(const std::uint8_t* p) noexcept {
    return p;
}

/// acc[l] += sum over kStep columns of codes[l][s] * x[s], exactly.
inline Vi dot_step(Vi acc, Codes codes, const XCode* x) noexcept {
    for (int l = 0; l < kLanes; ++l) {
        std::int32_t sum = 0;
        for (int s = 0; s < kStep; ++s)
            sum += codes[l * kStep + s] * x[s];
        acc[l] += sum;
    }
    return acc;
}

/// Where the sum of a group starts: what dot_step adds up to from here is sum of code * q for a
/// biased format, sum of (code - 128) * q for another. init = -128 * sum q.
constexpr std::int32_t dot_start(std::int32_t init, bool biased) noexcept {
    return biased ? 0 : init;
}

/// The n activations of a group as dot_step wants them: themselves, or widened into the buffer.
inline const XCode* x_codes(const std::int8_t* q, int, XCode*) noexcept {
    return q;
}

/// Column s of the kLanes rows whose codes start at p.
inline Vi code_column(const std::uint8_t* p, int s) noexcept {
    return Vi{p[s], p[kStep + s], p[2 * kStep + s], p[3 * kStep + s]};
}

} // namespace
} // namespace bloom::kernels::scalar
