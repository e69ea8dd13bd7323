#include "engine/synthetic_weights.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "engine/float_bits.hpp"

namespace bloom::engine {
namespace {

using kernels::SourceMatrix;
using kernels::WeightFormat;

constexpr std::int64_t kQ8Group = 32;
constexpr std::int64_t kAffineGroup = 64;
/// Deviation of codes that are uniform over 255 or 256 values.
constexpr double kCodeDeviation = 73.7;
constexpr std::size_t kScales = 16; ///< different ones within a matrix

/// Marsaglia's xorshift: eight random bytes in a nanosecond.
class FastRandom {
public:
    explicit FastRandom(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}

    std::uint64_t next() noexcept {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }

private:
    std::uint64_t state_;
};

FastRandom random_for(const WeightView& view) {
    return FastRandom(static_cast<std::uint64_t>(view.layer + 1) * kRoleCount +
                      static_cast<std::uint64_t>(view.role) + 1);
}

/// Scales around what gives codes the deviation 1/sqrt(k), a quarter up and down.
std::array<float, kScales> scales_for(std::int64_t k) {
    std::array<float, kScales> out{};
    for (std::size_t i = 0; i < kScales; ++i) {
        const double factor = 0.75 + 0.5 * static_cast<double>(i) / (kScales - 1);
        out[i] = static_cast<float>(factor / (kCodeDeviation * std::sqrt(static_cast<double>(k))));
    }
    return out;
}

/// Random codes; with `symmetric` none is -128, which honest quantisers do not write.
void fill_codes(FastRandom& random, bool symmetric, std::uint8_t* out, std::int64_t n) noexcept {
    for (std::int64_t i = 0; i < n; i += 8) {
        const std::uint64_t word = random.next();
        std::memcpy(out + i, &word, 8);
    }
    if (!symmetric) return;
    for (std::int64_t i = 0; i < n; ++i)
        out[i] = out[i] == 0x80 ? std::uint8_t{0x81} : out[i];
}

void fill_q8_0(FastRandom& random, std::int64_t k, std::int64_t rows, std::uint8_t* out) {
    std::array<std::uint16_t, kScales> halves{};
    std::ranges::transform(scales_for(k), halves.begin(), float_to_half);
    for (std::int64_t b = 0; b < rows * (k / kQ8Group); ++b, out += 2 + kQ8Group) {
        const std::uint16_t scale = halves[random.next() >> 60];
        std::memcpy(out, &scale, 2);
        fill_codes(random, true, out + 2, kQ8Group);
    }
}

void fill_affine(FastRandom& random, std::int64_t n_groups, std::int64_t k, std::uint8_t* codes,
                 std::uint8_t* scales, std::uint8_t* biases) {
    std::array<std::uint16_t, kScales> scale_bits{}, bias_bits{};
    const auto values = scales_for(k);
    for (std::size_t i = 0; i < kScales; ++i) {
        const float scale = i % 2 == 0 ? values[i] : -values[i]; // both signs exist in files
        scale_bits[i] = float_to_bf16(scale);
        bias_bits[i] = float_to_bf16(-127.5F * scale);
    }
    fill_codes(random, false, codes, n_groups * kAffineGroup);
    for (std::int64_t g = 0; g < n_groups; ++g) {
        const std::size_t which = random.next() >> 60;
        std::memcpy(scales + 2 * g, &scale_bits[which], 2);
        std::memcpy(biases + 2 * g, &bias_bits[which], 2);
    }
}

void fill_f32(FastRandom& random, std::int64_t k, std::int64_t n, std::uint8_t* out) {
    const auto width = static_cast<float>(std::sqrt(3.0 / static_cast<double>(k)));
    for (std::int64_t i = 0; i < n; ++i) {
        const float unit = static_cast<float>(random.next() >> 40) * 0x1p-23F - 1.0F;
        const float value = unit * width;
        std::memcpy(out + 4 * i, &value, 4);
    }
}

/// The view's matrix with `rows` rows, in `scratch`.
SourceMatrix make(const WeightView& view, std::int64_t rows, std::vector<std::uint8_t>& scratch) {
    SourceMatrix m = view.matrix;
    const auto n_rows = static_cast<std::size_t>(rows);
    const std::size_t code_bytes = row_bytes(m.format, m.k) * n_rows;
    const std::size_t side_bytes = scale_row_bytes(m.format, m.k) * n_rows;
    scratch.resize(code_bytes + 2 * side_bytes);
    std::uint8_t* const codes = scratch.data();
    FastRandom random = random_for(view);
    m.codes = codes;
    if (m.format == WeightFormat::q8_0) {
        fill_q8_0(random, m.k, rows, codes);
    } else if (m.format == WeightFormat::f32) {
        fill_f32(random, m.k, rows * m.k, codes);
    } else {
        m.scales = codes + code_bytes;
        m.biases = codes + code_bytes + side_bytes;
        fill_affine(random, rows * (m.k / kAffineGroup), m.k, codes, codes + code_bytes,
                    codes + code_bytes + side_bytes);
    }
    return m;
}

/// What all elements of a vector are.
float value_of(Role role) noexcept {
    switch (role) {
    case Role::bq:
    case Role::bk:
    case Role::bv:
    case Role::bo:
    case Role::b_gate:
    case Role::b_up:
    case Role::b_down:
    case Role::selection_bias:
    case Role::dt_bias:
        return 0.0F;
    case Role::conv:
        return 0.5F; // four inputs of one size give one of that size
    case Role::decay:
        return -0.1F; // remembers for some ten tokens
    default:
        return 1.0F; // norms, scales and divisors
    }
}

void append_utf8(std::string& out, int code_point) {
    if (code_point < 0x80) {
        out += static_cast<char>(code_point);
        return;
    }
    out += static_cast<char>(0xc0 | code_point >> 6);
    out += static_cast<char>(0x80 | (code_point & 0x3f));
}

} // namespace

SourceMatrix SyntheticWeights::matrix(const WeightView& view,
                                      std::vector<std::uint8_t>& scratch) const {
    return make(view, view.matrix.rows, scratch);
}

std::vector<SourceMatrix> SyntheticWeights::experts(const WeightView& view,
                                                    std::vector<std::uint8_t>& scratch) const {
    const std::int64_t n = view.n_matrices();
    SourceMatrix one = make(view, view.matrix.rows + n - 1, scratch);
    std::vector<SourceMatrix> out;
    for (std::int64_t e = 0; e < n; ++e) {
        out.push_back(one);
        one.codes += row_bytes(one.format, one.k);
        if (one.scales == nullptr) continue;
        one.scales += scale_row_bytes(one.format, one.k);
        one.biases += scale_row_bytes(one.format, one.k);
    }
    return out;
}

void SyntheticWeights::vector(const WeightView& view, std::span<float> out) const {
    std::ranges::fill(out, value_of(view.role));
}

ModelTokenizer SyntheticWeights::tokenizer() const {
    ModelTokenizer out;
    out.vocab.kind = text::VocabKind::byte_bpe;
    out.vocab.pre = "gpt-2";
    int beyond = 256;
    for (int b = 0; b < 256; ++b) { // GPT-2's printable character for each byte
        const bool plain = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b < 0xad) || b > 0xad;
        append_utf8(out.vocab.tokens.emplace_back(), plain ? b : beyond++);
    }
    out.vocab.tokens.emplace_back("<|end|>");
    out.vocab.types.assign(256, text::TokenType::normal);
    out.vocab.types.push_back(text::TokenType::control);
    out.vocab.eos_id = 256;
    return out;
}

} // namespace bloom::engine
