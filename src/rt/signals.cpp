#include <cerrno>
#include <csignal>
#include <sys/signalfd.h>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/rt/ops.hpp>
#include <bloom/rt/shard.hpp>
#include <bloom/rt/signals.hpp>

namespace bloom::rt {

Result<> prepare_signals() {
    sigset_t mask;
    sigemptyset(&mask);
    for (const int signo : {SIGTERM, SIGINT, SIGHUP})
        sigaddset(&mask, signo);
    if (const int rc = ::pthread_sigmask(SIG_BLOCK, &mask, nullptr); rc != 0) {
        return Error::from_errno(rc, "pthread_sigmask");
    }
    if (std::signal(SIGPIPE, SIG_IGN) == SIG_ERR) return Error::from_errno(errno, "ignore SIGPIPE");
    return {};
}

Result<SignalSource> SignalSource::open(std::vector<int> signals) {
    BLOOM_TRY(const Handle handle, Shard::current().driver().open_signals(signals));
    return SignalSource(handle);
}

SignalSource::SignalSource(SignalSource&& other) noexcept
    : handle_(std::exchange(other.handle_, Handle::none)) {}

SignalSource::~SignalSource() {
    BLOOM_CHECK(handle_ == Handle::none);
}

Task<Result<int>> SignalSource::next(StopToken stop) {
    signalfd_siginfo info{};
    const MutableByteSpan into(reinterpret_cast<std::uint8_t*>(&info), sizeof info);
    BLOOM_CO_TRY(const std::size_t n, co_await read_at(handle_, into, 0, stop));
    if (n != sizeof info) co_return Error(Code::internal, "signalfd gave a record of another size");
    co_return static_cast<int>(info.ssi_signo);
}

Task<void> SignalSource::close() {
    const Handle handle = std::exchange(handle_, Handle::none);
    if (handle != Handle::none) static_cast<void>(co_await rt::close(handle));
}

} // namespace bloom::rt
