#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/base/error.hpp>
#include <bloom/rt/timer.hpp>

namespace bloom::rt {

using Duration = std::chrono::nanoseconds;

/// Why something is asked to stop. The first reason stands.
enum class StopReason : std::uint8_t {
    none,        ///< nobody asked
    requested,   ///< the caller changed its mind
    client_gone, ///< the peer that wanted the result has left
    deadline,    ///< time is up; the only reason that becomes Code::timeout
    shutdown,    ///< the process is going down
    overload,    ///< shed to keep the rest alive
    lost_race,   ///< another branch of when_any was faster
};

std::string_view to_string(StopReason reason) noexcept;

/// Registered with a StopSource through a token, told once. The function runs inside
/// request_stop(): it may cancel operations and push ready items, it may not resume coroutines or
/// destroy the source.
class StopNode {
public:
    using Notify = void (*)(StopNode&) noexcept;

    explicit StopNode(Notify notify) noexcept : notify_(notify) {}

    StopNode(const StopNode&) = delete;
    StopNode& operator=(const StopNode&) = delete;

    ~StopNode() { unlink(); }

    bool linked() const noexcept { return prev_next_ != nullptr; }

    void unlink() noexcept {
        if (prev_next_ == nullptr) return;
        *prev_next_ = next_;
        if (next_ != nullptr) next_->prev_next_ = prev_next_;
        prev_next_ = nullptr;
    }

private:
    friend class StopSource;
    friend class StopToken;

    StopNode* next_ = nullptr;
    StopNode** prev_next_ = nullptr;
    Notify notify_;
};

class StopSource;

/// A look at a StopSource: cheap to copy, passed last. A default token never stops anything.
/// Lifetime: not longer than its source; whoever owns the source joins those who hold tokens first.
/// Thread:   the shard's; a foreign thread posts instead.
class StopToken {
public:
    StopToken() noexcept = default;

    bool stop_requested() const noexcept;
    StopReason reason() const noexcept;

    /// Whether it could ever stop.
    bool stop_possible() const noexcept { return source_ != nullptr; }

    /// The error an operation returns when this token stopped it: Code::timeout after a deadline,
    /// Code::cancelled with the reason as text otherwise.
    Error error() const;

    /// Registers `node`, which must not be registered yet. False, and nothing registered, when stop
    /// was requested before. A default token says true and never calls.
    bool link(StopNode& node) const noexcept;

private:
    friend class StopSource;

    explicit StopToken(StopSource* source) noexcept : source_(source) {}

    StopSource* source_ = nullptr;
};

/// Where a stop is asked for. Linked to a parent it stops with it, with the parent's reason. Not
/// movable: tokens point at it. Destroying one with registered listeners aborts.
///
///     StopSource request(connection_stop);      // stops with the connection
///     request.stop_after(30s);                  // or by deadline
///     co_await serve(exchange, request.token());
class StopSource {
public:
    explicit StopSource(StopToken parent = {}) noexcept;
    StopSource(const StopSource&) = delete;
    StopSource& operator=(const StopSource&) = delete;
    ~StopSource();

    StopToken token() noexcept { return StopToken(this); }

    bool stop_requested() const noexcept { return reason_ != StopReason::none; }

    StopReason reason() const noexcept { return reason_; }

    /// Tells every listener once; false when it had been asked before.
    bool request_stop(StopReason reason = StopReason::requested) noexcept;

    /// Stops with StopReason::deadline at that time of the shard's clock; a later call moves the
    /// deadline.
    void stop_at(std::uint64_t at_ns) noexcept;
    void stop_after(Duration after) noexcept;
    void clear_deadline() noexcept;

private:
    friend class StopToken;

    struct ParentLink final : StopNode {
        explicit ParentLink(StopSource* owner) noexcept;
        StopSource* self;
    };

    struct Deadline final : Timer {
        explicit Deadline(StopSource* owner) noexcept;
        StopSource* self;
    };

    StopNode* listeners_ = nullptr;
    StopToken parent_;
    ParentLink link_;
    Deadline deadline_;
    StopReason reason_ = StopReason::none;
};

inline bool StopToken::stop_requested() const noexcept {
    return source_ != nullptr && source_->stop_requested();
}

inline StopReason StopToken::reason() const noexcept {
    return source_ == nullptr ? StopReason::none : source_->reason();
}

/// Calls `f()` when stop is requested, at once if it was already. `f` follows the rule of StopNode.
template <class F>
class StopCallback final : private StopNode {
public:
    StopCallback(StopToken token, F f) : StopNode(&run), f_(std::move(f)) {
        if (!token.link(*this)) f_();
    }

private:
    static void run(StopNode& node) noexcept { static_cast<StopCallback&>(node).f_(); }

    F f_;
};

} // namespace bloom::rt
