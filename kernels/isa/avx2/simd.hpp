#pragma once

#include <cstdint>
#include <cstring>
#include <immintrin.h>

/// The vector wrapper for AVX2 with FMA and F16C, with AVX-VNNI or without;
/// kernels/isa/scalar/simd.hpp says what each name promises. vpdpbusd is exact. Without it u8 * s8
/// pairs would saturate in vpmaddubsw (2 * 255 * 127 > 32767), so codes are widened to 16 bit on
/// load and activations once per group: vpmaddwd is exact.
#if defined(__AVXVNNI__)
#define BLOOM_AVX2_NAMESPACE avx2vnni
#else
#define BLOOM_AVX2_NAMESPACE avx2
#endif
namespace bloom::kernels::BLOOM_AVX2_NAMESPACE {
namespace {

using Vf = __m256;
using Vi = __m256i;

constexpr int kLanes = 8;
constexpr int kPanelVecs = 2;
// Dot products of 6 tokens are 12 of 16 registers, 2 hold codes, 1 an activation, 1 a product: sums
// are kept in L1.
constexpr int kTileTokens = 6;
constexpr int kStreamTokens = 6;
constexpr int kRegisterTokens = 1;
// 12 sums, 2 keys or values, 1 query or weight.
constexpr int kAttentionRows = 6;
constexpr int kAttentionSums = 12;
using Codes = __m256i;

inline Vf vset(float x) noexcept {
    return _mm256_set1_ps(x);
}

inline Vf vzero() noexcept {
    return _mm256_setzero_ps();
}

inline Vf vload(const float* p) noexcept {
    return _mm256_loadu_ps(p);
}

/// All ones in the first n lanes, n in [0, 8].
inline __m256i first_lanes(int n) noexcept {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline Vf vload_part(const float* p, int n) noexcept {
    return _mm256_maskload_ps(p, first_lanes(n));
}

inline void vstore(float* p, Vf v) noexcept {
    _mm256_storeu_ps(p, v);
}

inline void vstore_part(float* p, Vf v, int n) noexcept {
    _mm256_maskstore_ps(p, first_lanes(n), v);
}

inline Vf vfma(Vf a, Vf b, Vf c) noexcept {
    return _mm256_fmadd_ps(a, b, c);
}

inline Vf vmax(Vf a, Vf b) noexcept {
    return _mm256_max_ps(a, b);
}

inline Vf vmin(Vf a, Vf b) noexcept {
    return _mm256_min_ps(a, b);
}

inline Vf vselect_eq(Vf a, Vf b, Vf t, Vf f) noexcept {
    return _mm256_blendv_ps(f, t, _mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}

inline unsigned veq_mask(Vf a, Vf b) noexcept {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)));
}

inline unsigned vgt_mask(Vf a, Vf b) noexcept {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
}

inline unsigned vge_mask(Vf a, Vf b) noexcept {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
}

inline float vhsum(Vf v) noexcept {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

inline float vhmax(Vf v) noexcept {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

inline Vi iset(std::int32_t x) noexcept {
    return _mm256_set1_epi32(x);
}

inline Vi iload(const std::uint8_t* p) noexcept {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

inline void forget(Codes& codes) noexcept {
    __asm__ volatile("" : "+x"(codes));
}

inline Vi iadd(Vi a, Vi b) noexcept {
    return _mm256_add_epi32(a, b);
}

inline Vi isub(Vi a, Vi b) noexcept {
    return _mm256_sub_epi32(a, b);
}

inline Vi imax(Vi a, Vi b) noexcept {
    return _mm256_max_epi32(a, b);
}

inline Vi ihalf(Vi a) noexcept {
    return _mm256_srai_epi32(a, 1);
}

inline std::int32_t ihmax(Vi v) noexcept {
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtsi128_si32(m);
}

inline std::int32_t ihsum(Vi v) noexcept {
    __m128i m = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtsi128_si32(m);
}

inline Vi vround_i(Vf v) noexcept {
    return _mm256_cvtps_epi32(v);
}

inline Vf vto_float(Vi v) noexcept {
    return _mm256_cvtepi32_ps(v);
}

inline Vf vpow2(Vi n) noexcept {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

inline Vi vabs_bits(Vf v) noexcept {
    return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
}

inline void istore_i8(std::int8_t* p, Vi v) noexcept {
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}

inline Vf vload_f16(const std::uint8_t* p) noexcept {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline Vf vload_f16_part(const std::uint8_t* p, int n) noexcept {
    alignas(16) std::uint8_t tmp[16] = {};
    std::memcpy(tmp, p, static_cast<std::size_t>(n) * 2);
    return vload_f16(tmp);
}

inline void vstore_f16(std::uint8_t* p, Vf v) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

inline void vstore_f16_part(std::uint8_t* p, Vf v, int n) noexcept {
    alignas(16) std::uint8_t tmp[16];
    vstore_f16(tmp, v);
    std::memcpy(p, tmp, static_cast<std::size_t>(n) * 2);
}

inline Vf vload_bf16(const std::uint8_t* p) noexcept {
    const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

inline Vf vload_f32(const std::uint8_t* p) noexcept {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
}

constexpr std::int32_t dot_start(std::int32_t init, bool biased) noexcept {
    return biased ? 0 : init;
}

#if defined(__AVXVNNI__)

constexpr int kStep = 4;
constexpr bool kWidens = false;
using XCode = std::int8_t;

/// 8 rows by 4 columns of codes.
inline Codes load_codes(const std::uint8_t* p) noexcept {
    return iload(p);
}

inline Vi dot_step(Vi acc, Codes codes, const XCode* x) noexcept {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return _mm256_dpbusd_avx_epi32(acc, codes, _mm256_set1_epi32(four));
}

inline const XCode* x_codes(const std::int8_t* q, int, XCode*) noexcept {
    return q;
}

inline Vi code_column(const std::uint8_t* p, int s) noexcept {
    return _mm256_and_si256(_mm256_srl_epi32(iload(p), _mm_cvtsi32_si128(8 * s)),
                            _mm256_set1_epi32(0xff));
}

#else

constexpr int kStep = 2;
constexpr bool kWidens = true;
using XCode = std::int16_t;

/// 8 rows by 2 columns of codes, widened.
inline Codes load_codes(const std::uint8_t* p) noexcept {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline Vi dot_step(Vi acc, Codes codes, const XCode* x) noexcept {
    std::int32_t pair;
    std::memcpy(&pair, x, sizeof pair);
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(codes, _mm256_set1_epi32(pair)));
    // Keeps the sums in this order: clang would regroup them into trees whose leaves do not fit the
    // 16 registers.
    __asm__("" : "+x"(acc));
    return acc;
}

/// A group of activations widened to 16 bit; n is a multiple of 16.
inline const XCode* x_codes(const std::int8_t* q, int n, XCode* buffer) noexcept {
    for (int i = 0; i < n; i += 16) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(q + i));
        _mm256_store_si256(reinterpret_cast<__m256i*>(buffer + i), _mm256_cvtepi8_epi16(bytes));
    }
    // Keeps the compiler from forwarding the registers just stored: it would shuffle them into 32
    // broadcasts instead of loading each pair with vpbroadcastd.
    __asm__ volatile("" : : "r"(buffer) : "memory");
    return buffer;
}

inline Vi code_column(const std::uint8_t* p, int s) noexcept {
    const __m256i pairs =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_and_si256(_mm256_srli_epi32(pairs, 8 * s), _mm256_set1_epi32(0xff));
}

#endif

} // namespace
} // namespace bloom::kernels::BLOOM_AVX2_NAMESPACE
