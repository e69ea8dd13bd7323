#pragma once

#include <functional>
#include <memory>
#include <string>

#include <bloom/registry/catalog.hpp>
#include <bloom/registry/provider_link.hpp>
#include <bloom/rt/shard_set.hpp>

namespace bloom::provider {

struct LocalOptions {
    int n_threads = 0; ///< of the compute team; 0: one per core this process may use
    std::int32_t ctx = 0;
    std::int32_t n_layers = 0;
    std::int32_t max_sequences = 64;
    std::int32_t max_queued = 1024;
    std::int64_t kv_cache_bytes = 0; ///< 0: chosen from free memory
    std::int64_t swap_bytes = 0;     ///< for pages of preempted sequences, per model
    std::int32_t inter_token_ms = 0; ///< bound on the time between tokens; 0: none
    bool speculate = true;           ///< guessed tokens are verified together
    bool draft_head = true;          ///< guessed by a model's own head where it has one
    /// For snapshots of recurrent states, per model; -1: engine::EngineOptions decides.
    std::int64_t state_cache_bytes = -1;
    bool precise = false;
    std::string packed_cache; ///< directory of packed weights; empty: none
    /// What models are recognised by, outliving the provider; nullptr: the built-in catalog. A
    /// model that it knows is served under the entry's id unless it is given another name.
    const registry::Catalog* catalog = nullptr;
    /// What requests without a seed are drawn from; unpredictable on a real node.
    std::uint64_t seed_base = 0;
    /// The clock of deadlines and of step times, the driver's in simulation; empty: the machine's
    /// monotonic one.
    std::function<std::int64_t()> now_us;
};

/// The engine of this process as a provider. The engine runs as a step job on its own thread (in
/// simulation: in turns on the one thread there is); requests reach it through a mailbox, events
/// come back as one post per waiting shard and step. Thread: as ProviderLink. Lifetime: once the
/// shards have run, stop() must have been awaited before it goes.
class LocalProvider : public registry::ProviderLink {
public:
    /// Errors: machine_lacks when no kernel table can run (DARKBLOOM_KERNEL_ISA names one),
    /// unavailable when no thread could be made.
    static Result<std::shared_ptr<LocalProvider>>
    start(rt::ShardSet& shards, registry::ProviderIdentity identity, const LocalOptions& options);

    /// Ends the engine after its current step. Every stream and every load must have ended.
    virtual rt::Task<void> stop() = 0;
};

} // namespace bloom::provider
