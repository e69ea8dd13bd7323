#pragma once

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/compute/backend_cpu.hpp>
#include <bloom/compute/team.hpp>
#include <bloom/engine/arch.hpp>

#include "golden_case.hpp"

/// A model without an engine: its plans are run as a test says, so that it decides how rows are cut
/// into steps.
namespace bloom::engine::golden {

class PlanRunner {
public:
    static constexpr std::int32_t kPages = 12; ///< of each sequence

    explicit PlanRunner(const ModelCase& model, const kernels::KernelTable* table = nullptr,
                        bool precise = false, std::int32_t n_seqs = 1, int n_threads = 2)
        : team_(n_threads), file_(ModelFile::open(model.path).value()),
          backend_(compute::make_cpu_backend(
              {table != nullptr ? table
                                : kernels::select_table(kernels::detect_cpu_features(), nullptr),
               &team_, precise, true})),
          graph_(load_graph(file_, *backend_,
                            {.kv_type = precise ? kernels::KvType::f32 : kernels::KvType::f16})
                     .value()) {
        for (const compute::KvGroupSpec& group : graph_->state().groups)
            EXPECT_TRUE(backend_->allocate_kv(group, std::int64_t{kPages} * n_seqs));
        if (graph_->state().recurrent)
            EXPECT_TRUE(backend_->allocate_states(*graph_->state().recurrent, n_seqs));
        pages_.resize(static_cast<std::size_t>(kPages * n_seqs));
        std::iota(pages_.begin(), pages_.end(), 0);
    }

    const ModelFile& file() const { return file_; }

    const Graph& graph() const { return *graph_; }

    compute::Backend& backend() { return *backend_; }

    /// Consecutive tokens of one sequence.
    struct Piece {
        std::int32_t seq = 0;
        std::vector<std::int32_t> tokens;
        std::int32_t position = 0; ///< of the first
    };

    /// One step of the model; the logits of every row.
    std::vector<std::vector<float>> run(const std::vector<Piece>& pieces) {
        bool decodes = true;
        for (const Piece& piece : pieces)
            decodes = decodes && piece.tokens.size() == 1;
        Inputs in = gather(pieces);
        const compute::Plan plan = graph_->plan(
            {decodes ? compute::Phase::decode : compute::Phase::prefill, in.rows(), in.rows()});
        return run(plan, in);
    }

    /// One step of the draft head: row t goes on from row carry_rows[t] of what was kept last.
    std::vector<std::vector<float>> draft(const Piece& piece,
                                          const std::vector<std::int32_t>& carry_rows) {
        Inputs in = gather({piece});
        in.carry_rows = carry_rows;
        return run(graph_->draft_plan({compute::Phase::prefill, in.rows(), in.rows()}), in);
    }

private:
    struct Inputs {
        std::vector<std::int32_t> tokens, positions, seqs, carry_rows;
        std::vector<compute::PageTable> tables;
        std::vector<compute::RecurrentInput> recurrent;

        std::int32_t rows() const { return static_cast<std::int32_t>(tokens.size()); }
    };

    Inputs gather(const std::vector<Piece>& pieces) const {
        Inputs in;
        for (const Piece& piece : pieces) {
            const auto n = static_cast<std::int32_t>(piece.tokens.size());
            for (std::int32_t i = 0; i < n; ++i) {
                in.tokens.push_back(piece.tokens[static_cast<std::size_t>(i)]);
                in.positions.push_back(piece.position + i);
                in.seqs.push_back(static_cast<std::int32_t>(in.recurrent.size()));
            }
            const auto first = static_cast<std::size_t>(piece.seq * kPages);
            for (std::size_t g = 0; g < graph_->state().groups.size(); ++g)
                in.tables.emplace_back(std::span(pages_).subspan(first, kPages));
            in.recurrent.push_back(
                {.slot = piece.seq, .fresh = piece.position == 0, .n_certain = n});
        }
        return in;
    }

    std::vector<std::vector<float>> run(const compute::Plan& plan, const Inputs& in) {
        const auto compiled = backend_->compile(plan);
        EXPECT_TRUE(compiled);
        std::vector<std::int32_t> all(in.tokens.size());
        std::iota(all.begin(), all.end(), 0);
        EXPECT_TRUE(backend_->run(
            *compiled,
            {in.tokens, in.positions, in.seqs, all, static_cast<std::int32_t>(in.recurrent.size()),
             static_cast<std::int32_t>(graph_->state().groups.size()), in.tables,
             graph_->state().recurrent ? std::span(in.recurrent)
                                       : std::span<const compute::RecurrentInput>(),
             in.carry_rows}));
        std::vector<std::vector<float>> out;
        for (std::int32_t r = 0; r < in.rows(); ++r) {
            const auto row = backend_->read_logits(r);
            out.emplace_back(row.begin(), row.end());
        }
        return out;
    }

    compute::SerialTeam team_;
    ModelFile file_;
    std::unique_ptr<compute::Backend> backend_;
    std::unique_ptr<const Graph> graph_;
    std::vector<std::int32_t> pages_;
};

} // namespace bloom::engine::golden
