#pragma once

#include <memory>
#include <string>

#include <bloom/base/result.hpp>
#include <bloom/compute/team.hpp>
#include <bloom/engine/engine.hpp>

namespace bloom::cli {

/// An engine with the team it computes with, for commands that need no node.
struct LocalEngine {
    std::unique_ptr<compute::Team> team;
    std::unique_ptr<engine::Engine> engine;
};

struct LocalEngineOptions {
    int n_threads = 0;
    std::int32_t ctx = 0;
    std::int32_t n_layers = 0;
    std::int32_t max_seqs = 16;
    std::int64_t kv_budget_bytes = engine::kDefaultKvBudgetBytes;
    bool precise = false;
    bool cache_prefixes = true;
};

/// Loads a model that is open. `team`: what to compute with; without one, options.n_threads decide.
/// Errors: those of engine::Engine::create; machine_lacks when DARKBLOOM_KERNEL_ISA names kernels
/// that cannot run here.
Result<LocalEngine> load_engine(engine::ModelFile file, const LocalEngineOptions& options,
                                std::unique_ptr<compute::Team> team);

/// Opens and loads a model. Errors: those of provider::open_model and engine::Engine::create;
/// machine_lacks when DARKBLOOM_KERNEL_ISA names kernels that cannot run here.
/// `team`: what it computes with; none: a team of n_threads.
Result<LocalEngine> load_engine(const std::string& source, const LocalEngineOptions& options,
                                std::unique_ptr<compute::Team> team = nullptr);

} // namespace bloom::cli
