#include "cli/engine_setup.hpp"

#include <array>

#include <bloom/base/bytes.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/hw/memory_info.hpp>
#include <bloom/provider/kernel_choice.hpp>
#include <bloom/provider/model_source.hpp>

namespace bloom::cli {

Result<LocalEngine> load_engine(const std::string& source, const LocalEngineOptions& options,
                                std::unique_ptr<compute::Team> team) {
    BLOOM_TRY(engine::ModelFile file, provider::open_model(source));
    return load_engine(std::move(file), options, std::move(team));
}

Result<LocalEngine> load_engine(engine::ModelFile file, const LocalEngineOptions& options,
                                std::unique_ptr<compute::Team> team) {
    LocalEngine local;
    BLOOM_TRY(const kernels::KernelTable* table, provider::choose_kernels());
    local.team = team != nullptr ? std::move(team) : provider::make_team(options.n_threads);
    local.team->pin_caller();
    engine::EngineOptions engine_options;
    engine_options.team = local.team.get();
    engine_options.table = table;
    engine_options.precise = options.precise;
    std::array<std::uint8_t, sizeof engine_options.seed_base> seed{};
    crypto::random_bytes(seed);
    engine_options.seed_base = load_le<std::uint64_t>(seed.data());
    engine_options.n_layers = options.n_layers;
    engine_options.ctx_len = options.ctx;
    engine_options.max_seqs = options.max_seqs;
    engine_options.kv_budget_bytes = options.kv_budget_bytes;
    engine_options.available_bytes =
        static_cast<std::int64_t>(hw::read_memory_info().usable_bytes());
    engine_options.cache_prefixes = options.cache_prefixes;
    BLOOM_TRY(local.engine, engine::Engine::create(std::move(file), engine_options));
    return local;
}

} // namespace bloom::cli
