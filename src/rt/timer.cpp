#include <algorithm>
#include <bit>
#include <utility>

#include <bloom/rt/timer.hpp>

namespace bloom::rt {

void TimerWheel::push(Timer*& list, Timer& timer) noexcept {
    timer.next_ = list;
    timer.prev_next_ = &list;
    if (list != nullptr) list->prev_next_ = &timer.next_;
    list = &timer;
}

void TimerWheel::place(Timer& timer) noexcept {
    if (timer.tick_ <= tick_) {
        timer.level_ = kDueLevel;
        push(due_, timer);
        return;
    }
    // The highest group of six bits in which the tick differs from now decides the level.
    const std::uint64_t differs = timer.tick_ ^ tick_;
    const unsigned level = (static_cast<unsigned>(std::bit_width(differs)) - 1) / kBits;
    const auto slot = static_cast<unsigned>(timer.tick_ >> (level * kBits)) & (kSlots - 1);
    timer.level_ = static_cast<std::uint8_t>(level);
    timer.slot_ = static_cast<std::uint8_t>(slot);
    push(slots_[level][slot], timer);
    occupied_[level] |= std::uint64_t{1} << slot;
}

void TimerWheel::unlink(Timer& timer) noexcept {
    *timer.prev_next_ = timer.next_;
    if (timer.next_ != nullptr) timer.next_->prev_next_ = timer.prev_next_;
    timer.prev_next_ = nullptr;
    if (timer.level_ != kDueLevel && slots_[timer.level_][timer.slot_] == nullptr) {
        occupied_[timer.level_] &= ~(std::uint64_t{1} << timer.slot_);
    }
}

void TimerWheel::add(Timer& timer, std::uint64_t at_ns) noexcept {
    if (timer.armed()) cancel(timer);
    const std::uint64_t tick = at_ns / kTickNs + (at_ns % kTickNs != 0 ? 1 : 0);
    timer.tick_ = std::min(tick, kMaxTick);
    place(timer);
    ++n_armed_;
}

void TimerWheel::cancel(Timer& timer) noexcept {
    if (!timer.armed()) return;
    unlink(timer);
    --n_armed_;
}

std::size_t TimerWheel::fire_due() noexcept {
    // What callbacks add as due waits for the next advance(), so that this ends.
    Timer* firing = nullptr;
    while (due_ != nullptr) {
        Timer& timer = *due_;
        unlink(timer);
        push(firing, timer);
    }
    std::size_t n = 0;
    while (firing != nullptr) {
        Timer& timer = *firing;
        unlink(timer);
        --n_armed_;
        ++n;
        timer.fire_(timer);
    }
    return n;
}

TimerWheel::Next TimerWheel::next_slot() const noexcept {
    // A lower level ends before the next slot of a higher one begins, so the lowest occupied level
    // wins.
    for (unsigned level = 0; level < kLevels; ++level) {
        if (occupied_[level] == 0) continue;
        const auto slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
        const unsigned above = (level + 1) * kBits;
        const std::uint64_t tick = (tick_ >> above << above) | static_cast<std::uint64_t>(slot)
                                                                   << (level * kBits);
        return {tick, level, slot};
    }
    return {};
}

std::size_t TimerWheel::advance(std::uint64_t now_ns) noexcept {
    const std::uint64_t target = now_ns / kTickNs;
    std::size_t n = fire_due();
    for (;;) {
        const Next next = next_slot();
        if (next.tick > target || next.tick == kNever) break;
        BLOOM_DCHECK(next.tick > tick_);
        tick_ = next.tick;
        Timer* list = std::exchange(slots_[next.level][next.slot], nullptr);
        occupied_[next.level] &= ~(std::uint64_t{1} << next.slot);
        // Sorts the slot into finer ones; what is due exactly now goes to the due list.
        while (list != nullptr) {
            Timer& timer = *list;
            list = timer.next_;
            place(timer);
        }
        n += fire_due();
    }
    tick_ = std::max(tick_, target);
    return n;
}

std::uint64_t TimerWheel::next_ns() const noexcept {
    if (due_ != nullptr) return 0;
    const Next next = next_slot();
    return next.tick == kNever ? kNever : next.tick * kTickNs;
}

} // namespace bloom::rt
