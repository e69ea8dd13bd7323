#pragma once

#include <arm_neon.h>
#include <cstdint>
#include <cstring>

/// The vector wrapper for AArch64 with dot products; kernels/isa/scalar/simd.hpp says what each
/// name promises. With i8mm, usdot multiplies u8 codes by s8 activations. Without it there is only
/// sdot: codes lose 128 on load (one flipped bit), and what that takes from a group's sum,
/// 128 * sum q, is what dot_start puts back. Both are exact in 32 bit.
#if defined(__ARM_FEATURE_MATMUL_INT8)
#define BLOOM_NEON_NAMESPACE neon_i8mm
#else
#define BLOOM_NEON_NAMESPACE neon_dot
#endif
namespace bloom::kernels::BLOOM_NEON_NAMESPACE {
namespace {

using Vf = float32x4_t;
using Vi = int32x4_t;

constexpr int kLanes = 4;
constexpr int kPanelVecs = 2;
constexpr int kStep = 4;
// 12 + 12 accumulators, 2 codes, 1 activation of 32 registers.
constexpr int kTileTokens = 6;
// 16 + 16: as for AVX-512, the f32 accumulators go through the stack once a group.
constexpr int kStreamTokens = 8;
constexpr int kRegisterTokens = 6;
// 24 sums, 4 keys or values, 1 query or weight of 32 registers.
constexpr int kAttentionRows = 6;
constexpr int kAttentionSums = 24;
constexpr bool kWidens = false;
using XCode = std::int8_t;

inline Vf vset(float x) noexcept {
    return vdupq_n_f32(x);
}

inline Vf vzero() noexcept {
    return vdupq_n_f32(0.0F);
}

inline Vf vload(const float* p) noexcept {
    return vld1q_f32(p);
}

inline Vf vload_part(const float* p, int n) noexcept {
    Vf v = vzero();
    std::memcpy(&v, p, static_cast<std::size_t>(n) * sizeof(float));
    return v;
}

inline void vstore(float* p, Vf v) noexcept {
    vst1q_f32(p, v);
}

inline void vstore_part(float* p, Vf v, int n) noexcept {
    std::memcpy(p, &v, static_cast<std::size_t>(n) * sizeof(float));
}

inline Vf vfma(Vf a, Vf b, Vf c) noexcept {
    return vfmaq_f32(c, a, b);
}

// Not fmax and fmin: they return NaN where either operand is one.
inline Vf vmax(Vf a, Vf b) noexcept {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

inline Vf vmin(Vf a, Vf b) noexcept {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

inline Vf vselect_eq(Vf a, Vf b, Vf t, Vf f) noexcept {
    return vbslq_f32(vceqq_f32(a, b), t, f);
}

/// Bit l is set where lane l of `lanes` is all ones.
inline unsigned lane_bits(uint32x4_t lanes) noexcept {
    constexpr std::uint32_t kBits[] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(lanes, vld1q_u32(kBits)));
}

inline unsigned veq_mask(Vf a, Vf b) noexcept {
    return lane_bits(vceqq_f32(a, b));
}

inline unsigned vgt_mask(Vf a, Vf b) noexcept {
    return lane_bits(vcgtq_f32(a, b));
}

inline unsigned vge_mask(Vf a, Vf b) noexcept {
    return lane_bits(vcgeq_f32(a, b));
}

inline float vhsum(Vf v) noexcept {
    const float32x2_t two = vadd_f32(vget_low_f32(v), vget_high_f32(v));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

inline float vhmax(Vf v) noexcept {
    const float32x2_t low = vget_low_f32(v);
    const float32x2_t high = vget_high_f32(v);
    const float32x2_t two = vbsl_f32(vcgt_f32(low, high), low, high);
    const float a = vget_lane_f32(two, 0);
    const float b = vget_lane_f32(two, 1);
    return a > b ? a : b;
}

inline Vi iset(std::int32_t x) noexcept {
    return vdupq_n_s32(x);
}

inline Vi iload(const std::uint8_t* p) noexcept {
    return vreinterpretq_s32_u8(vld1q_u8(p));
}

inline Vi iadd(Vi a, Vi b) noexcept {
    return vaddq_s32(a, b);
}

inline Vi isub(Vi a, Vi b) noexcept {
    return vsubq_s32(a, b);
}

inline Vi imax(Vi a, Vi b) noexcept {
    return vmaxq_s32(a, b);
}

inline Vi ihalf(Vi a) noexcept {
    return vshrq_n_s32(a, 1);
}

inline std::int32_t ihmax(Vi v) noexcept {
    return vmaxvq_s32(v);
}

inline std::int32_t ihsum(Vi v) noexcept {
    return vaddvq_s32(v);
}

inline Vi vround_i(Vf v) noexcept {
    return vcvtnq_s32_f32(v);
}

inline Vf vto_float(Vi v) noexcept {
    return vcvtq_f32_s32(v);
}

inline Vf vpow2(Vi n) noexcept {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

inline Vi vabs_bits(Vf v) noexcept {
    return vandq_s32(vreinterpretq_s32_f32(v), vdupq_n_s32(0x7fffffff));
}

inline void istore_i8(std::int8_t* p, Vi v) noexcept {
    const int16x4_t words = vmovn_s32(v);
    const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    std::memcpy(p, &bytes, kLanes);
}

inline Vf vload_f16(const std::uint8_t* p) noexcept {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

inline Vf vload_f16_part(const std::uint8_t* p, int n) noexcept {
    std::uint8_t tmp[2 * kLanes] = {};
    std::memcpy(tmp, p, static_cast<std::size_t>(n) * 2);
    return vload_f16(tmp);
}

inline void vstore_f16(std::uint8_t* p, Vf v) noexcept {
    vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(v)));
}

inline void vstore_f16_part(std::uint8_t* p, Vf v, int n) noexcept {
    std::uint8_t tmp[2 * kLanes];
    vstore_f16(tmp, v);
    std::memcpy(p, tmp, static_cast<std::size_t>(n) * 2);
}

inline Vf vload_bf16(const std::uint8_t* p) noexcept {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

inline Vf vload_f32(const std::uint8_t* p) noexcept {
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

#if defined(__ARM_FEATURE_MATMUL_INT8)

using Codes = uint8x16_t;

/// 4 rows by 4 columns of codes.
inline Codes load_codes(const std::uint8_t* p) noexcept {
    return vld1q_u8(p);
}

inline Vi dot_step(Vi acc, Codes codes, const XCode* x) noexcept {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return vusdotq_s32(acc, codes, vreinterpretq_s8_s32(vdupq_n_s32(four)));
}

constexpr std::int32_t dot_start(std::int32_t init, bool biased) noexcept {
    return biased ? 0 : init;
}

#else

using Codes = int8x16_t;

/// 4 rows by 4 columns of codes, 128 subtracted.
inline Codes load_codes(const std::uint8_t* p) noexcept {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80)));
}

inline Vi dot_step(Vi acc, Codes codes, const XCode* x) noexcept {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return vdotq_s32(acc, codes, vreinterpretq_s8_s32(vdupq_n_s32(four)));
}

// init = -128 * sum q: where codes count as they are it is missing, where they count minus 128 it
// is there already.
constexpr std::int32_t dot_start(std::int32_t init, bool biased) noexcept {
    return biased ? -init : 0;
}

#endif

inline void forget(Codes& codes) noexcept {
    __asm__ volatile("" : "+w"(codes));
}

inline const XCode* x_codes(const std::int8_t* q, int, XCode*) noexcept {
    return q;
}

inline Vi code_column(const std::uint8_t* p, int s) noexcept {
    const uint32x4_t words = vreinterpretq_u32_u8(vld1q_u8(p));
    const uint32x4_t moved = vshlq_u32(words, vdupq_n_s32(-8 * s));
    return vreinterpretq_s32_u32(vandq_u32(moved, vdupq_n_u32(0xff)));
}

} // namespace
} // namespace bloom::kernels::BLOOM_NEON_NAMESPACE
