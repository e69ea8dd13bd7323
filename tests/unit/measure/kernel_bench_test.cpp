#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bloom/measure/kernel_bench.hpp>

#include "measure/kernels/subject.hpp"

namespace bloom::measure {
namespace {

using kernels::WeightFormat;

class FixedRoofs final : public RoofSource {
public:
    Roofs sample() override { return {1, 1}; }
};

KernelShape shape_of(KernelOp op, const char* text) {
    const Result<KernelShape> shape = parse_kernel_shape(op, text);
    EXPECT_TRUE(shape) << text;
    return shape ? *shape : KernelShape{};
}

TEST(KernelShape, Parses) {
    const KernelShape dense = shape_of(KernelOp::dense, "5120,17408");
    EXPECT_EQ(dense.k, 5120);
    EXPECT_EQ(dense.m, 17408);
    const KernelShape moe = shape_of(KernelOp::moe, "2048,768,128,8");
    EXPECT_EQ(moe.m, 768);
    EXPECT_EQ(moe.n_experts, 128);
    EXPECT_EQ(moe.top_k, 8);
    const KernelShape attention = shape_of(KernelOp::attention, "32,8,128");
    EXPECT_EQ(attention.n_kv_heads, 8);
    EXPECT_EQ(shape_text(dense), "5120,17408");
    EXPECT_EQ(shape_text(moe), "2048,768,128,8");
    EXPECT_EQ(shape_text(attention), "32,8,128");
}

TEST(KernelShape, RefusesNonsense) {
    for (const char* bad : {"", "5120", "5120,", ",5120", "5120,x", "5120,17408,3", "0,64",
                            "-64,64", "64 ,64", "99999999999999999999,1", "1048577,64"}) {
        const auto shape = parse_kernel_shape(KernelOp::dense, bad);
        ASSERT_FALSE(shape) << bad;
        EXPECT_EQ(shape.error().code(), Code::invalid_argument) << bad;
    }
    EXPECT_FALSE(parse_kernel_shape(KernelOp::moe, "64,64"));
    EXPECT_FALSE(parse_bench_format("q4_0"));
    EXPECT_EQ(*parse_bench_format("affine8"), WeightFormat::affine8_bf16);
}

TEST(KernelShape, ChecksWhatBelongsTogether) {
    KernelShape s = shape_of(KernelOp::dense, "96,10");
    EXPECT_TRUE(check_shape(s));
    s.format = WeightFormat::affine8_bf16;
    EXPECT_FALSE(check_shape(s)) << "groups of 64";
    EXPECT_FALSE(check_shape(shape_of(KernelOp::moe, "64,64,4,5")));
    EXPECT_FALSE(check_shape(shape_of(KernelOp::moe, "64,70,4,2")));
    KernelShape attention = shape_of(KernelOp::attention, "8,2,16");
    EXPECT_FALSE(check_shape(attention)) << "no context";
    attention.context = 5;
    EXPECT_TRUE(check_shape(attention));
    attention.n_kv_heads = 3;
    EXPECT_FALSE(check_shape(attention));
}

TEST(KernelShape, EveryKindOfMatrixOfEveryCatalogModel) {
    for (const std::string_view name : engine::shape_names()) {
        const auto model = engine::find_shape(name);
        ASSERT_TRUE(model) << name;
        bool has_experts = false;
        for (const WeightFormat format : {WeightFormat::q8_0, WeightFormat::affine8_bf16}) {
            const auto shapes = shapes_of_model(*model, format, 1000);
            EXPECT_GE(shapes.size(), 6u) << name;
            for (const KernelShape& shape : shapes) {
                const Result<> fine = check_shape(shape);
                EXPECT_TRUE(fine) << shape.name << ": " << fine.error().message();
                EXPECT_TRUE(shape.name.starts_with(std::string(name) + " "));
                has_experts = has_experts || shape.op == KernelOp::moe;
            }
        }
        EXPECT_EQ(has_experts, model->config.experts.n_experts > 0) << name;
    }
}

TEST(KernelShape, EveryKindOfAttentionIsMeasured) {
    const auto gemma = engine::find_shape("gemma-4-26b-a4b");
    ASSERT_TRUE(gemma);
    std::vector<std::string> found;
    for (const KernelShape& s : shapes_of_model(*gemma, WeightFormat::q8_0, 4096)) {
        if (s.op == KernelOp::attention)
            found.push_back(shape_text(s) + fmt::format("@{}", s.context));
        if (s.name.ends_with("full q")) EXPECT_EQ(s.m, 16 * 512);
    }
    EXPECT_EQ(found, (std::vector<std::string>{"16,8,256@1024", "16,2,512@4096"}));
    const auto trinity = engine::find_shape("trinity-mini-26b");
    ASSERT_TRUE(trinity);
    const auto shapes = shapes_of_model(*trinity, WeightFormat::q8_0, 4096);
    EXPECT_TRUE(std::ranges::any_of(
        shapes, [](const KernelShape& s) { return s.name.ends_with("shared down"); }));
}

TEST(KernelBench, LayersFillTheWorkingSetAndPiecesStayShort) {
    EXPECT_EQ(layers_for(100, 30), 4);
    EXPECT_EQ(layers_for(100, 1000), 1);
    EXPECT_EQ(layers_per_run({1e6, 0}, 10), 10); // 0.3 ms in all
    EXPECT_EQ(layers_per_run({300e6, 0}, 10), 2);
    EXPECT_EQ(layers_per_run({300e6, 1e12}, 10), 1);
    EXPECT_EQ(matrix_bytes(WeightFormat::q8_0, 10, 64), 10 * 2 * 34);
    EXPECT_EQ(matrix_bytes(WeightFormat::affine8_bf16, 10, 64), 10 * 68);
}

TEST(KernelBench, DenseCountsBytesAndOperations) {
    compute::SerialTeam team(2);
    FixedRoofs roofs;
    KernelBenchOptions options;
    options.repetitions = 2;
    options.working_set_bytes = 64 << 10;
    for (const WeightFormat format : {WeightFormat::q8_0, WeightFormat::affine8_bf16}) {
        KernelShape shape = shape_of(KernelOp::dense, "128,100");
        shape.format = format;
        const auto rows = bench_kernel(team, *kernels::all_tables()[0], roofs, shape,
                                       std::vector<int>{1, 7}, options);
        ASSERT_TRUE(rows) << rows.error().message();
        ASSERT_EQ(rows->size(), 2u);
        for (const KernelRow& row : *rows) {
            EXPECT_EQ(row.threads, 2);
            EXPECT_GT(row.result.gb_per_s, 0);
            EXPECT_GT(row.result.roof_ratio.median, 0);
            // Operations per byte are what the shape says: 2 n over the bytes of a weight.
            const double per_byte = row.result.gops / row.result.gb_per_s;
            EXPECT_NEAR(per_byte, 2.0 * row.n / (68.0 / 64), 1e-6);
        }
    }
}

TEST(KernelBench, ExpertsAreCountedOnceHoweverManyTokensShareThem) {
    compute::SerialTeam team(2);
    FixedRoofs roofs;
    KernelShape all = shape_of(KernelOp::moe, "64,96,4,4"); // every token takes all four
    const auto& table = *kernels::all_tables()[0];
    const auto rows =
        bench_kernel(team, table, roofs, all, std::vector<int>{1, 5}, {1, 0, 64 << 10});
    ASSERT_TRUE(rows) << rows.error().message();
    for (const KernelRow& row : *rows) {
        EXPECT_NEAR(row.result.gops / row.result.gb_per_s, 2.0 * row.n / (34.0 / 32), 1e-6);
    }
    // Of 64 experts two tokens with two each touch at most four, and hardly ever fewer than three.
    const auto few = bench_kernel(team, table, roofs, shape_of(KernelOp::moe, "64,64,64,2"),
                                  std::vector<int>{2}, {5, 0, 64 << 10});
    ASSERT_TRUE(few) << few.error().message();
    const double shared = (*few)[0].result.gops / (*few)[0].result.gb_per_s / (2.0 / (34.0 / 32));
    EXPECT_GE(shared, 1.0 - 1e-9);
    EXPECT_LE(shared, 2.0 + 1e-9);
}

TEST(KernelBench, AttentionReadsTheWholeContext) {
    compute::SerialTeam team(1);
    FixedRoofs roofs;
    KernelShape shape = shape_of(KernelOp::attention, "4,2,32");
    shape.context = 40;
    const auto rows = bench_kernel(team, *kernels::all_tables()[0], roofs, shape,
                                   std::vector<int>{1, 3}, {1, 0, 32 << 10});
    ASSERT_TRUE(rows) << rows.error().message();
    ASSERT_EQ(rows->size(), 2u);
    EXPECT_GT((*rows)[1].result.gb_per_s, 0);
    EXPECT_EQ((*rows)[1].result.gops, 0);
    EXPECT_EQ((*rows)[1].result.limit, Limit::bandwidth);
}

TEST(KernelBench, DeltaRuleCountsStatesAndMultiplyAdds) {
    compute::SerialTeam team(2);
    FixedRoofs roofs;
    const KernelShape shape = shape_of(KernelOp::delta, "2,4,16,32");
    EXPECT_EQ(shape_text(shape), "2,4,16,32");
    const auto rows = bench_kernel(team, *kernels::all_tables()[0], roofs, shape,
                                   std::vector<int>{1, 9}, {1, 0, 64 << 10});
    ASSERT_TRUE(rows) << rows.error().message();
    ASSERT_EQ(rows->size(), 2u);
    for (const KernelRow& row : *rows) {
        // Seven for each element of the state, which comes and goes as f32, and four taps.
        const double elements = 4 * 16 * 32;
        const double flops = row.n * (7 * elements + 8 * (2 * 2 * 16 + 4 * 32));
        EXPECT_NEAR(row.result.gflops / row.result.gb_per_s, flops / (8 * elements), 1e-6);
        EXPECT_EQ(row.result.gops, 0);
    }
    EXPECT_FALSE(check_shape(shape_of(KernelOp::delta, "2,3,16,16")));
    EXPECT_FALSE(check_shape(shape_of(KernelOp::delta, "2,4,24,16")));
    EXPECT_FALSE(check_shape(shape_of(KernelOp::delta, "2,4,16,272")));
    EXPECT_FALSE(parse_kernel_shape(KernelOp::delta, "2,4,16"));
}

TEST(KernelBench, RefusesBadInputsAndTooMuchMemory) {
    compute::SerialTeam team(1);
    FixedRoofs roofs;
    const auto& table = *kernels::all_tables()[0];
    const KernelShape shape = shape_of(KernelOp::dense, "64,64");
    EXPECT_FALSE(bench_kernel(team, table, roofs, shape, std::vector<int>{0}, {1, 0, 4096}));
    EXPECT_FALSE(bench_kernel(team, table, roofs, shape, std::vector<int>{8193}, {1, 0, 4096}));
    const auto huge = bench_kernel(team, table, roofs, shape_of(KernelOp::dense, "1048576,1048576"),
                                   std::vector<int>{1}, {1, 0, 4096});
    ASSERT_FALSE(huge);
    EXPECT_EQ(huge.error().code(), Code::out_of_memory);
}

} // namespace
} // namespace bloom::measure
