#pragma once

#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/rt/driver.hpp>
#include <bloom/rt/stop.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::rt {

/// Blocks SIGTERM, SIGINT and SIGHUP for delivery through SignalSource and ignores SIGPIPE.
/// Call in main before any thread starts: threads inherit it.
Result<> prepare_signals();

/// Signals of the process as values on one shard. `co_await close()` before it goes.
///
///     BLOOM_CO_TRY(auto signals, rt::SignalSource::open({SIGTERM, SIGINT, SIGHUP}));
///     BLOOM_CO_TRY(int signo, co_await signals.next(stop));
class SignalSource {
public:
    /// On the current shard; the signals must have been blocked by prepare_signals().
    static Result<SignalSource> open(std::vector<int> signals);

    SignalSource(SignalSource&& other) noexcept;
    SignalSource& operator=(SignalSource&&) = delete;
    ~SignalSource();

    /// The next signal's number. Errors: the token's when stopped.
    Task<Result<int>> next(StopToken stop);
    Task<void> close();

private:
    explicit SignalSource(Handle handle) noexcept : handle_(handle) {}

    Handle handle_;
};

} // namespace bloom::rt
