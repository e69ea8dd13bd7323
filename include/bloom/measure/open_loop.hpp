#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <bloom/rt/async_function.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

/// Load whose arrivals do not wait for answers: a slow server gets no fewer requests, and the time
/// a request spends waiting for its turn counts. (A loop that sends the next request after the
/// last answer measures least when the server stalls longest.)
namespace bloom::measure {

enum class Arrivals : std::uint8_t {
    even,    ///< one every 1 / rate
    poisson, ///< independent of each other: exponential gaps
};

/// When requests begin, in nanoseconds after the start, ascending, all within `duration_s`. Whole
/// milliseconds, which timers keep: above 1000 a second several begin at once.
std::vector<std::uint64_t> arrival_times(double rate, double duration_s, Arrivals arrivals,
                                         std::uint64_t seed);

/// What became of one request. Times in nanoseconds of the driver's clock.
struct Outcome {
    std::uint64_t due_ns = 0;   ///< set by run_open_loop
    std::uint64_t sent_ns = 0;  ///< likewise: when it got its place among `concurrency`
    std::uint64_t first_ns = 0; ///< first content; 0: none came
    std::uint64_t end_ns = 0;
    std::vector<std::uint64_t> gaps_ns; ///< between pieces of content
    std::int64_t n_tokens = 0;          ///< generated, as the node counts them
    std::string error;                  ///< empty: answered
};

/// Sends request `i` and reads its answer; fills first_ns, gaps_ns, n_tokens and error.
using SendRequest = rt::AsyncFunction<rt::Task<Outcome>(std::size_t i, rt::StopToken stop)>;

/// How long the last answers may take after the last arrival.
inline constexpr double kDrainSeconds = 120;

/// Sends one request at each of `due_ns`, at most `concurrency` at a time, and waits for all.
/// `send` outlives the call. Thread: the shard's.
rt::Task<std::vector<Outcome>> run_open_loop(std::span<const std::uint64_t> due_ns,
                                             std::size_t concurrency, const SendRequest& send);

} // namespace bloom::measure
