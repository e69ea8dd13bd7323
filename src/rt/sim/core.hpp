#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include <bloom/base/rng.hpp>
#include <bloom/rt/driver.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/sim_driver.hpp>

namespace bloom::rt::sim {

using Bytes = std::vector<std::uint8_t>;
using Action = std::move_only_function<void()>;

/// What every part of a simulated world shares: the clock, chance, the queue of things to come, the
/// trace.
class Core {
public:
    Core(std::uint64_t seed, const SimFaults& f)
        : faults(f), rng(seed), entropy(seed ^ 0x9e3779b97f4a7c15U) {}

    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    /// Runs `action` after `delay_ns`; things due at the same time run in seeded order.
    void schedule(std::uint64_t delay_ns, Action action) {
        schedule_at(now_ns + delay_ns, std::move(action));
    }

    void schedule_at(std::uint64_t at_ns, Action action);

    /// Completes an operation soon: after everything reported about it before, within microseconds.
    /// `bytes` arrive in the operation's buffer, or in a chunk for recv_multi.
    void finish(std::size_t shard, Op& op, std::int32_t result, bool more = false, Bytes bytes = {},
                std::uint64_t delay_ns = 0);

    bool chance(double p) noexcept { return p > 0 && rng.uniform() < p; }

    /// Inclusive.
    std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept {
        return high <= low ? low : low + rng.below(high - low + 1);
    }

    std::uint64_t latency_ns() noexcept {
        const std::uint64_t stall = chance(faults.p_stall) ? faults.stall_ns : 0;
        return between(faults.latency_ns_min, faults.latency_ns_max) + stall;
    }

    void trace(std::uint64_t a, std::uint64_t b, std::uint64_t c) noexcept;

    bool has_events() const noexcept { return !events_.empty(); }

    std::uint64_t next_event_ns() const noexcept { return events_.begin()->first.first; }

    /// Runs the next event, moving the clock to it.
    void run_event();

    std::uint64_t now_ns = 1'000'000'000;
    SimFaults faults;
    Rng rng;     ///< decides what happens
    Rng entropy; ///< what Driver::fill_random gives out
    std::vector<Shard*> shards;
    std::vector<std::size_t> n_in_flight; ///< by shard
    std::uint64_t hash = 0xcbf29ce484222325U;
    std::uint64_t n_events = 0;

private:
    void complete(std::size_t shard, Op& op, std::int32_t result, bool more, const Bytes& bytes);

    std::map<std::pair<std::uint64_t, std::uint64_t>, Action> events_;
};

// Where an operation is, in Op::driver_state; Op::driver_word is the time of its last completion.
enum OpState : std::uint8_t {
    op_idle,
    op_parked,    ///< waits for something to happen; can be cancelled
    op_finishing, ///< its last completion is under way
};

} // namespace bloom::rt::sim
