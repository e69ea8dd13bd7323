#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <sys/signalfd.h>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/rt/sim_driver.hpp>
#include <bloom/rt/timer.hpp>

#include "rt/sim/core.hpp"
#include "rt/sim/files.hpp"
#include "rt/sim/jobs.hpp"
#include "rt/sim/network.hpp"

namespace bloom::rt {
namespace sim {
namespace {

// The wall clock of every simulated world at its start: fixed, so that runs can be compared.
constexpr std::int64_t kStartUnixMs = 1'750'000'000'000;

/// Open signal sources: what they want, what came, who waits.
class Signals {
public:
    explicit Signals(Core& core) : core_(core) {}

    struct Source {
        std::size_t shard = 0;
        std::set<int> wanted;
        std::deque<int> came;
        Op* reader = nullptr;
    };

    Handle open(std::size_t shard, const std::vector<int>& signals) {
        const auto handle = static_cast<Handle>(next_handle_++);
        sources_[handle] = Source{shard, {signals.begin(), signals.end()}, {}, nullptr};
        return handle;
    }

    bool owns(Handle handle) const { return sources_.contains(handle); }

    std::size_t n_open() const noexcept { return sources_.size(); }

    void raise(int signo) {
        for (auto& [handle, source] : sources_) {
            if (!source.wanted.contains(signo)) continue;
            source.came.push_back(signo);
            serve(source);
        }
    }

    void submit(std::size_t shard, Op& op) {
        op.driver_state = op_parked;
        if (op.code == OpCode::close) {
            sources_.erase(op.handle);
            return core_.finish(shard, op, 0);
        }
        Source& source = sources_.at(op.handle);
        if (op.code != OpCode::read) return core_.finish(shard, op, -EOPNOTSUPP);
        BLOOM_CHECK(source.reader == nullptr && op.size >= sizeof(signalfd_siginfo));
        source.reader = &op;
        serve(source);
    }

    void unpark(Op& op) { sources_.at(op.handle).reader = nullptr; }

    void close_now(Handle handle) { sources_.erase(handle); }

private:
    void serve(Source& source) {
        if (source.reader == nullptr || source.came.empty()) return;
        signalfd_siginfo info{};
        info.ssi_signo = static_cast<std::uint32_t>(source.came.front());
        source.came.pop_front();
        Bytes bytes(sizeof info);
        std::memcpy(bytes.data(), &info, sizeof info);
        Op& op = *std::exchange(source.reader, nullptr);
        core_.finish(source.shard, op, static_cast<std::int32_t>(sizeof info), false,
                     std::move(bytes));
    }

    Core& core_;
    std::map<Handle, Source> sources_;
    std::int32_t next_handle_ = 2'000'000;
};

} // namespace

/// One simulated machine's insides.
struct Machine {
    Machine(std::uint64_t seed, const SimFaults& faults)
        : core(seed, faults), network(core), files(core), signals(core), jobs(core) {}

    Core core;
    Network network;
    Files files;
    Signals signals;
    Jobs jobs;
    std::map<std::string, std::vector<SockAddr>> hosts;
};

namespace {

class SimDriver final : public Driver {
public:
    SimDriver(Machine& machine, std::size_t shard) : machine_(machine), shard_(shard) {}

    ~SimDriver() override { BLOOM_CHECK(n_in_flight() == 0); }

    std::uint64_t now_ns() noexcept override { return machine_.core.now_ns; }

    std::int64_t unix_ms() noexcept override {
        return kStartUnixMs + static_cast<std::int64_t>(machine_.core.now_ns / 1'000'000);
    }

    void fill_random(MutableByteSpan out) noexcept override {
        for (std::uint8_t& byte : out)
            byte = static_cast<std::uint8_t>(machine_.core.entropy.next() >> 56);
    }

    void submit(Op& op) noexcept override {
        BLOOM_CHECK(!op.in_flight);
        op.in_flight = true;
        op.driver_word = 0;
        ++machine_.core.n_in_flight[shard_];
        if (op.code == OpCode::open || machine_.files.owns(op.handle)) {
            machine_.files.submit(shard_, op);
        } else if (machine_.signals.owns(op.handle)) {
            machine_.signals.submit(shard_, op);
        } else if (op.code == OpCode::poll) {
            op.driver_state = op_parked; // foreign descriptors exist outside of simulation only
            machine_.core.finish(shard_, op, -EOPNOTSUPP);
        } else {
            machine_.network.submit(shard_, op);
        }
    }

    void cancel(Op& op) noexcept override {
        BLOOM_CHECK(op.in_flight);
        if (op.driver_state != op_parked) return; // too late: it ends by itself
        if (machine_.signals.owns(op.handle)) {
            machine_.signals.unpark(op);
        } else {
            machine_.network.unpark(op);
        }
        machine_.core.finish(shard_, op, -ECANCELED);
    }

    Result<Handle> listen(const SockAddr& at, const ListenOptions& options) override {
        return machine_.network.listen(shard_, at, options);
    }

    Result<Handle> open_socket(const SockAddr&) override {
        return machine_.network.open_socket(shard_);
    }

    Result<SockAddr> local_address(Handle handle) override {
        return machine_.network.local_address(handle);
    }

    Result<SockAddr> peer_address(Handle handle) override {
        return machine_.network.peer_address(handle);
    }

    void close_now(Handle handle) noexcept override {
        if (machine_.files.owns(handle)) {
            machine_.files.close_now(handle);
        } else if (machine_.signals.owns(handle)) {
            machine_.signals.close_now(handle);
        } else {
            machine_.network.close_now(handle);
        }
    }

    Result<Handle> open_signals(const std::vector<int>& signals) override {
        return machine_.signals.open(shard_, signals);
    }

    Result<std::vector<SockAddr>> resolve(const std::string& host) override {
        const auto at = machine_.hosts.find(host);
        if (at == machine_.hosts.end()) return Error(Code::not_found, "host " + host + ": unknown");
        return at->second;
    }

    Result<> attach() override { return {}; }

    void wait(std::uint64_t) noexcept override { BLOOM_CHECK(false); } // the world turns the shards

    void wake() noexcept override {} // the world looks at every mailbox

    std::size_t n_in_flight() const noexcept override { return machine_.core.n_in_flight[shard_]; }

    Result<> start_blocking(BlockingJob& job) override { return machine_.jobs.start_blocking(job); }

    bool simulated() const noexcept override { return true; }

private:
    Machine& machine_;
    std::size_t shard_;
};

} // namespace
} // namespace sim

SimFaults SimFaults::calm() noexcept {
    SimFaults faults;
    faults.latency_ns_min = faults.latency_ns_max = 0;
    faults.disk_ns_max = faults.job_ns_max = 0;
    faults.p_fragment = 0;
    faults.shuffle = false;
    return faults;
}

SimFaults SimFaults::rough() noexcept {
    SimFaults faults;
    faults.latency_ns_max = 20'000'000;
    faults.p_fragment = 0.6;
    faults.p_reset = 0.005;
    faults.p_refuse = 0.02;
    faults.p_stall = 0.01;
    faults.pipe_bytes = 8 * 1024;
    return faults;
}

struct SimWorld::Impl {
    Impl(std::uint64_t s, const SimFaults& faults) : seed(s), machine(s, faults) {}

    bool all_finished() const {
        return std::all_of(shards.begin(), shards.end(),
                           [](const auto& shard) { return shard->finished(); });
    }

    [[noreturn]] void die(const char* why) const {
        std::fprintf(
            stderr, "simulation: %s at %.6f s, seed %llu; %zu shards, trace of %llu events\n", why,
            static_cast<double>(machine.core.now_ns) * 1e-9, static_cast<unsigned long long>(seed),
            shards.size(), static_cast<unsigned long long>(machine.core.n_events));
        std::abort();
    }

    void step();
    Result<> check_end() const;

    std::uint64_t seed;
    sim::Machine machine; // outlives the shards, whose drivers refer to it
    std::vector<std::unique_ptr<Shard>> shards;
    std::uint64_t limit_ns = 24ULL * 3600 * 1'000'000'000;
    bool ran = false;
};

/// One thing happens: a shard turns, or an event is due, in seeded order; when neither is, the
/// clock moves.
void SimWorld::Impl::step() {
    sim::Core& core = machine.core;
    std::vector<Shard*> runnable;
    std::uint64_t next_ns = TimerWheel::kNever;
    for (const auto& shard : shards) {
        const std::uint64_t timer_ns = shard->next_timer_ns();
        if (shard->has_ready() || timer_ns <= core.now_ns) runnable.push_back(shard.get());
        next_ns = std::min(next_ns, timer_ns);
    }
    const bool event_due = core.has_events() && core.next_event_ns() <= core.now_ns;
    if (!runnable.empty() && (!event_due || core.rng.below(2) == 0)) {
        Shard& shard = *runnable[core.rng.below(runnable.size())];
        const Shard::Current guard(shard);
        core.trace(shard.idx(), 0x70, 0);
        shard.turn();
        return;
    }
    if (core.has_events() && core.next_event_ns() <= next_ns) {
        core.run_event();
    } else if (next_ns != TimerWheel::kNever) {
        core.now_ns = std::max(core.now_ns, next_ns);
    } else {
        die("nothing can happen any more and a main has not ended");
    }
    if (core.now_ns > limit_ns) die("the time limit has passed");
}

Result<> SimWorld::Impl::check_end() const {
    for (const std::size_t n : machine.core.n_in_flight)
        BLOOM_CHECK(n == 0);
    const std::size_t n_open =
        machine.network.n_open() + machine.files.n_open() + machine.signals.n_open();
    if (n_open == 0) return {};
    return Error(Code::internal,
                 fmt::format("{} sockets, {} files, {} signal sources were left open",
                             machine.network.n_open(), machine.files.n_open(),
                             machine.signals.n_open()));
}

SimWorld::SimWorld(std::uint64_t seed, SimFaults faults, std::size_t n_shards)
    : impl_(std::make_unique<Impl>(seed, faults)) {
    BLOOM_CHECK(n_shards > 0);
    sim::Core& core = impl_->machine.core;
    core.n_in_flight.resize(n_shards);
    for (std::size_t i = 0; i < n_shards; ++i) {
        auto driver = std::make_unique<sim::SimDriver>(impl_->machine, i);
        // The virtual clock stands still while code runs, so there are no stalls to measure.
        impl_->shards.push_back(std::make_unique<Shard>(std::move(driver), ShardOptions{i, 0}));
        core.shards.push_back(impl_->shards.back().get());
        if (faults.shuffle) impl_->shards.back()->ready().set_shuffle(&core.rng);
    }
}

SimWorld::~SimWorld() = default;

std::size_t SimWorld::size() const noexcept {
    return impl_->shards.size();
}

Shard& SimWorld::at(std::size_t idx) noexcept {
    return *impl_->shards[idx];
}

ComputePool& SimWorld::compute() noexcept {
    return impl_->machine.jobs;
}

Result<> SimWorld::run(ShardMain main) {
    BLOOM_CHECK(!std::exchange(impl_->ran, true));
    for (const auto& shard : impl_->shards) {
        const Shard::Current guard(*shard);
        shard->start(main(*shard));
    }
    while (!impl_->all_finished())
        impl_->step();
    return impl_->check_end();
}

std::uint64_t SimWorld::seed() const noexcept {
    return impl_->seed;
}

std::uint64_t SimWorld::now_ns() const noexcept {
    return impl_->machine.core.now_ns;
}

std::uint64_t SimWorld::trace_hash() const noexcept {
    return impl_->machine.core.hash;
}

std::uint64_t SimWorld::n_events() const noexcept {
    return impl_->machine.core.n_events;
}

void SimWorld::set_faults(const SimFaults& faults) noexcept {
    impl_->machine.core.faults = faults;
}

const SimFaults& SimWorld::faults() const noexcept {
    return impl_->machine.core.faults;
}

void SimWorld::set_time_limit(std::uint64_t ns) noexcept {
    impl_->limit_ns = ns;
}

void SimWorld::raise_signal(int signo) {
    impl_->machine.signals.raise(signo);
}

void SimWorld::add_host(const std::string& name, const SockAddr& address) {
    impl_->machine.hosts[name].push_back(address);
}

void SimWorld::lose_unsynced_files() {
    impl_->machine.files.lose_unsynced();
}

} // namespace bloom::rt
