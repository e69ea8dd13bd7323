#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "automaton.hpp"

/// Runs a Grammar: stacks, sets of configurations, steps over bytes. Known to src/text/grammar
/// only.
namespace bloom::text {

/// Ways to read the same text that are followed at once. Of more, the ones found last are dropped,
/// which refuses texts but never leads into a dead end.
inline constexpr std::size_t kMaxGrammarConfigs = 1024;
/// The same for stacks in one state: many ways to nest what has been read, which only grammars
/// that say the same twice have.
inline constexpr std::size_t kMaxStacksOfState = 64;

/// The stack without frames: the end of rule 0 is the end of the text.
inline constexpr std::uint32_t kBottom = 0;

/// A return address: popping a frame with it tells that the text left what was being looked at.
inline constexpr std::uint32_t kLeaves = 0xffff'fffeU;

/// Counts that stand for many: rounds are due for longer than any token reaches, and: the call may
/// end, and rounds are left for longer than any token reaches. Counting on changes neither.
inline constexpr std::uint32_t kManyDue = 0xffff'fffeU;
inline constexpr std::uint32_t kManyLeft = 0xffff'ffffU;

/// Stacks as chains of frames. Equal stacks are the same number. Frames are made in order and may
/// be taken back in reverse order.
class Stacks {
public:
    struct Frame {
        std::uint32_t parent = kBottom;
        std::uint32_t target = kLeaves; ///< state to go on in
        std::uint32_t rule = kNone;     ///< the counting rule that was called, if it counts
        std::uint32_t count = 0;        ///< rounds of that rule that are complete
        /// The stack with counters that no token can tell apart from these brought together.
        std::uint32_t same = kBottom;
        /// The stack with all counters at zero.
        std::uint32_t shape = kBottom;
        std::uint32_t next = kNone; ///< in the bucket
        std::uint32_t depth = 0;
    };

    /// `horizon`: how far a token can move a counter.
    Stacks(const Grammar& grammar, std::uint32_t horizon);

    const Frame& operator[](std::uint32_t stack) const noexcept { return frames_[stack]; }

    std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(frames_.size()); }

    std::uint32_t push(std::uint32_t parent, std::uint32_t target, std::uint32_t rule,
                       std::uint32_t count);
    /// Whether whatever can follow on stack `b` can follow on stack `a`, which has the same shape.
    bool covers(std::uint32_t a, std::uint32_t b) const noexcept;
    /// kManyDue or kManyLeft where that is how `count` behaves within the horizon; otherwise
    /// itself.
    std::uint32_t representative(std::uint32_t rule, std::uint32_t count) const noexcept;
    /// Takes back all frames from number `size` on.
    void shrink(std::uint32_t size) noexcept;
    void clear();

private:
    std::uint32_t find_or_add(std::uint32_t parent, std::uint32_t target, std::uint32_t rule,
                              std::uint32_t count, bool& fresh);
    std::uint32_t bucket(const Frame& frame) const noexcept;
    void rehash();

    const Grammar* grammar_;
    std::uint32_t horizon_;
    std::vector<Frame> frames_; ///< 0 is the bottom
    std::vector<std::uint32_t> buckets_;
};

struct Config {
    std::uint32_t state = 0;
    std::uint32_t stack = 0;

    friend auto operator<=>(const Config&, const Config&) = default;
};

/// All ways to read a text so far, up to the states where bytes or tags are next.
struct Position {
    std::vector<Config> configs; ///< in one order, none covered by another
    bool ends = false;           ///< the text may end here
    bool leaves = false;         ///< a frame with kLeaves was popped

    bool empty() const noexcept { return configs.empty() && !ends && !leaves; }

    void clear() noexcept {
        configs.clear();
        ends = leaves = false;
    }
};

/// Steps; holds what they need so that none allocates once warm. Thread: one.
class Machine {
public:
    Machine(const Grammar& grammar, std::uint32_t horizon);

    const Grammar& grammar() const noexcept { return *grammar_; }

    Stacks& stacks() noexcept { return stacks_; }

    const Stacks& stacks() const noexcept { return stacks_; }

    /// Where every text begins.
    void start(Position& out);

    /// The bytes around one for which a step gives the same.
    struct Run {
        unsigned first = 0;
        unsigned last = 255;
    };

    /// One byte further; empty where it does not fit. `skip_tags`: tags for which a token stands,
    /// by number: not spelled out then. `run` is narrowed.
    void step(const Position& in, std::uint8_t byte, const std::vector<bool>* skip_tags, Run& run,
              Position& out);
    /// Behind this tag, written as its token.
    void step_tag(const Position& in, std::uint32_t tag, Position& out);
    /// Behind the end of the rule that runs on `stack`.
    void leave(std::uint32_t stack, Position& out);

    /// Configurations left out so far for the two bounds above.
    std::uint64_t n_dropped() const noexcept { return n_dropped_; }

    /// Configurations looked at so far, a measure of work.
    std::uint64_t n_visited() const noexcept { return n_visited_; }

private:
    void begin(Position& out);
    void visit(std::uint32_t state, std::uint32_t stack);
    void pop(std::uint32_t stack);
    void call(const Grammar::Call& call, std::uint32_t stack);
    void finish();
    void drop_covered();

    const Grammar* grammar_;
    Stacks stacks_;
    Position* out_ = nullptr;
    std::uint64_t n_dropped_ = 0;
    std::uint64_t n_visited_ = 0;
    std::vector<Config> seen_;         ///< of this step, in order of discovery
    std::vector<std::uint32_t> slots_; ///< index in seen_ + 1 by hash, once there are many
};

} // namespace bloom::text
