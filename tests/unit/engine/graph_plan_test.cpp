#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/arch.hpp>

#include "support/tiny_models.hpp"

/// What architectures upload and which operations they write, on a backend that only remembers.
namespace bloom::engine {
namespace {

using compute::WeightId;
using test::TinyFileShape;

struct Upload {
    kernels::WeightFormat format = kernels::WeightFormat::f32;
    std::int64_t n_experts = 0; ///< 0: one matrix; -1: a vector
    std::int64_t rows = 0;
    std::int64_t k = 0;
    std::vector<float> first_row; ///< of plain f32 matrices
};

class Recorder final : public compute::Backend {
public:
    std::string_view name() const noexcept override { return "recorder"; }

    Result<WeightId> upload_matrix(const kernels::SourceMatrix& m) override {
        Upload upload{m.format, 0, m.rows, m.k, {}};
        if (m.format == kernels::WeightFormat::f32) {
            upload.first_row.resize(static_cast<std::size_t>(m.k));
            dequantise_row(m, 0, upload.first_row);
        }
        return remember(std::move(upload));
    }

    Result<WeightId> upload_experts(std::span<const kernels::SourceMatrix> e) override {
        return remember({e[0].format, static_cast<std::int64_t>(e.size()), e[0].rows, e[0].k, {}});
    }

    Result<WeightId> upload_vector(std::span<const float> values) override {
        return remember(
            {kernels::WeightFormat::f32, -1, 1, static_cast<std::int64_t>(values.size()), {}});
    }

    Result<compute::RopeId> add_rope(compute::RopeSpec /*spec*/) override {
        return compute::RopeId{0};
    }

    Result<compute::KvPoolId> allocate_kv(const compute::KvGroupSpec& /*spec*/,
                                          std::int64_t /*n_pages*/) override {
        return compute::KvPoolId{0};
    }

    void copy_page(compute::KvPoolId /*pool*/, std::int32_t /*from*/,
                   std::int32_t /*to*/) override {}

    void read_page(compute::KvPoolId /*pool*/, std::int32_t /*page*/,
                   std::span<std::byte> /*out*/) override {}

    void write_page(compute::KvPoolId /*pool*/, std::int32_t /*page*/,
                    std::span<const std::byte> /*in*/) override {}

    Result<> allocate_states(const compute::RecurrentSpec& /*spec*/,
                             std::int64_t /*n_slots*/) override {
        return {};
    }

    void settle_state(std::int32_t /*slot*/, std::int32_t /*n_confirmed*/) override {}

    void copy_state(std::int32_t /*from*/, std::int32_t /*to*/) override {}

    void read_state(std::int32_t /*slot*/, std::span<std::byte> /*out*/) override {}

    void write_state(std::int32_t /*slot*/, std::span<const std::byte> /*in*/) override {}

    Result<compute::CompiledId> compile(const compute::Plan& /*plan*/) override {
        return compute::CompiledId{0};
    }

    Result<> run(compute::CompiledId /*plan*/, const compute::StepInputs& /*inputs*/) override {
        return {};
    }

    void sample(std::span<const std::int32_t> /*rows*/, std::int32_t /*n_valid*/,
                std::span<std::int32_t> /*out*/) override {}

    std::span<const float> read_logits(std::int32_t /*row*/) override { return {}; }

    compute::BackendMemory memory() const noexcept override { return {}; }

    const Upload& at(WeightId id) const { return uploads_.at(compute::index_of(id)); }

    std::size_t n_uploads() const { return uploads_.size(); }

private:
    WeightId remember(Upload upload) {
        uploads_.push_back(std::move(upload));
        return static_cast<WeightId>(uploads_.size() - 1);
    }

    std::vector<Upload> uploads_;
};

/// A letter for each operation: Embed, Norm, Matmul, Add, Rotate, Keep, aTtend, Silu, route (X),
/// Feed-forward by experts, Gather, Logits.
struct Letter {
    char operator()(const compute::EmbedOp&) const { return 'E'; }

    char operator()(const compute::RmsNormOp&) const { return 'N'; }

    char operator()(const compute::MatmulOp&) const { return 'M'; }

    char operator()(const compute::AddOp&) const { return 'A'; }

    char operator()(const compute::RopeOp&) const { return 'R'; }

    char operator()(const compute::KvStoreOp&) const { return 'K'; }

    char operator()(const compute::AttentionOp&) const { return 'T'; }

    char operator()(const compute::GatedMulOp&) const { return 'S'; }

    char operator()(const compute::RouteOp&) const { return 'X'; }

    char operator()(const compute::MoeOp&) const { return 'F'; }

    char operator()(const compute::ScaleOp&) const { return '*'; }

    char operator()(const compute::SoftcapOp&) const { return 'C'; }

    char operator()(const compute::DeltaRuleOp&) const { return 'D'; }

    char operator()(const compute::GatedNormOp&) const { return 'Z'; }

    char operator()(const compute::KeepRowsOp&) const { return 'P'; }

    char operator()(const compute::CarriedRowsOp&) const { return 'Q'; }

    char operator()(const compute::ConcatOp&) const { return 'J'; }

    char operator()(const compute::GatherRowsOp&) const { return 'G'; }

    char operator()(const compute::LogitsOp&) const { return 'L'; }
};

std::string shape_of(const compute::Plan& plan) {
    std::string out;
    for (const compute::Op& op : plan.ops())
        out += std::visit(Letter{}, op.body);
    return out;
}

constexpr const char* kAttention = "NMMMNNRRKTMA";

struct Loaded {
    std::vector<std::uint8_t> image;
    std::unique_ptr<ModelFile> file;
    Recorder backend;
    std::unique_ptr<const Graph> graph;
};

std::unique_ptr<Loaded> load(const std::string& arch, const TinyFileShape& shape,
                             const ArchOptions& options = {}) {
    auto out = std::make_unique<Loaded>();
    out->image = test::tiny_gguf(arch, shape).build();
    out->file = std::make_unique<ModelFile>(ModelFile::from_memory(out->image, "tiny").value());
    out->graph = load_graph(*out->file, out->backend, options).value();
    return out;
}

TEST(GraphPlan, OperationsOfADenseModel) {
    const auto model = load("qwen3", {.qk_norm = true});
    const std::string layer = std::string(kAttention) + "NMMSMA";
    EXPECT_EQ(shape_of(model->graph->plan({})), "E" + layer + layer + "GNML");
    EXPECT_EQ(model->graph->traffic().n_experts, 0);
}

const TinyFileShape kExperts{
    .n_layers = 3, .qk_norm = true, .n_experts = 8, .top_k = 2, .dense_layers = {1}};

TEST(GraphPlan, OperationsOfAModelWithExperts) {
    const auto model = load("qwen3moe", kExperts);
    const std::string experts = std::string(kAttention) + "NMXFA";
    const std::string dense = std::string(kAttention) + "NMMSMA";
    const compute::Plan plan = model->graph->plan({compute::Phase::prefill, 5, 2});
    EXPECT_EQ(shape_of(plan), "E" + experts + dense + experts + "GNML");
    const compute::MatmulOp* router = nullptr;
    for (const compute::Op& op : plan.ops()) {
        if (const auto* matmul = std::get_if<compute::MatmulOp>(&op.body)) router = matmul;
        if (const auto* route = std::get_if<compute::RouteOp>(&op.body)) {
            EXPECT_EQ(route->logits, router->out);
            EXPECT_EQ(plan.desc(route->logits).cols, 8);
            EXPECT_EQ(plan.desc(route->ids).dtype, compute::DType::i32);
            EXPECT_EQ(plan.desc(route->ids).cols, 2);
            EXPECT_EQ(plan.desc(route->weights).cols, 2);
            EXPECT_EQ(route->score, compute::RouteScore::softmax);
            EXPECT_TRUE(route->normalise);
            EXPECT_EQ(route->scale, 1.0F);
            EXPECT_EQ(route->selection_bias, WeightId::none);
        }
        if (const auto* moe = std::get_if<compute::MoeOp>(&op.body)) {
            EXPECT_EQ(moe->in, router->in); // both read the normed stream
            EXPECT_EQ(moe->top_k, 2);
            EXPECT_EQ(model->backend.at(moe->gate).n_experts, 8);
            EXPECT_EQ(model->backend.at(moe->up).rows, 64);
            EXPECT_EQ(model->backend.at(moe->down).k, 64);
            EXPECT_EQ(model->backend.at(moe->gate).format, kernels::WeightFormat::q8_0);
        }
    }
}

// A router that is quantised in its file must not see quantised activations.
TEST(GraphPlan, RoutersAreUploadedAsF32) {
    auto writer = test::tiny_gguf("qwen3moe", kExperts);
    auto* router = writer.find("blk.0.ffn_gate_inp.weight");
    router->type = test::GgufWriter::kTensorQ8_0;
    router->data = test::tiny_q8_0(8, 64);
    const auto image = writer.build();
    const auto file = ModelFile::from_memory(image, "tiny").value();
    Recorder backend;
    const auto graph = load_graph(file, backend, {}).value();
    const compute::Plan plan = graph->plan({});
    const compute::MatmulOp* last = nullptr;
    for (const compute::Op& op : plan.ops()) {
        if (std::holds_alternative<compute::RouteOp>(op.body)) break;
        if (const auto* matmul = std::get_if<compute::MatmulOp>(&op.body)) last = matmul;
    }
    ASSERT_NE(last, nullptr);
    const Upload& upload = backend.at(last->weight);
    EXPECT_EQ(upload.format, kernels::WeightFormat::f32);
    EXPECT_EQ(upload.rows, 8);
    std::vector<float> want(64);
    dequantise_row(file.weights().at(Role::w_router, 0), 0, want);
    EXPECT_EQ(upload.first_row, want);
}

TEST(GraphPlan, TrafficCountsDistinctExperts) {
    const auto model = load("qwen3moe", kExperts);
    const auto q8 = [](std::int64_t elements) { return elements / 32 * 34; };
    const std::int64_t attention = 2 * 64 * 64 + 2 * 32 * 64;
    const std::int64_t expert = 3 * 64 * 64;
    const WeightTraffic& t = model->graph->traffic();
    EXPECT_EQ(t.n_experts, 8);
    EXPECT_EQ(t.top_k, 2);
    EXPECT_EQ(t.expert_bytes, q8(2 * 8 * expert));
    const std::int64_t shared =
        q8(3 * attention + 3 * 64 * 64 + 40 * 64) + 2 * 8 * 64 * 4; // dense layer, head, routers
    EXPECT_EQ(t.shared_bytes, shared);
    EXPECT_EQ(t.bytes_per_step(1), static_cast<double>(shared + q8(2 * 2 * expert)));
    EXPECT_DOUBLE_EQ(t.bytes_per_step(2), static_cast<double>(shared) +
                                              static_cast<double>(t.expert_bytes) * 7.0 / 16.0);
    EXPECT_NEAR(t.bytes_per_step(1000), static_cast<double>(shared + t.expert_bytes), 1.0);
    EXPECT_EQ(t.bytes_per_step(0), static_cast<double>(shared));
    EXPECT_EQ(model->graph->macs_per_token(),
              3 * attention + 3 * 64 * 64 + 2 * (2 * expert + 8 * 64));
}

TEST(GraphPlan, OnlyTheFirstLayers) {
    const auto model = load("qwen3moe", kExperts, {.n_layers = 1});
    EXPECT_EQ(model->graph->state().groups.at(0).n_layers, 1);
    const std::string experts = std::string(kAttention) + "NMXFA";
    EXPECT_EQ(shape_of(model->graph->plan({})), "E" + experts + "GNML");
    EXPECT_EQ(model->graph->traffic().expert_bytes, 8 * 3 * 64 * 64 / 32 * 34);
}

TEST(GraphPlan, WindowedLayersShareAGroup) {
    auto writer = test::tiny_gguf("qwen2", {.qkv_bias = true});
    writer.put_u32("qwen2.attention.sliding_window", 64);
    const auto image = writer.build();
    const auto file = ModelFile::from_memory(image, "tiny").value();
    Recorder backend;
    const auto graph = load_graph(file, backend, {}).value();
    ASSERT_EQ(graph->state().groups.size(), 1U);
    EXPECT_EQ(graph->state().groups[0].window, 64);
    EXPECT_EQ(graph->state().groups[0].n_layers, 2);
}

} // namespace
} // namespace bloom::engine
