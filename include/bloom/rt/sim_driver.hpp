#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <bloom/base/bytes.hpp>
#include <bloom/rt/shard_set.hpp>

namespace bloom::rt {

/// What goes wrong in a simulated world, and how long things take there. Times are virtual.
struct SimFaults {
    std::uint64_t latency_ns_min = 20'000; ///< one way, per segment
    std::uint64_t latency_ns_max = 200'000;
    std::uint64_t disk_ns_max = 500'000;
    std::uint64_t job_ns_max = 1'000'000; ///< a blocking job or one step
    std::size_t pipe_bytes = 64 * 1024;   ///< what one direction of a connection holds
    double p_fragment = 0.3;              ///< a send takes part only, a receive is cut
    double p_reset = 0;                   ///< per segment: the connection dies
    double p_refuse = 0;                  ///< per connect
    double p_stall = 0;                   ///< per segment: arrives stall_ns late
    std::uint64_t stall_ns = 500'000'000;
    double p_disk_error = 0; ///< per file operation: EIO
    bool shuffle = true;     ///< ready coroutines in seeded order, not first in, first out

    /// Everything arrives whole and at once; for tests that step through something.
    static SimFaults calm() noexcept;
    /// All of it: delays, fragments, stalls, resets.
    static SimFaults rough() noexcept;
};

/// A simulated machine: virtual clock, seeded order, a network and files in memory. All its shards,
/// blocking jobs and step jobs run on the thread that calls run(). The same seed, faults and code
/// give the same trace. The clock moves only when nobody has anything to do, so that hours pass in
/// milliseconds.
///
///     SimWorld world(seed, SimFaults::rough(), 2);
///     auto ended = world.run([](Shard& shard) -> Task<void> { ... });
///
/// Thread: one. When nothing can happen any more and a main has not ended, the process aborts and
/// names the seed: that is a lost wake-up or a deadlock in the code under test.
class SimWorld final : public ShardSet {
public:
    explicit SimWorld(std::uint64_t seed, SimFaults faults = {}, std::size_t n_shards = 1);
    ~SimWorld() override;

    std::size_t size() const noexcept override;
    Shard& at(std::size_t idx) noexcept override;
    ComputePool& compute() noexcept override;
    Result<> run(ShardMain main) override;

    std::uint64_t seed() const noexcept;
    std::uint64_t now_ns() const noexcept;
    /// Hash over everything that happened: time, shard, kind, result of every completion, wake and
    /// step.
    std::uint64_t trace_hash() const noexcept;
    std::uint64_t n_events() const noexcept;

    /// From inside the run: changes what goes wrong from now on.
    void set_faults(const SimFaults& faults) noexcept;
    const SimFaults& faults() const noexcept;
    /// Aborts the run when the virtual clock passes this (default one day): something never ends.
    void set_time_limit(std::uint64_t ns) noexcept;

    /// Delivers a signal to every open signal source that asked for it.
    void raise_signal(int signo);
    /// A name for Driver::resolve().
    void add_host(const std::string& name, const SockAddr& address);
    /// Loses everything that was written and not synced, as a power failure does.
    void lose_unsynced_files();

    struct Impl;

private:
    std::unique_ptr<Impl> impl_;
};

} // namespace bloom::rt
