#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <bloom/base/check.hpp>

namespace bloom::rt {

/// An alarm that a wheel can hold: embedded in what it belongs to.
/// Lifetime: cancel it (or let it fire) before it goes; the destructor checks.
class Timer {
public:
    using Fire = void (*)(Timer&) noexcept;

    explicit Timer(Fire fire) noexcept : fire_(fire) {}

    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    ~Timer() { BLOOM_CHECK(!armed()); }

    bool armed() const noexcept { return prev_next_ != nullptr; }

private:
    friend class TimerWheel;

    Timer* next_ = nullptr;
    Timer** prev_next_ = nullptr; ///< the pointer that points here; null when not armed
    std::uint64_t tick_ = 0;
    Fire fire_;
    std::uint8_t level_ = 0;
    std::uint8_t slot_ = 0;
};

/// Hierarchical timing wheel: adding and cancelling are O(1), a timer moves at most kLevels - 1
/// times. Units:  absolute nanoseconds of the driver's monotonic clock, rounded up to ticks of one
/// millisecond;
///         a timer never fires early and less than one tick late (plus what the loop is late
///         itself).
/// Thread: the shard's.
/// Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987.
class TimerWheel {
public:
    static constexpr std::uint64_t kTickNs = 1'000'000;
    static constexpr std::uint64_t kNever = ~std::uint64_t{0};

    explicit TimerWheel(std::uint64_t now_ns) noexcept : tick_(now_ns / kTickNs) {}

    TimerWheel(const TimerWheel&) = delete;
    TimerWheel& operator=(const TimerWheel&) = delete;

    ~TimerWheel() { BLOOM_CHECK(n_armed_ == 0); }

    /// Arms; re-arms when already armed. A time in the past fires at the next advance().
    void add(Timer& timer, std::uint64_t at_ns) noexcept;
    /// Nothing if it is not armed.
    void cancel(Timer& timer) noexcept;
    /// Fires everything due at `now_ns`, in order of ticks. Callbacks may add and cancel. Returns
    /// how many.
    std::size_t advance(std::uint64_t now_ns) noexcept;
    /// When advance() has to be called next, at the latest: exact for timers of the next 64 ticks,
    /// else the time at which a slot has to be sorted into finer ones. kNever without timers.
    std::uint64_t next_ns() const noexcept;

    std::size_t n_armed() const noexcept { return n_armed_; }

private:
    static constexpr unsigned kBits = 6;
    static constexpr unsigned kSlots = 1U << kBits;
    static constexpr unsigned kLevels = 7; // 64^7 ms is 139 years
    static constexpr std::uint64_t kMaxTick = (std::uint64_t{1} << (kBits * kLevels)) - 1;

    static constexpr std::uint8_t kDueLevel = kLevels; // on the due list, not in a slot

    struct Next {
        std::uint64_t tick = kNever; ///< first tick of the slot
        unsigned level = 0;
        unsigned slot = 0;
    };

    static void push(Timer*& list, Timer& timer) noexcept;
    void place(Timer& timer) noexcept;
    void unlink(Timer& timer) noexcept;
    std::size_t fire_due() noexcept;
    /// The next occupied slot over all levels.
    Next next_slot() const noexcept;

    std::uint64_t tick_; ///< everything up to and including this tick has fired or is due
    std::size_t n_armed_ = 0;
    Timer* due_ = nullptr;
    std::array<std::uint64_t, kLevels> occupied_{};
    std::array<std::array<Timer*, kSlots>, kLevels> slots_{};
};

} // namespace bloom::rt
