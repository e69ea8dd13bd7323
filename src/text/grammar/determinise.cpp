#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "compiler.hpp"

namespace bloom::text {
namespace {

using Arc = Nfa::Arc;
using Set = std::vector<std::uint32_t>; ///< NFA states, sorted

/// Determinising a rule may make so many states of one of the NFA before the rule stays as it is.
constexpr std::size_t kMaxGrowth = 4;
constexpr std::size_t kAlwaysAllowed = 1024;
/// The same for the steps that it takes.
constexpr std::uint64_t kMaxGrowthOfWork = 64;
constexpr std::uint64_t kAlwaysAllowedWork = std::uint64_t{1} << 16;

struct SetHash {
    std::size_t operator()(const Set& set) const noexcept {
        std::uint64_t h = set.size();
        for (const std::uint32_t state : set)
            h = (h ^ state) * 0x9e3779b97f4a7c15U ^ h >> 29;
        return h;
    }
};

class Determiniser {
public:
    Determiniser(const Nfa& nfa, bool strip, Draft& draft)
        : nfa_(nfa), strip_(strip), draft_(draft), first_arc_(nfa.n_states + 1, 0),
          arcs_(nfa.arcs.size()), seen_(nfa.n_states, 0), lasting_(nfa.n_states, false) {
        for (const Arc& arc : nfa.arcs)
            ++first_arc_[arc.from + 1];
        for (std::size_t i = 0; i < nfa.n_states; ++i)
            first_arc_[i + 1] += first_arc_[i];
        std::vector<std::uint32_t> fill(first_arc_.begin(), first_arc_.end() - 1);
        for (const Arc& arc : nfa.arcs) {
            arcs_[fill[arc.from]++] = arc;
            if (arc.kind != Arc::Kind::empty) lasting_[arc.from] = true;
        }
        lasting_[kNfaExit] = true;
    }

    Result<std::uint32_t> run() {
        const std::size_t states_before = draft_.states.size();
        work_allowed_ = std::min(kMaxBuildWork, draft_.work + kAlwaysAllowedWork +
                                                    kMaxGrowthOfWork * nfa_.arcs.size());
        if (subsets()) return start_;
        draft_.states.resize(states_before);
        work_allowed_ = kMaxBuildWork;
        if (!one_by_one()) return too_large();
        return start_;
    }

private:
    static Error too_large() {
        return Error{Code::too_large, "the grammar needs more than " +
                                          std::to_string(kMaxGrammarStates) + " states"};
    }

    std::span<const Arc> arcs_of(std::uint32_t state) const {
        return std::span(arcs_).subspan(first_arc_[state],
                                        first_arc_[state + 1] - first_arc_[state]);
    }

    /// What empty moves reach from `seed`, of that only states that do more than pass on.
    Set closure(std::span<const std::uint32_t> seed) {
        Set out;
        ++stamp_;
        pending_.assign(seed.begin(), seed.end());
        for (const std::uint32_t state : pending_)
            seen_[state] = stamp_;
        while (!pending_.empty()) {
            const std::uint32_t state = pending_.back();
            pending_.pop_back();
            if (lasting_[state]) out.push_back(state);
            for (const Arc& arc : arcs_of(state)) {
                ++draft_.work;
                if (arc.kind != Arc::Kind::empty || seen_[arc.to] == stamp_) continue;
                seen_[arc.to] = stamp_;
                pending_.push_back(arc.to);
            }
        }
        std::sort(out.begin(), out.end());
        out.erase(std::unique(out.begin(), out.end()), out.end());
        return out;
    }

    bool over(std::size_t n_states) const {
        return draft_.work > work_allowed_ || draft_.states.size() > kMaxGrammarStates ||
               n_states > kMaxGrowth * nfa_.n_states + kAlwaysAllowed;
    }

    std::uint32_t state_of(Set set) {
        const auto fresh = static_cast<std::uint32_t>(draft_.states.size());
        const auto [it, added] = index_.try_emplace(std::move(set), fresh);
        if (added) add_state(it->first, true);
        return it->second;
    }

    void add_state(const Set& set, bool may_accept) {
        Draft::State& state = draft_.states.emplace_back();
        state.accepts = may_accept && std::binary_search(set.begin(), set.end(), kNfaExit);
        sets_.push_back(set);
    }

    /// The classical construction (Rabin and Scott 1959), with calls as letters of their own.
    bool subsets() {
        const auto base = static_cast<std::uint32_t>(draft_.states.size());
        const std::uint32_t entry = kNfaEntry;
        Set first = closure(std::span(&entry, 1));
        start_ = base;
        if (strip_ && std::binary_search(first.begin(), first.end(), kNfaExit)) {
            add_state(first, false); // differs from the set that is met again later
        } else {
            state_of(std::move(first));
        }
        for (std::size_t i = 0; i < sets_.size(); ++i) {
            const Set set = sets_[i];
            const auto at = static_cast<std::uint32_t>(base + i);
            byte_moves(set, at);
            call_moves(set, at);
            if (over(sets_.size())) return false;
        }
        return true;
    }

    void byte_moves(const Set& set, std::uint32_t at) {
        std::array<bool, 257> starts{};
        for (const std::uint32_t state : set) {
            for (const Arc& arc : arcs_of(state)) {
                if (arc.kind != Arc::Kind::bytes) continue;
                starts[arc.run.first] = true;
                starts[arc.run.last + 1U] = true;
            }
        }
        std::array<std::uint16_t, 257> piece_of{};
        std::array<std::uint8_t, 257> first_of{};
        std::uint16_t n_pieces = 0;
        for (unsigned byte = 0; byte < 256; ++byte) {
            if (byte == 0 || starts[byte]) first_of[n_pieces++] = static_cast<std::uint8_t>(byte);
            piece_of[byte] = static_cast<std::uint16_t>(n_pieces - 1);
        }
        for (unsigned piece = 0; piece < n_pieces; ++piece)
            targets_[piece].clear();
        for (const std::uint32_t state : set) {
            for (const Arc& arc : arcs_of(state)) {
                if (arc.kind != Arc::Kind::bytes) continue;
                for (unsigned piece = piece_of[arc.run.first]; piece <= piece_of[arc.run.last];
                     ++piece) {
                    targets_[piece].push_back(arc.to);
                    ++draft_.work;
                }
            }
        }
        for (unsigned piece = 0; piece < n_pieces; ++piece) {
            if (targets_[piece].empty()) continue;
            if (over(sets_.size())) return;
            const unsigned last = piece + 1U < n_pieces ? first_of[piece + 1U] - 1U : 255U;
            const std::uint32_t target = state_of(closure(targets_[piece]));
            auto& edges = draft_.states[at].edges;
            if (!edges.empty() && edges.back().target == target &&
                edges.back().last + 1U == first_of[piece]) {
                edges.back().last = static_cast<std::uint8_t>(last);
            } else {
                edges.push_back({first_of[piece], static_cast<std::uint8_t>(last), target});
            }
        }
    }

    void call_moves(const Set& set, std::uint32_t at) {
        std::vector<std::pair<std::uint32_t, std::uint32_t>> moves; // rule, to
        for (const std::uint32_t state : set) {
            for (const Arc& arc : arcs_of(state)) {
                if (arc.kind == Arc::Kind::call) moves.emplace_back(arc.rule, arc.to);
            }
        }
        std::sort(moves.begin(), moves.end());
        Set together;
        for (std::size_t i = 0; i < moves.size();) {
            const std::uint32_t rule = moves[i].first;
            together.clear();
            for (; i < moves.size() && moves[i].first == rule; ++i)
                together.push_back(moves[i].second);
            const std::uint32_t target = state_of(closure(together));
            draft_.states[at].calls.push_back({rule, target});
        }
    }

    /// Without empty moves only: a state for every state of the NFA that is entered.
    bool one_by_one() {
        index_.clear();
        sets_.clear();
        const auto base = static_cast<std::uint32_t>(draft_.states.size());
        std::vector<std::uint32_t> state_of_nfa(nfa_.n_states, kNone);
        std::vector<std::uint32_t> entered = {kNfaEntry};
        start_ = base;
        const auto state_for = [&](std::uint32_t nfa_state) {
            std::uint32_t& state = state_of_nfa[nfa_state];
            if (state == kNone) {
                state = static_cast<std::uint32_t>(base + entered.size());
                entered.push_back(nfa_state);
            }
            return state;
        };
        // Nothing leads back to the entry, so taking the empty text out of it takes nothing else.
        for (std::size_t i = 0; i < entered.size(); ++i) {
            if (over(0)) return false;
            const Set set = closure(std::span(&entered[i], 1));
            Draft::State made;
            for (const std::uint32_t member : set) {
                if (member == kNfaExit) made.accepts = !(strip_ && i == 0);
                for (const Arc& arc : arcs_of(member)) {
                    if (arc.kind == Arc::Kind::bytes) {
                        made.edges.push_back({arc.run.first, arc.run.last, state_for(arc.to)});
                    } else if (arc.kind == Arc::Kind::call) {
                        made.calls.push_back({arc.rule, state_for(arc.to)});
                    }
                }
            }
            draft_.work += made.edges.size() + made.calls.size();
            std::sort(made.edges.begin(), made.edges.end(), [](const auto& a, const auto& b) {
                return std::tuple(a.first, a.last, a.target) <
                       std::tuple(b.first, b.last, b.target);
            });
            draft_.states.push_back(std::move(made));
        }
        return true;
    }

    const Nfa& nfa_;
    bool strip_;
    Draft& draft_;
    std::vector<std::uint32_t> first_arc_;
    std::vector<Arc> arcs_; ///< by state
    std::vector<std::uint32_t> seen_;
    std::vector<bool> lasting_; ///< has arcs that are not empty, or is the exit
    std::uint32_t stamp_ = 0;
    std::uint64_t work_allowed_ = 0;
    std::vector<std::uint32_t> pending_;
    std::array<Set, 256> targets_;
    std::unordered_map<Set, std::uint32_t, SetHash> index_;
    std::vector<Set> sets_; ///< of the states from start_ on
    std::uint32_t start_ = 0;
};

} // namespace

Result<std::uint32_t> determinise(const Nfa& nfa, bool strip, Draft& draft) {
    return Determiniser(nfa, strip, draft).run();
}

} // namespace bloom::text
