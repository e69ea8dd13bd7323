#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/compute/backend_cpu.hpp>
#include <bloom/engine/arch.hpp>
#include <bloom/engine/state.hpp>

#include "support/tiny_model.hpp"

namespace bloom::engine {
namespace {

using test::TinyModel;
using test::TinyShape;

struct RunOptions {
    const kernels::KernelTable* table = kernels::select_table(0, "scalar");
    int workers = 1;
    bool precise = true;
    bool fuse = true;
};

/// One model in one backend, with pages for two sequences.
class Runner {
public:
    Runner(const TinyModel& model, const RunOptions& options)
        : image_(model.gguf()), team_(make_team(options.workers)) {
        auto file = ModelFile::from_memory(image_, "tiny");
        EXPECT_TRUE(file) << file.error().message();
        file_.emplace(std::move(*file));
        backend_ =
            compute::make_cpu_backend({options.table, team_.get(), options.precise, options.fuse});
        const ArchOptions arch{0, options.precise ? kernels::KvType::f32 : kernels::KvType::f16};
        auto graph = load_graph(*file_, *backend_, arch);
        EXPECT_TRUE(graph) << graph.error().message();
        graph_ = std::move(*graph);
        std::vector<std::int64_t> pages;
        for (const auto& group : graph_->state().groups) {
            pages.push_back(64);
            EXPECT_TRUE(backend_->allocate_kv(group, pages.back()));
        }
        store_.emplace(graph_->state(), pages, false);
    }

    /// Logits of all positions, the tokens run in chunks of the given lengths.
    std::vector<std::vector<float>> logits(const std::vector<std::int32_t>& tokens,
                                           const std::vector<int>& chunks) {
        std::vector<std::vector<float>> out;
        SequenceState state;
        store_->init(state);
        std::size_t at = 0;
        for (const int n : chunks) {
            const auto end = at + static_cast<std::size_t>(n);
            EXPECT_TRUE(store_->ensure(state, static_cast<std::int64_t>(end)));
            step(tokens, at, end, state, out);
            at = end;
        }
        EXPECT_EQ(at, tokens.size());
        store_->release(state);
        return out;
    }

private:
    static std::unique_ptr<compute::Team> make_team(int workers) {
        if (workers == 1) return std::make_unique<compute::SerialTeam>(1);
        return std::make_unique<compute::SpinTeam>(workers);
    }

    void step(const std::vector<std::int32_t>& tokens, std::size_t begin, std::size_t end,
              const SequenceState& state, std::vector<std::vector<float>>& out) {
        const auto n = static_cast<std::int32_t>(end - begin);
        const compute::PlanKey key{n == 1 ? compute::Phase::decode : compute::Phase::prefill, n, n};
        auto plan = backend_->compile(graph_->plan(key));
        ASSERT_TRUE(plan);
        std::vector<std::int32_t> rows(end - begin), positions(end - begin), seqs(end - begin, 0);
        std::iota(rows.begin(), rows.end(), 0);
        std::iota(positions.begin(), positions.end(), static_cast<int>(begin));
        std::vector<compute::PageTable> tables(state.tables.begin(), state.tables.end());
        const std::span<const std::int32_t> all(tokens);
        const compute::StepInputs inputs{
            all.subspan(begin, end - begin),          positions, seqs, rows, 1,
            static_cast<std::int32_t>(tables.size()), tables};
        ASSERT_TRUE(backend_->run(*plan, inputs));
        for (std::int32_t r = 0; r < n; ++r) {
            const auto row = backend_->read_logits(r);
            out.emplace_back(row.begin(), row.end());
        }
    }

    std::vector<std::uint8_t> image_;
    std::unique_ptr<compute::Team> team_;
    std::optional<ModelFile> file_;
    std::unique_ptr<compute::Backend> backend_;
    std::unique_ptr<const Graph> graph_;
    std::optional<StateStore> store_;
};

std::vector<std::int32_t> some_tokens(int n, std::uint64_t seed = 5) {
    Rng rng(seed);
    std::vector<std::int32_t> out;
    for (int i = 0; i < n; ++i)
        out.push_back(static_cast<std::int32_t>(rng.below(test::kTinyTokens)));
    return out;
}

double relative_error(const std::vector<std::vector<float>>& got,
                      const std::vector<std::vector<double>>& want) {
    double diff = 0, norm = 0;
    for (std::size_t t = 0; t < want.size(); ++t) {
        for (std::size_t i = 0; i < want[t].size(); ++i) {
            const double d = static_cast<double>(got[t][i]) - want[t][i];
            diff += d * d;
            norm += want[t][i] * want[t][i];
        }
    }
    return std::sqrt(diff / norm);
}

class GraphOfFamily : public testing::TestWithParam<const char*> {};

TEST_P(GraphOfFamily, PreciseModeMatchesDoublePrecision) {
    for (const bool q8 : {false, true}) {
        for (const bool tied : {false, true}) {
            const TinyModel model({.arch = GetParam(), .tied = tied, .q8 = q8});
            const auto tokens = some_tokens(37);
            Runner runner(model, {});
            const auto got = runner.logits(tokens, {20, 16, 1});
            ASSERT_EQ(got.size(), tokens.size());
            EXPECT_LT(relative_error(got, model.forward(tokens)), 2e-6) << q8 << tied;
        }
    }
}

TEST_P(GraphOfFamily, Int8ActivationsStayClose) {
    const TinyModel model({.arch = GetParam(), .q8 = true});
    const auto tokens = some_tokens(20);
    Runner runner(model, {.precise = false});
    const auto got = runner.logits(tokens, {20});
    const auto want = model.forward(tokens);
    std::vector<double> errors;
    for (std::size_t t = 0; t < want.size(); ++t)
        errors.push_back(relative_error({got[t]}, {want[t]}));
    // Half of the positions, for a router may send some to other experts, which others then see.
    std::ranges::sort(errors);
    const double error = errors[errors.size() / 2];
    EXPECT_LT(error, model.shape().is_moe() ? 0.1 : 0.03);
    EXPECT_GT(error, 1e-5) << "int8 activations cannot be this exact: precise mode ran instead";
}

INSTANTIATE_TEST_SUITE_P(Families, GraphOfFamily,
                         testing::Values("llama", "qwen2", "qwen3", "qwen3moe"));

TEST(Graph, AwkwardShapes) {
    // Heads that do not make up the width, three queries per key head, a last panel half full.
    const TinyModel model({.arch = "qwen3",
                           .d_model = 96,
                           .n_heads = 9,
                           .n_kv_heads = 3,
                           .head_dim = 32,
                           .ffn_dim = 160,
                           .vocab_rows = 271,
                           .q8 = true});
    const auto tokens = some_tokens(18);
    for (const auto* const* t = kernels::all_tables(); *t != nullptr; ++t) {
        if (((*t)->required & ~kernels::detect_cpu_features()) != 0) continue;
        Runner runner(model, {.table = *t});
        EXPECT_LT(relative_error(runner.logits(tokens, {17, 1}), model.forward(tokens)), 2e-6)
            << (*t)->isa;
    }
}

class GraphBits : public testing::TestWithParam<const char*> {};

TEST_P(GraphBits, CutsWorkersAndFusionChangeNothing) {
    const TinyModel model({.arch = GetParam(), .n_kv_heads = 4, .q8 = true});
    const auto tokens = some_tokens(70);
    const std::vector<int> singles(70, 1);
    for (const bool precise : {true, false}) {
        for (const auto* const* t = kernels::all_tables(); *t != nullptr; ++t) {
            if (((*t)->required & ~kernels::detect_cpu_features()) != 0) continue;
            Runner plain(model, {*t, 1, precise, false});
            const auto want = plain.logits(tokens, {70});
            for (const int workers : {1, 2, 5}) {
                Runner fused(model, {*t, workers, precise, true});
                EXPECT_EQ(want, fused.logits(tokens, {70})) << (*t)->isa << workers << precise;
                EXPECT_EQ(want, fused.logits(tokens, {64, 3, 2, 1})) << (*t)->isa << workers;
                EXPECT_EQ(want, fused.logits(tokens, singles)) << (*t)->isa << workers << precise;
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Families, GraphBits, testing::Values("qwen3", "qwen3moe"));

} // namespace
} // namespace bloom::engine
