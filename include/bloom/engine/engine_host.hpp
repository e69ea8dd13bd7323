#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/engine/engine.hpp>

namespace bloom::engine {

/// The models of one node: engines by id that share a compute team and take turns step by step.
/// Thread: one, the engine thread.
class EngineHost {
public:
    EngineHost() = default;
    EngineHost(const EngineHost&) = delete;
    EngineHost& operator=(const EngineHost&) = delete;

    /// What unloading does with requests that run.
    enum class Unload : std::uint8_t {
        drain,  ///< they finish; new ones are refused meanwhile
        cancel, ///< they fail with Failure::cancelled in the next step
    };

    /// Puts a model into service under `id`. Errors: already_exists (also while it is unloading).
    Result<> add(std::string id, std::unique_ptr<Engine> engine);
    /// Takes a model out of service; it goes when its last request has ended, which loaded() shows.
    /// Errors: not_found.
    Result<> unload(std::string_view id, Unload how);

    /// The engine in service under `id`; nullptr while it unloads.
    Engine* find(std::string_view id) noexcept;

    /// Ids in service, in the order they were added.
    std::vector<std::string> ids() const;
    /// Whether the model takes memory, unloading included.
    bool loaded(std::string_view id) const noexcept;

    /// Hands a request to a model. Errors: not_found (no such model), unavailable (unloading),
    /// id_reused (any engine has it), those of Engine::submit.
    Result<> submit(std::string_view model, RequestId id,
                    std::shared_ptr<const gen::Generation> generation, std::int64_t credit_bytes);
    void cancel(RequestId id, CancelReason reason);
    void add_credit(RequestId id, std::int64_t bytes);

    /// One step of the next engine that has work; engines whose requests have all ended and that
    /// are unloading are destroyed. Returns whether any engine has more to do at once.
    bool step(EventSink& sink, std::int64_t now_ms);
    /// How long the last step() took for its caller; passed to the engine whose turn it was.
    void step_took(std::int64_t elapsed_us);

    /// Sums over all engines; `sequence` rises whenever any of them may have changed. No
    /// allocation.
    struct Totals {
        std::uint64_t sequence = 0;
        std::int32_t free_slots = 0;
        std::int32_t running = 0;
        std::int32_t queued = 0;
        std::int64_t n_drafted = 0;
        std::int64_t n_accepted = 0;
        std::int64_t n_head_drafted = 0;
        std::int64_t n_head_accepted = 0;
        std::int64_t n_preempted = 0;
        std::int64_t n_swapped = 0;
    };

    Totals totals() const;

    struct Capacity {
        std::string model;
        bool unloading = false;
        EngineCapacity engine;
    };

    /// One entry per engine; `sequence` rises whenever any of them may have changed.
    struct Snapshot {
        std::uint64_t sequence = 0;
        std::vector<Capacity> models;
    };

    Snapshot capacity() const;

private:
    struct Slot {
        std::string id;
        std::unique_ptr<Engine> engine;
        bool unloading = false;
        bool awake = false; ///< something came in since its last step, or that left work
        std::vector<RequestId> requests;
    };

    Slot* slot(std::string_view id) noexcept;
    Slot* slot_of(RequestId id) noexcept;
    void step_slot(Slot& slot, EventSink& sink, std::int64_t now_ms);
    void forget_unloaded();

    std::vector<std::unique_ptr<Slot>> slots_;
    std::unordered_map<std::uint64_t, Slot*> by_request_;
    std::size_t next_ = 0;
    Slot* stepped_ = nullptr; ///< whose turn the last step was; nullptr: nobody's, or gone
    std::uint64_t changes_ = 1;
};

} // namespace bloom::engine
