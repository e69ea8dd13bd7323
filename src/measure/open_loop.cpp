#include <algorithm>
#include <chrono>
#include <cmath>

#include <bloom/base/check.hpp>
#include <bloom/base/rng.hpp>
#include <bloom/measure/open_loop.hpp>
#include <bloom/rt/scope.hpp>
#include <bloom/rt/semaphore.hpp>
#include <bloom/rt/shard.hpp>

namespace bloom::measure {
namespace {

constexpr std::uint64_t kTickNs = rt::TimerWheel::kTickNs;

std::uint64_t now_ns() {
    return rt::Shard::current().driver().now_ns();
}

/// What the requests of one run share; lives in run_open_loop, which joins them.
struct Loop {
    const SendRequest& send;
    rt::Semaphore places;
    std::vector<Outcome> outcomes;
};

rt::Task<void> one(Loop& loop, std::size_t i, std::uint64_t due_ns, rt::StopToken stop) {
    Outcome out;
    const auto place = co_await loop.places.acquire(stop);
    const std::uint64_t sent_ns = now_ns();
    if (place) {
        out = co_await loop.send(i, stop);
    } else {
        out.error = std::string(place.error().message());
    }
    out.due_ns = due_ns;
    out.sent_ns = sent_ns;
    out.end_ns = now_ns();
    loop.outcomes[i] = std::move(out);
}

} // namespace

std::vector<std::uint64_t> arrival_times(double rate, double duration_s, Arrivals arrivals,
                                         std::uint64_t seed) {
    BLOOM_CHECK(rate > 0);
    std::vector<std::uint64_t> out;
    Rng rng(seed);
    double at = arrivals == Arrivals::even ? 0 : -std::log1p(-rng.uniform()) / rate;
    while (at < duration_s) {
        const double ticks = std::floor(at * 1e9 / static_cast<double>(kTickNs));
        out.push_back(static_cast<std::uint64_t>(ticks) * kTickNs);
        // Multiplying, not adding up: an even schedule does not drift.
        at = arrivals == Arrivals::even ? static_cast<double>(out.size()) / rate
                                        : at - std::log1p(-rng.uniform()) / rate;
    }
    return out;
}

rt::Task<std::vector<Outcome>> run_open_loop(std::span<const std::uint64_t> due_ns,
                                             std::size_t concurrency, const SendRequest& send) {
    BLOOM_CHECK(concurrency > 0);
    Loop loop{send, rt::Semaphore(concurrency), std::vector<Outcome>(due_ns.size())};
    rt::StopSource stop;
    rt::Scope requests;
    // The next whole tick: timers fire on those.
    const std::uint64_t start = (now_ns() / kTickNs + 1) * kTickNs;
    for (std::size_t i = 0; i < due_ns.size(); ++i) {
        const std::uint64_t due = start + due_ns[i];
        if (due > now_ns()) static_cast<void>(co_await rt::sleep_until(due));
        requests.spawn(one(loop, i, due, stop.token()));
    }
    stop.stop_after(
        std::chrono::duration_cast<rt::Duration>(std::chrono::duration<double>(kDrainSeconds)));
    co_await requests.join();
    stop.clear_deadline();
    co_return std::move(loop.outcomes);
}

} // namespace bloom::measure
