#include "walker.hpp"

#include <algorithm>

namespace bloom::text {
namespace {

std::size_t hash(const Position& position) noexcept {
    std::uint64_t h = (position.ends ? 2U : 0U) + (position.leaves ? 1U : 0U);
    for (const Config& config : position.configs) {
        h = (h ^ (std::uint64_t{config.state} << 32 | config.stack)) * 0x9e3779b97f4a7c15U;
        h ^= h >> 32;
    }
    return h;
}

bool equal(const Position& a, const Position& b) noexcept {
    return a.ends == b.ends && a.leaves == b.leaves && a.configs == b.configs;
}

} // namespace

Walker::Walker(const GrammarVocab::Impl& vocab, Machine& machine,
               const std::vector<bool>& skip_tags)
    : vocab_(vocab), machine_(machine), skip_tags_(skip_tags), slots_(4 * kMaxMet, kUnknown) {}

Walker::Id Walker::meet(const Position& position) {
    if (n_met_ == 0) std::fill(slots_.begin(), slots_.end(), kUnknown);
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash(position) & mask;
    for (; slots_[at] != kUnknown; at = (at + 1) & mask) {
        if (equal(met_[slots_[at]], position)) return slots_[at];
    }
    const auto id = static_cast<Id>(n_met_++);
    slots_[at] = id;
    if (met_.size() < n_met_) {
        met_.emplace_back();
        next_.emplace_back();
        stays_.emplace_back();
    }
    stays_[id] = Stays::unknown;
    met_[id].configs.assign(position.configs.begin(), position.configs.end());
    met_[id].ends = position.ends;
    met_[id].leaves = position.leaves;
    next_[id].fill(kUnknown);
    return id;
}

/// Starts over with nothing but the positions on the path, under new numbers.
void Walker::make_room(std::span<Id> path) {
    kept_.clear();
    for (const Id id : path)
        kept_.push_back(met_[id]);
    n_met_ = 0;
    for (std::size_t i = 0; i < path.size(); ++i)
        path[i] = meet(kept_[i]);
}

Walker::Id Walker::step(Id from, std::uint8_t byte, std::span<Id> path) {
    if (n_met_ == kMaxMet) {
        make_room(path);
        from = path.back();
    }
    Machine::Run run;
    machine_.step(met_[from], byte, &skip_tags_, run, scratch_);
    const Id to = scratch_.empty() ? kDead : meet(scratch_);
    for (unsigned b = run.first; b <= run.last; ++b)
        next_[from][b] = to;
    return to;
}

/// Whether all plain letters lead from a position to itself: inside of strings and texts.
bool Walker::stays(Id id, std::span<Id> path) {
    if (stays_[id] != Stays::unknown) return stays_[id] == Stays::yes;
    // A step might start over.
    if (n_met_ + 256 > kMaxMet || machine_.n_visited() > max_visited_) return false;
    bool all = true;
    for (unsigned byte = 0x7e; byte >= 0x20 && all; --byte) {
        if (!GrammarVocab::Impl::is_plain(byte)) continue;
        Id to = next_[id][byte];
        if (to == kUnknown) to = step(id, static_cast<std::uint8_t>(byte), path);
        all = to == id;
    }
    stays_[id] = all ? Stays::yes : Stays::no;
    return all;
}

void Walker::walk(std::uint32_t first, std::uint32_t last, const Position& from,
                  std::span<std::uint64_t> bits, std::vector<std::uint32_t>* leaves) {
    if (first == last) return;
    const std::uint32_t base = vocab_.nodes[first].depth - 1U;
    std::array<Id, kMaxGrammarTokenBytes + 1> path; // position at every depth below the base
    if (n_met_ == kMaxMet) reset();
    path[0] = meet(from);
    for (std::uint32_t i = first; i < last;) {
        const GrammarVocab::Impl::Node& node = vocab_.nodes[i];
        const std::size_t depth = node.depth - base;
        Id to = next_[path[depth - 1]][node.byte];
        if (to == kUnknown) {
            if (machine_.n_visited() > max_visited_ && node.depth > 1) {
                i = node.skip;
                continue;
            }
            to = step(path[depth - 1], node.byte, std::span(path).first(depth));
        }
        if (to == kDead) {
            i = node.skip;
            continue;
        }
        path[depth] = to;
        const bool whole =
            node.plain && node.skip > i + 1 && stays(to, std::span(path).first(depth + 1));
        const std::uint32_t behind = whole ? node.skip : i + 1;
        const std::uint32_t end = vocab_.nodes[behind].first_token;
        for (std::uint32_t t = node.first_token; t < end; ++t) {
            const auto id = static_cast<std::uint32_t>(vocab_.tokens[t]);
            bits[id / 64] |= std::uint64_t{1} << id % 64;
        }
        if (whole) {
            i = behind;
            continue;
        }
        const Position& position = met_[to];
        if (position.leaves && leaves != nullptr && node.skip > i + 1) leaves->push_back(i);
        i = position.configs.empty() ? node.skip : i + 1;
    }
}

} // namespace bloom::text
