#include "machine.hpp"

#include <algorithm>
#include <utility>

#include <bloom/base/check.hpp>

namespace bloom::text {
namespace {

constexpr std::size_t kFirstBuckets = 1024;
/// Fewer configurations than these are compared one by one.
constexpr std::size_t kFewConfigs = 24;

std::uint32_t hash4(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) noexcept {
    std::uint64_t h = (std::uint64_t{a} << 32 | b) * 0x9e3779b97f4a7c15U;
    h ^= h >> 31;
    h = (h ^ (std::uint64_t{c} << 32 | d)) * 0xff51afd7ed558ccdU;
    return static_cast<std::uint32_t>(h >> 32);
}

} // namespace

Stacks::Stacks(const Grammar& grammar, std::uint32_t horizon)
    : grammar_(&grammar), horizon_(horizon) {
    clear();
}

void Stacks::clear() {
    frames_.assign(1, Frame{});
    buckets_.assign(kFirstBuckets, kNone);
}

std::uint32_t Stacks::bucket(const Frame& frame) const noexcept {
    return hash4(frame.parent, frame.target, frame.rule, frame.count) &
           static_cast<std::uint32_t>(buckets_.size() - 1);
}

std::uint32_t Stacks::find_or_add(std::uint32_t parent, std::uint32_t target, std::uint32_t rule,
                                  std::uint32_t count, bool& fresh) {
    Frame frame{.parent = parent, .target = target, .rule = rule, .count = count};
    const std::uint32_t at = bucket(frame);
    for (std::uint32_t i = buckets_[at]; i != kNone; i = frames_[i].next) {
        const Frame& other = frames_[i];
        if (other.parent == parent && other.target == target && other.rule == rule &&
            other.count == count) {
            fresh = false;
            return i;
        }
    }
    fresh = true;
    const std::uint32_t made = size();
    frame.depth = frames_[parent].depth + 1;
    frame.next = buckets_[at];
    frame.same = made;
    frame.shape = made;
    buckets_[at] = made;
    frames_.push_back(frame);
    if (frames_.size() > buckets_.size()) rehash();
    return made;
}

void Stacks::rehash() {
    buckets_.assign(2 * buckets_.size(), kNone);
    for (std::uint32_t i = 1; i < size(); ++i) { // ascending: newer frames come first in a bucket
        const std::uint32_t at = bucket(frames_[i]);
        frames_[i].next = buckets_[at];
        buckets_[at] = i;
    }
}

std::uint32_t Stacks::push(std::uint32_t parent, std::uint32_t target, std::uint32_t rule,
                           std::uint32_t count) {
    bool fresh = false;
    const std::uint32_t made = find_or_add(parent, target, rule, count, fresh);
    if (!fresh) return made;
    // Both kinds of relatives are their own relatives of that kind.
    const std::uint32_t shape_parent = frames_[parent].shape;
    if (shape_parent != parent || count != 0) {
        const std::uint32_t shape = push(shape_parent, target, rule, 0);
        frames_[made].shape = shape;
    }
    const std::uint32_t same_parent = frames_[parent].same;
    const std::uint32_t same_count = rule == kNone ? count : representative(rule, count);
    if (same_parent != parent || same_count != count) {
        const std::uint32_t same = push(same_parent, target, rule, same_count);
        frames_[made].same = same;
    }
    return made;
}

bool Stacks::covers(std::uint32_t a, std::uint32_t b) const noexcept {
    for (; a != b; a = frames_[a].parent, b = frames_[b].parent) {
        const std::uint32_t count = frames_[a].count;
        const std::uint32_t other = frames_[b].count;
        if (count == other) continue;
        // Fewer rounds done leave more to do, at most; at least, only what is due.
        if (count > other || count < grammar_->rules[frames_[a].rule].least) return false;
    }
    return true;
}

std::uint32_t Stacks::representative(std::uint32_t rule, std::uint32_t count) const noexcept {
    if (count >= kManyDue) return count;
    const Grammar::Rule& r = grammar_->rules[rule];
    if (r.most - count <= horizon_) return count;
    if (count >= r.least) return kManyLeft;
    return r.least - count > horizon_ ? kManyDue : count;
}

void Stacks::shrink(std::uint32_t size) noexcept {
    while (frames_.size() > size) {
        buckets_[bucket(frames_.back())] = frames_.back().next;
        frames_.pop_back();
    }
}

Machine::Machine(const Grammar& grammar, std::uint32_t horizon)
    : grammar_(&grammar), stacks_(grammar, horizon), slots_(4 * kMaxGrammarConfigs, 0) {}

void Machine::begin(Position& out) {
    out.clear();
    out_ = &out;
    seen_.clear();
}

/// To be looked at in finish(), once.
void Machine::visit(std::uint32_t state, std::uint32_t stack) {
    if (stacks_[stack].depth + grammar_->states[state].need > kMaxGrammarDepth) return;
    const Config config{state, stack};
    if (seen_.size() < kFewConfigs) {
        if (std::find(seen_.begin(), seen_.end(), config) != seen_.end()) return;
        seen_.push_back(config);
        return;
    }
    const auto mask = static_cast<std::uint32_t>(slots_.size() - 1);
    const auto insert = [&](std::uint32_t index) {
        std::uint32_t at = hash4(seen_[index].state, seen_[index].stack, 0, 0) & mask;
        while (slots_[at] != 0)
            at = (at + 1) & mask;
        slots_[at] = index + 1;
    };
    if (seen_.size() == kFewConfigs) {
        std::fill(slots_.begin(), slots_.end(), 0);
        for (std::uint32_t i = 0; i < kFewConfigs; ++i)
            insert(i);
    }
    for (std::uint32_t at = hash4(state, stack, 0, 0) & mask; slots_[at] != 0;
         at = (at + 1) & mask) {
        if (seen_[slots_[at] - 1] == config) return;
    }
    if (seen_.size() == kMaxGrammarConfigs) {
        ++n_dropped_;
        return;
    }
    seen_.push_back(config);
    insert(static_cast<std::uint32_t>(seen_.size() - 1));
}

void Machine::pop(std::uint32_t stack) {
    if (stack == kBottom) {
        out_->ends = true;
        return;
    }
    const Stacks::Frame frame = stacks_[stack];
    bool leaves = true;
    if (frame.rule != kNone) {
        const Grammar::Rule& rule = grammar_->rules[frame.rule];
        if (frame.count >= kManyDue) {
            leaves = frame.count == kManyLeft;
            visit(rule.start, stack);
        } else {
            leaves = frame.count + 1 >= rule.least;
            if (frame.count + 1 < rule.most) {
                visit(rule.start,
                      stacks_.push(frame.parent, frame.target, frame.rule, frame.count + 1));
            }
        }
    }
    if (!leaves) return;
    if (frame.target == kLeaves) {
        out_->leaves = true;
    } else {
        visit(frame.target, frame.parent);
    }
}

void Machine::call(const Grammar::Call& call, std::uint32_t stack) {
    const Grammar::Rule& rule = grammar_->rules[call.rule];
    if (call.target == kNone) {
        visit(rule.start, stack);
        return;
    }
    const std::uint32_t depth = stacks_[stack].depth;
    if (depth + grammar_->states[call.target].need > kMaxGrammarDepth ||
        depth + 1 + grammar_->states[rule.start].need > kMaxGrammarDepth) {
        return;
    }
    visit(rule.start, stacks_.push(stack, call.target, rule.counts() ? call.rule : kNone, 0));
}

/// Follows calls and ends of rules until only states with bytes are left.
void Machine::finish() {
    for (std::size_t i = 0; i < seen_.size(); ++i) {
        const Config config = seen_[i];
        const Grammar::State& state = grammar_->states[config.state];
        if (state.accepts) pop(config.stack);
        for (const Grammar::Call& next : grammar_->calls_of(state))
            call(next, config.stack);
        if (state.n_edges > 0) out_->configs.push_back(config);
    }
    n_visited_ += seen_.size();
    if (out_->configs.size() > 1) drop_covered();
}

/// Sorts. Repeats of what may itself repeat are read in as many ways as there are counts; of those
/// that differ in counts alone, the ones that allow least go.
void Machine::drop_covered() {
    std::vector<Config>& configs = out_->configs;
    const auto kind = [&](const Config& config) {
        return std::pair(config.state, stacks_[config.stack].shape);
    };
    std::sort(configs.begin(), configs.end(), [&](const Config& a, const Config& b) {
        return std::pair(kind(a), a.stack) < std::pair(kind(b), b.stack);
    });
    std::size_t kept = 0;
    std::size_t first_alike = 0;
    auto kind_now = kind(configs[0]);
    for (std::size_t i = 0; i < configs.size(); ++i) {
        const Config config = configs[i];
        if (kind(config) != kind_now) {
            kind_now = kind(config);
            first_alike = kept;
        }
        const auto alike = configs.begin() + static_cast<std::ptrdiff_t>(first_alike);
        const auto end = configs.begin() + static_cast<std::ptrdiff_t>(kept);
        if (std::any_of(alike, end, [&](const Config& other) {
                return stacks_.covers(other.stack, config.stack);
            })) {
            continue;
        }
        const auto rest = std::remove_if(alike, end, [&](const Config& other) {
            return stacks_.covers(config.stack, other.stack);
        });
        kept = static_cast<std::size_t>(rest - configs.begin());
        if (kept >= kMaxStacksOfState && configs[kept - kMaxStacksOfState].state == config.state) {
            ++n_dropped_;
            continue;
        }
        configs[kept++] = config;
    }
    configs.resize(kept);
}

void Machine::start(Position& out) {
    begin(out);
    visit(grammar_->rules[0].start, kBottom);
    finish();
}

void Machine::step(const Position& in, std::uint8_t byte, const std::vector<bool>* skip_tags,
                   Run& run, Position& out) {
    BLOOM_DCHECK(&in != &out);
    begin(out);
    for (const Config& config : in.configs) {
        const Grammar::State& state = grammar_->states[config.state];
        if (skip_tags != nullptr && state.tag != kNone && (*skip_tags)[state.tag]) continue;
        for (const Grammar::Edge& edge : grammar_->edges_of(state)) {
            if (edge.last < byte) {
                run.first = std::max(run.first, edge.last + 1U);
            } else if (edge.first > byte) {
                run.last = std::min(run.last, edge.first - 1U);
                break; // edges are sorted by their first byte
            } else {
                run.first = std::max(run.first, unsigned{edge.first});
                run.last = std::min(run.last, unsigned{edge.last});
                visit(edge.target, config.stack);
            }
        }
    }
    finish();
}

void Machine::step_tag(const Position& in, std::uint32_t tag, Position& out) {
    BLOOM_DCHECK(&in != &out);
    begin(out);
    for (const Config& config : in.configs) {
        if (grammar_->states[config.state].tag == tag) pop(config.stack);
    }
    finish();
}

void Machine::leave(std::uint32_t stack, Position& out) {
    begin(out);
    if (stack != kBottom) {
        const Stacks::Frame frame = stacks_[stack];
        if (frame.target == kLeaves) {
            out.leaves = true;
        } else {
            visit(frame.target, frame.parent);
        }
    }
    finish();
}

} // namespace bloom::text
