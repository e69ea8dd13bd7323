#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/compute/backend_cpu.hpp>
#include <bloom/engine/arch.hpp>

#include "golden_case.hpp"

/// Every layer of the golden models by itself: it is given the reference's hidden states of a long
/// prompt, so that an activation on the edge between two codes spoils one position of one layer and
/// not everything after it.
namespace bloom::engine {
namespace {

using golden::LayerCase;
using golden::load_case;
using golden::ModelCase;

constexpr std::int64_t kPages = 8;

/// Runs single layers of one model on given hidden states.
class LayerRunner {
public:
    LayerRunner(const ModelCase& model, const kernels::KernelTable* table)
        : team_(2), file_(ModelFile::open(model.path).value()),
          backend_(compute::make_cpu_backend({table, &team_, false, true})),
          graph_(load_graph(file_, *backend_, {}).value()) {
        for (const compute::KvGroupSpec& group : graph_->state().groups)
            EXPECT_TRUE(backend_->allocate_kv(group, kPages));
        if (graph_->state().recurrent)
            EXPECT_TRUE(backend_->allocate_states(*graph_->state().recurrent, 1));
    }

    std::int64_t width() const { return file_.config().d_model; }

    std::size_t n_layers() const { return static_cast<std::size_t>(file_.config().n_layers); }

    /// Hidden states [n, width] after layer `layer`, given those before it as halves.
    std::vector<float> run(std::size_t layer, const std::vector<std::uint16_t>& in) {
        const std::int64_t n = static_cast<std::int64_t>(in.size()) / width();
        const auto table = backend_->upload_matrix(
            {kernels::WeightFormat::f16, n, width(),
             reinterpret_cast<const std::uint8_t*>(in.data()), nullptr, nullptr});
        EXPECT_TRUE(table);
        const auto rows = static_cast<std::int32_t>(n);
        const auto plan = backend_->compile(only(layer, *table, rows));
        EXPECT_TRUE(plan);
        std::vector<std::int32_t> ids(in.size() / static_cast<std::size_t>(width()));
        std::iota(ids.begin(), ids.end(), 0);
        const std::vector<std::int32_t> seqs(ids.size(), 0);
        std::vector<std::int32_t> pages(kPages);
        std::iota(pages.begin(), pages.end(), 0);
        const std::vector<compute::PageTable> tables(graph_->state().groups.size(), pages);
        const std::vector<compute::RecurrentInput> states(
            graph_->state().recurrent ? 1 : 0, {.slot = 0, .fresh = true, .n_certain = rows});
        EXPECT_TRUE(
            backend_->run(*plan, {ids, ids, seqs, ids, 1, static_cast<std::int32_t>(tables.size()),
                                  tables, states}));
        std::vector<float> out;
        for (std::int32_t r = 0; r < rows; ++r) {
            const auto row = backend_->read_logits(r);
            out.insert(out.end(), row.begin(), row.end());
        }
        return out;
    }

private:
    /// The plan of one layer between an embedding of hidden states and their way out. Every layer
    /// adds to the stream twice.
    compute::Plan only(std::size_t layer, compute::WeightId table, std::int32_t rows) const {
        const compute::PlanKey key{compute::Phase::prefill, rows, rows};
        const compute::Plan whole = graph_->plan(key);
        compute::Plan out(key);
        for (const compute::TensorDesc& t : whole.tensors())
            out.tensor(t.cols, t.rows, t.dtype);
        const compute::TensorId stream = std::get<compute::EmbedOp>(whole.ops().front().body).out;
        out.add(compute::EmbedOp{table, stream});
        std::size_t n_adds = 0;
        for (const compute::Op& op : whole.ops()) {
            if (const auto* gather = std::get_if<compute::GatherRowsOp>(&op.body)) {
                out.add(compute::GatherRowsOp{stream, gather->out}); // without the norm of the head
                out.add(compute::LogitsOp{gather->out});
                break;
            }
            // A factor of the stream is the end of a layer.
            const bool ends = std::holds_alternative<compute::ScaleOp>(op.body);
            const bool mine = (ends ? n_adds - 1 : n_adds) / 2 == layer &&
                              !std::holds_alternative<compute::EmbedOp>(op.body);
            if (mine) out.add(op.body, op.placement);
            const auto* add = std::get_if<compute::AddOp>(&op.body);
            if (add != nullptr && add->into == stream) ++n_adds;
        }
        EXPECT_EQ(n_adds, 2 * n_layers());
        return out;
    }

    compute::SerialTeam team_;
    ModelFile file_;
    std::unique_ptr<compute::Backend> backend_;
    std::unique_ptr<const Graph> graph_;
};

/// Errors of each kept position, relative to its hidden state, ascending.
std::vector<double> errors(const LayerCase& c, const std::vector<float>& got, std::size_t width) {
    std::vector<double> out;
    for (std::size_t i = 0; i < c.positions.size(); ++i) {
        const float* const want = c.out.data() + i * width;
        const float* const have = got.data() + static_cast<std::size_t>(c.positions[i]) * width;
        double diff = 0, norm = 0;
        for (std::size_t d = 0; d < width; ++d) {
            const double w = want[d];
            diff += (static_cast<double>(have[d]) - w) * (static_cast<double>(have[d]) - w);
            norm += w * w;
        }
        out.push_back(std::sqrt(diff / norm));
    }
    std::ranges::sort(out);
    return out;
}

// Rounding is 1e-6 or less. An edge moves its own position by up to 2e-2, and later ones by less
// than 1e-3 where they attend to it; several edges among the compared positions of a layer do not
// happen.
constexpr double kTight = 1e-4;
constexpr double kEdge = 3e-2;
constexpr std::size_t kEdgesMax = 6;

class GoldenLayers : public testing::TestWithParam<const char*> {};

TEST_P(GoldenLayers, Int8LayerByLayer) {
    const ModelCase model = load_case(GetParam());
    for (const auto* const* t = kernels::all_tables(); *t != nullptr; ++t) {
        if (((*t)->required & ~kernels::detect_cpu_features()) != 0) continue;
        LayerRunner runner(model, *t);
        ASSERT_EQ(model.layers.size(), runner.n_layers());
        for (std::size_t i = 0; i < model.layers.size(); ++i) {
            const LayerCase& c = model.layers[i];
            ASSERT_GE(c.positions.size(), 16U);
            const auto e = errors(c, runner.run(i, c.in), static_cast<std::size_t>(runner.width()));
            EXPECT_LE(e.back(), kEdge) << (*t)->isa << " layer " << i;
            EXPECT_LE(e[e.size() - 1 - kEdgesMax], kTight) << (*t)->isa << " layer " << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenLayers, testing::ValuesIn(golden::kCases));

} // namespace
} // namespace bloom::engine
