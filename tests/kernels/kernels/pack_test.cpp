#include <vector>

#include <gtest/gtest.h>

#include "kernels/reference/reference.hpp"

#include "kernel_fixture.hpp"

namespace bloom::kernels::test {
namespace {

constexpr WeightFormat kFormats[] = {
    WeightFormat::q8_0,        WeightFormat::affine8_f16, WeightFormat::affine8_bf16,
    WeightFormat::affine8_f32, WeightFormat::f16,         WeightFormat::bf16,
    WeightFormat::f32,
};

class Pack : public TableTest {};

/// A weight as f32 arithmetic gives it: the product is rounded, then the sum.
float rounded_weight(const TestMatrix& m, std::int64_t at) {
    const auto value = [&](const Guarded<std::uint8_t>& from, std::size_t i) {
        float out = 0.0F;
        const std::size_t bytes = group_extra_bytes(m.src.format) / 2;
        if (bytes == 4) {
            std::memcpy(&out, &from[4 * i], 4);
            return out;
        }
        const std::uint16_t h = load_u16(&from[2 * i]);
        return m.src.format == WeightFormat::affine8_bf16 ? bf16_to_f32(h) : f16_to_f32(h);
    };
    const auto group = static_cast<std::size_t>(at / 64);
    const float product =
        value(m.scales, group) * static_cast<float>(m.codes[static_cast<std::size_t>(at)]);
    return product + value(m.biases, group);
}

TEST_P(Pack, UnpackGivesTheWeightsBack) {
    Rng rng(1);
    for (const WeightFormat format : kFormats) {
        const bool affine = is_quantised(format) && format != WeightFormat::q8_0;
        for (const std::int64_t rows : {1, table().panel_rows - 1, table().panel_rows, 70}) {
            const std::int64_t k = is_quantised(format) ? 192 : 37;
            const TestMatrix m = make_matrix(format, rows, k, rng);
            const Packed packed(table(), m.src);
            std::vector<double> want(static_cast<std::size_t>(k));
            for (std::int64_t r = 0; r < rows; ++r) {
                Guarded<float> got(static_cast<std::size_t>(k));
                table().unpack_row(packed.matrix(), r, got.data());
                reference::weights(m.src, r, want.data());
                for (std::int64_t i = 0; i < k; ++i) {
                    const auto at = static_cast<std::size_t>(i);
                    const float exact =
                        affine ? rounded_weight(m, r * k + i) : static_cast<float>(want[at]);
                    ASSERT_EQ(got[at], exact) << int(format) << " row " << r << " column " << i;
                }
            }
        }
    }
}

TEST_P(Pack, SizeIsThatOfTheFilePlusPaddingRows) {
    const int panel = table().panel_rows;
    Rng rng(2);
    for (const WeightFormat format : kFormats) {
        const TestMatrix exact = make_matrix(format, 2 * panel, 128, rng);
        EXPECT_EQ(table().packed_bytes(format, 2 * panel, 128), exact.file_bytes());
        EXPECT_EQ(table().packed_bytes(format, panel + 1, 128), exact.file_bytes());
        EXPECT_EQ(table().packed_bytes(format, 0, 128), 0U);
    }
}

TEST_P(Pack, PiecesGiveTheSameBytes) {
    Rng rng(3);
    for (const WeightFormat format : kFormats) {
        const std::int64_t panel = table().panel_rows;
        const std::int64_t rows = 3 * panel - 5;
        const TestMatrix m = make_matrix(format, rows, 64, rng);
        const std::size_t bytes = table().packed_bytes(format, rows, 64);
        std::vector<std::uint8_t> whole(bytes, 1);
        std::vector<std::uint8_t> pieces(bytes, 2);
        table().pack(m.src, 0, rows, whole.data());
        table().pack(m.src, 2 * panel, rows, pieces.data());
        table().pack(m.src, 0, panel, pieces.data());
        table().pack(m.src, panel, 2 * panel, pieces.data());
        EXPECT_EQ(whole, pieces) << int(format);
    }
}

TEST_P(Pack, SourcesAtOddAddresses) {
    Rng rng(5);
    const auto shifted = [](const Guarded<std::uint8_t>& from) {
        Guarded<std::uint8_t> to(from.size() + 1);
        std::memcpy(to.data() + (reinterpret_cast<std::uintptr_t>(to.data()) % 2 == 0 ? 1 : 0),
                    from.data(), from.size());
        return to;
    };
    const auto odd = [](const Guarded<std::uint8_t>& v) {
        return v.data() + (reinterpret_cast<std::uintptr_t>(v.data()) % 2 == 0 ? 1 : 0);
    };
    for (const WeightFormat format : kFormats) {
        const TestMatrix m = make_matrix(format, 40, 128, rng);
        const Guarded<std::uint8_t> codes = shifted(m.codes);
        const Guarded<std::uint8_t> scales = shifted(m.scales);
        const Guarded<std::uint8_t> biases = shifted(m.biases);
        const SourceMatrix moved{format, 40, 128, odd(codes), odd(scales), odd(biases)};
        const Packed want(table(), m.src);
        const Packed got(table(), moved);
        EXPECT_EQ(std::memcmp(got.matrix().data, want.matrix().data, want.bytes()), 0);
    }
}

TEST_P(Pack, KnownBlock) {
    // d = 1 and q = -128..-97: the weights are the codes, -128 included.
    Rng rng(4);
    TestMatrix m = make_matrix(WeightFormat::q8_0, 1, 32, rng);
    m.set_scale(0, 1.0F, 0.0F);
    for (int i = 0; i < 32; ++i)
        m.set_code(i, i - 128);
    const Packed packed(table(), m.src);
    float out[32];
    table().unpack_row(packed.matrix(), 0, out);
    for (int i = 0; i < 32; ++i)
        EXPECT_EQ(out[i], static_cast<float>(i - 128));
}

BLOOM_FOR_EACH_TABLE(Pack);

} // namespace
} // namespace bloom::kernels::test
