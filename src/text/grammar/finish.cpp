#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "compiler.hpp"

namespace bloom::text {
namespace {

/// How many frames reaching an end takes at least, for every state; kNone where none is reached.
/// Dijkstra's algorithm backwards from the accepting states: an edge costs nothing, a call costs
/// the depth of the called rule and one, and of consecutive costs the larger counts.
class Needs {
public:
    explicit Needs(const Draft& draft)
        : draft_(draft), of_state(draft.states.size(), kNone), of_rule(draft.rules.size(), kNone),
          edges_to_(draft.states.size()), calls_to_(draft.states.size()),
          calls_of_(draft.rules.size()), starts_(draft.states.size(), kNone) {
        for (std::uint32_t rule = 0; rule < draft.rules.size(); ++rule)
            starts_[draft.rules[rule].start] = rule;
        for (std::uint32_t from = 0; from < draft.states.size(); ++from) {
            for (const Grammar::Edge& edge : draft.states[from].edges)
                edges_to_[edge.target].push_back(from);
            for (const Grammar::Call& call : draft.states[from].calls) {
                calls_to_[call.target].push_back({from, call});
                calls_of_[call.rule].push_back({from, call});
            }
        }
        run();
    }

private:
    struct From {
        std::uint32_t state;
        Grammar::Call call;
    };

    using Entry = std::pair<std::uint32_t, std::uint32_t>; ///< need, state

    void run() {
        for (std::uint32_t state = 0; state < draft_.states.size(); ++state) {
            if (draft_.states[state].accepts) queue_.emplace(0, state);
        }
        while (!queue_.empty()) {
            const auto [need, state] = queue_.top();
            queue_.pop();
            if (of_state[state] != kNone) continue;
            of_state[state] = need;
            for (const std::uint32_t from : edges_to_[state])
                queue_.emplace(need, from);
            for (const From& from : calls_to_[state])
                offer(from);
            if (starts_[state] != kNone) {
                of_rule[starts_[state]] = need;
                for (const From& from : calls_of_[starts_[state]])
                    offer(from);
            }
        }
    }

    void offer(const From& from) {
        const std::uint32_t after = of_state[from.call.target];
        const std::uint32_t inside = of_rule[from.call.rule];
        if (after == kNone || inside == kNone) return;
        queue_.emplace(std::max(after, inside + 1), from.state);
    }

    const Draft& draft_;

public:
    std::vector<std::uint32_t> of_state;
    std::vector<std::uint32_t> of_rule;

private:
    std::vector<std::vector<std::uint32_t>> edges_to_;
    std::vector<std::vector<From>> calls_to_;
    std::vector<std::vector<From>> calls_of_;
    std::vector<std::uint32_t> starts_; ///< rule that starts in the state
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
};

/// Copies what is reachable and leads somewhere.
class Packer {
public:
    Packer(const Draft& draft, const Needs& needs)
        : draft_(draft), needs_(needs), new_state_(draft.states.size(), kNone),
          new_rule_(draft.rules.size(), kNone) {}

    std::shared_ptr<Grammar> run() {
        rule(0);
        for (std::size_t i = 0; i < old_state_.size(); ++i)
            pack(old_state_[i]);
        mark_tails();
        return std::move(grammar_);
    }

private:
    bool alive(std::uint32_t state) const { return needs_.of_state[state] != kNone; }

    std::uint32_t state(std::uint32_t old) {
        if (new_state_[old] == kNone) {
            new_state_[old] = static_cast<std::uint32_t>(old_state_.size());
            old_state_.push_back(old);
        }
        return new_state_[old];
    }

    std::uint32_t rule(std::uint32_t old) {
        if (new_rule_[old] == kNone) {
            new_rule_[old] = static_cast<std::uint32_t>(grammar_->rules.size());
            const Draft::Rule& from = draft_.rules[old];
            grammar_->rules.push_back({state(from.start), from.least, from.most});
            if (from.tag != kNone) {
                tag_starts_.emplace_back(state(from.start), grammar_->tags.size());
                grammar_->tags.push_back(draft_.tags[from.tag]);
            }
        }
        return new_rule_[old];
    }

    void pack(std::uint32_t old) {
        const Draft::State& from = draft_.states[old];
        Grammar::State made;
        made.first_edge = static_cast<std::uint32_t>(grammar_->edges.size());
        made.first_call = static_cast<std::uint32_t>(grammar_->calls.size());
        made.need = needs_.of_state[old];
        made.accepts = from.accepts;
        for (const Grammar::Edge& edge : from.edges) {
            if (!alive(edge.target)) continue;
            grammar_->edges.push_back({edge.first, edge.last, state(edge.target)});
            ++made.n_edges;
        }
        for (const Grammar::Call& call : from.calls) {
            if (!alive(call.target) || needs_.of_rule[call.rule] == kNone) continue;
            const std::uint32_t called = rule(call.rule);
            grammar_->calls.push_back({called, state(call.target)});
            ++made.n_calls;
        }
        grammar_->max_need = std::max(grammar_->max_need, made.need);
        grammar_->states.push_back(made);
    }

    void mark_tails() {
        for (const auto& [start, tag] : tag_starts_)
            grammar_->states[start].tag = static_cast<std::uint32_t>(tag);
        for (Grammar::Call& call : grammar_->calls) {
            const Grammar::State& after = grammar_->states[call.target];
            const bool only_end = after.accepts && after.n_edges == 0 && after.n_calls == 0;
            // A rule that counts has its counter in the frame, so it needs one.
            if (only_end && !grammar_->rules[call.rule].counts()) call.target = kNone;
        }
    }

    const Draft& draft_;
    const Needs& needs_;
    std::shared_ptr<Grammar> grammar_ = std::make_shared<Grammar>();
    std::vector<std::uint32_t> new_state_;
    std::vector<std::uint32_t> new_rule_;
    std::vector<std::uint32_t> old_state_;
    std::vector<std::pair<std::uint32_t, std::size_t>> tag_starts_;
};

/// Whether some rule can call itself before it has read anything.
bool left_recursive(const Grammar& grammar) {
    enum class Colour : std::uint8_t { white, grey, black };

    struct Visit {
        std::uint32_t rule;
        std::uint32_t next;
    };

    std::vector<Colour> colour(grammar.rules.size(), Colour::white);
    std::vector<Visit> path;
    for (std::uint32_t first = 0; first < grammar.rules.size(); ++first) {
        if (colour[first] != Colour::white) continue;
        colour[first] = Colour::grey;
        path.push_back({first, 0});
        while (!path.empty()) {
            Visit& top = path.back();
            const auto calls = grammar.calls_of(grammar.states[grammar.rules[top.rule].start]);
            if (top.next == calls.size()) {
                colour[top.rule] = Colour::black;
                path.pop_back();
                continue;
            }
            const std::uint32_t called = calls[top.next++].rule;
            if (colour[called] == Colour::grey) return true;
            if (colour[called] == Colour::black) continue;
            colour[called] = Colour::grey;
            path.push_back({called, 0});
        }
    }
    return false;
}

} // namespace

Result<std::shared_ptr<const Grammar>> finish(Draft draft) {
    const Needs needs(draft);
    const std::uint32_t need = needs.of_state[draft.rules[0].start];
    if (need == kNone) {
        return Error{Code::invalid_argument, "no text at all satisfies the grammar"};
    }
    if (need > kMaxGrammarDepth) {
        return Error{Code::too_large, "every text of the grammar nests deeper than " +
                                          std::to_string(kMaxGrammarDepth)};
    }
    std::shared_ptr<Grammar> grammar = Packer(draft, needs).run();
    if (left_recursive(*grammar)) {
        return Error{Code::invalid_argument, "a rule of the grammar begins with itself"};
    }
    return grammar;
}

} // namespace bloom::text
