#pragma once

#include <cstdint>
#include <cstring>
#include <immintrin.h>

/// The vector wrapper for AVX-512 F, BW, DQ, VL, with VNNI or without; kernels/isa/scalar/simd.hpp
/// says what each name promises. vpdpbusd multiplies u8 codes by s8 activations into 32 bit
/// exactly; without it codes and activations are widened to 16 bit as for AVX2.
#if defined(__AVX512VNNI__)
#define BLOOM_AVX512_NAMESPACE avx512vnni
#else
#define BLOOM_AVX512_NAMESPACE avx512
#endif
namespace bloom::kernels::BLOOM_AVX512_NAMESPACE {
namespace {

using Vf = __m512;
using Vi = __m512i;

constexpr int kLanes = 16;
constexpr int kPanelVecs = 2;
// Dot products and sums of 6 tokens are 24 of 32 registers, 2 hold codes, 1 an activation. A tile
// of 8 keeps its sums in L1.
constexpr int kTileTokens = 6;
constexpr int kStreamTokens = 8;
constexpr int kRegisterTokens = 6;
// 24 sums, 2 keys or values, 1 query or weight.
constexpr int kAttentionRows = 12;
constexpr int kAttentionSums = 24;
using Codes = __m512i;

inline Vf vset(float x) noexcept {
    return _mm512_set1_ps(x);
}

inline Vf vzero() noexcept {
    return _mm512_setzero_ps();
}

inline Vf vload(const float* p) noexcept {
    return _mm512_loadu_ps(p);
}

/// The first n lanes, n in [0, 16].
inline __mmask16 first_lanes(int n) noexcept {
    return static_cast<__mmask16>((1U << static_cast<unsigned>(n)) - 1U);
}

inline Vf vload_part(const float* p, int n) noexcept {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

inline void vstore(float* p, Vf v) noexcept {
    _mm512_storeu_ps(p, v);
}

inline void vstore_part(float* p, Vf v, int n) noexcept {
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}

inline Vf vfma(Vf a, Vf b, Vf c) noexcept {
    return _mm512_fmadd_ps(a, b, c);
}

inline Vf vmax(Vf a, Vf b) noexcept {
    return _mm512_max_ps(a, b);
}

inline Vf vmin(Vf a, Vf b) noexcept {
    return _mm512_min_ps(a, b);
}

inline Vf vselect_eq(Vf a, Vf b, Vf t, Vf f) noexcept {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), f, t);
}

inline unsigned veq_mask(Vf a, Vf b) noexcept {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

inline unsigned vgt_mask(Vf a, Vf b) noexcept {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

inline unsigned vge_mask(Vf a, Vf b) noexcept {
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

inline float vhsum(Vf v) noexcept {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// Not _mm512_reduce_max_ps: clang may assume that it never sees a NaN.
inline float vhmax(Vf v) noexcept {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

inline Vi iset(std::int32_t x) noexcept {
    return _mm512_set1_epi32(x);
}

inline Vi iload(const std::uint8_t* p) noexcept {
    return _mm512_loadu_si512(p);
}

inline void forget(Codes& codes) noexcept {
    __asm__ volatile("" : "+v"(codes));
}

inline Vi iadd(Vi a, Vi b) noexcept {
    return _mm512_add_epi32(a, b);
}

inline Vi isub(Vi a, Vi b) noexcept {
    return _mm512_sub_epi32(a, b);
}

inline Vi imax(Vi a, Vi b) noexcept {
    return _mm512_max_epi32(a, b);
}

inline Vi ihalf(Vi a) noexcept {
    return _mm512_srai_epi32(a, 1);
}

inline std::int32_t ihmax(Vi v) noexcept {
    return _mm512_reduce_max_epi32(v);
}

inline std::int32_t ihsum(Vi v) noexcept {
    return _mm512_reduce_add_epi32(v);
}

inline Vi vround_i(Vf v) noexcept {
    return _mm512_cvtps_epi32(v);
}

inline Vf vto_float(Vi v) noexcept {
    return _mm512_cvtepi32_ps(v);
}

inline Vf vpow2(Vi n) noexcept {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}

inline Vi vabs_bits(Vf v) noexcept {
    return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
}

inline void istore_i8(std::int8_t* p, Vi v) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}

inline Vf vload_f16(const std::uint8_t* p) noexcept {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

inline Vf vload_f16_part(const std::uint8_t* p, int n) noexcept {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}

inline void vstore_f16(std::uint8_t* p, Vf v) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

inline void vstore_f16_part(std::uint8_t* p, Vf v, int n) noexcept {
    _mm256_mask_storeu_epi16(p, first_lanes(n),
                             _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

inline Vf vload_bf16(const std::uint8_t* p) noexcept {
    const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

inline Vf vload_f32(const std::uint8_t* p) noexcept {
    return _mm512_loadu_ps(p);
}

constexpr std::int32_t dot_start(std::int32_t init, bool biased) noexcept {
    return biased ? 0 : init;
}

#if defined(__AVX512VNNI__)

constexpr int kStep = 4;
constexpr bool kWidens = false;
using XCode = std::int8_t;

/// 16 rows by 4 columns of codes.
inline Codes load_codes(const std::uint8_t* p) noexcept {
    return _mm512_loadu_si512(p);
}

inline Vi dot_step(Vi acc, Codes codes, const XCode* x) noexcept {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return _mm512_dpbusd_epi32(acc, codes, _mm512_set1_epi32(four));
}

inline const XCode* x_codes(const std::int8_t* q, int, XCode*) noexcept {
    return q;
}

inline Vi code_column(const std::uint8_t* p, int s) noexcept {
    return _mm512_and_si512(_mm512_srl_epi32(_mm512_loadu_si512(p), _mm_cvtsi32_si128(8 * s)),
                            _mm512_set1_epi32(0xff));
}

#else

constexpr int kStep = 2;
constexpr bool kWidens = true;
using XCode = std::int16_t;

/// 16 rows by 2 columns of codes, widened.
inline Codes load_codes(const std::uint8_t* p) noexcept {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

inline Vi dot_step(Vi acc, Codes codes, const XCode* x) noexcept {
    std::int32_t pair;
    std::memcpy(&pair, x, sizeof pair);
    acc = _mm512_add_epi32(acc, _mm512_madd_epi16(codes, _mm512_set1_epi32(pair)));
    // Keeps the sums in this order: clang would regroup them into trees that spill.
    __asm__("" : "+v"(acc));
    return acc;
}

/// A group of activations widened to 16 bit; n is a multiple of 32.
inline const XCode* x_codes(const std::int8_t* q, int n, XCode* buffer) noexcept {
    for (int i = 0; i < n; i += 32) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q + i));
        _mm512_store_si512(buffer + i, _mm512_cvtepi8_epi16(bytes));
    }
    // As for AVX2: the pairs are to be loaded, not shuffled out of registers.
    __asm__ volatile("" : : "r"(buffer) : "memory");
    return buffer;
}

inline Vi code_column(const std::uint8_t* p, int s) noexcept {
    const __m512i pairs =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_and_si512(_mm512_srl_epi32(pairs, _mm_cvtsi32_si128(8 * s)),
                            _mm512_set1_epi32(0xff));
}

#endif

} // namespace
} // namespace bloom::kernels::BLOOM_AVX512_NAMESPACE
