#include <algorithm>
#include <cstdint>
#include <vector>

#include <bloom/base/check.hpp>

#include "compiler.hpp"

namespace bloom::text {
namespace {

using Kind = Node::Kind;

/// Copies of a repeated node are written out up to this many states; beyond, a counter counts.
/// Copies make masks of their own for every place, counters share them.
constexpr std::uint64_t kMaxCopiedStates = 64;
/// What is used several times and larger than this becomes a rule, so that its masks are found
/// once: a string of JSON has about twenty states, a literal or a class of characters fewer.
constexpr std::uint64_t kSharedStates = 12;
constexpr std::uint64_t kCostMax = std::uint64_t{1} << 40;

/// Follows references to references; a circle of them accepts nothing.
std::vector<std::uint32_t> resolve(const GrammarBuilder::Impl& nodes) {
    constexpr std::uint32_t kNothing = 1;
    std::vector<std::uint32_t> real(nodes.nodes.size(), kNoNode);
    std::vector<std::uint32_t> path;
    for (std::uint32_t first = 0; first < real.size(); ++first) {
        std::uint32_t at = first;
        path.clear();
        // A node on the path is marked by itself being unresolved and its kind; the path can be
        // no longer than there are rules.
        while (real[at] == kNoNode && nodes.nodes[at].kind == Kind::refer &&
               path.size() <= nodes.rules.size()) {
            path.push_back(at);
            at = nodes.rules[nodes.nodes[at].first];
            BLOOM_CHECK(at != kNoNode); // declared, referred to and never defined
        }
        std::uint32_t end = at;
        if (real[at] != kNoNode) {
            end = real[at];
        } else if (nodes.nodes[at].kind == Kind::refer) {
            end = kNothing;
        }
        real[at] = end;
        for (const std::uint32_t node : path)
            real[node] = end;
    }
    return real;
}

class Planner {
public:
    Planner(const GrammarBuilder::Impl& nodes, Layout& out)
        : nodes_(nodes), out_(out), uses_(nodes.nodes.size(), 0), cost_(nodes.nodes.size(), 1),
          colour_(nodes.nodes.size(), Colour::white) {}

    void run(std::uint32_t start) {
        count_uses(start);
        find_nullable();
        plan(start);
    }

private:
    enum class Colour : std::uint8_t { white, grey, black };

    std::span<const std::uint32_t> children(std::uint32_t node) const {
        return nodes_.children_of(nodes_.nodes[node]);
    }

    std::uint32_t real(std::uint32_t node) const { return out_.real[node]; }

    /// Reachable nodes in order_, and how often each is a part of others.
    void count_uses(std::uint32_t start) {
        order_.push_back(start);
        uses_[start] = 1;
        for (std::size_t i = 0; i < order_.size(); ++i) {
            for (const std::uint32_t child : children(order_[i])) {
                if (uses_[real(child)]++ == 0) order_.push_back(real(child));
            }
        }
    }

    bool nullable_alone(std::uint32_t index) const {
        const Node& node = nodes_.nodes[index];
        switch (node.kind) {
        case Kind::empty:
            return true;
        case Kind::repeat:
            return node.least == 0;
        case Kind::automaton:
            return nodes_.dfas[node.first].states[0].accepts;
        default:
            return false;
        }
    }

    /// From parts to wholes: a sequence waits for all of its parts, a choice for one.
    void find_nullable() {
        const std::size_t n = nodes_.nodes.size();
        std::vector<std::uint32_t> first_parent(n + 1, 0);
        for (const std::uint32_t node : order_) {
            for (const std::uint32_t child : children(node))
                ++first_parent[real(child) + 1];
        }
        for (std::size_t i = 0; i < n; ++i)
            first_parent[i + 1] += first_parent[i];
        std::vector<std::uint32_t> parents(first_parent[n]);
        std::vector<std::uint32_t> fill(first_parent.begin(), first_parent.end() - 1);
        std::vector<std::uint32_t> missing(n, 1);
        std::vector<std::uint32_t> queue;
        for (const std::uint32_t node : order_) {
            for (const std::uint32_t child : children(node))
                parents[fill[real(child)]++] = node;
            if (nodes_.nodes[node].kind == Kind::sequence) missing[node] = nodes_.nodes[node].n;
            if (nullable_alone(node)) queue.push_back(node);
        }
        for (const std::uint32_t node : queue)
            out_.nullable[node] = true;
        for (std::size_t i = 0; i < queue.size(); ++i) {
            for (std::uint32_t at = first_parent[queue[i]]; at < first_parent[queue[i] + 1]; ++at) {
                const std::uint32_t parent = parents[at];
                if (out_.nullable[parent] || --missing[parent] != 0) continue;
                out_.nullable[parent] = true;
                queue.push_back(parent);
            }
        }
    }

    /// Parts before wholes, without recursion; a part that is met again inside itself is recursive.
    void plan(std::uint32_t start) {
        struct Visit {
            std::uint32_t node;
            std::uint32_t next_child;
        };

        std::vector<Visit> path = {{start, 0}};
        colour_[start] = Colour::grey;
        while (!path.empty()) {
            Visit& top = path.back();
            const auto parts = children(top.node);
            if (top.next_child == parts.size()) {
                settle(top.node);
                colour_[top.node] = Colour::black;
                path.pop_back();
                continue;
            }
            const std::uint32_t child = real(parts[top.next_child++]);
            if (colour_[child] == Colour::grey) out_.own_rule[child] = true;
            if (colour_[child] != Colour::white) continue;
            colour_[child] = Colour::grey;
            path.push_back({child, 0});
        }
    }

    /// What a part costs where it stands.
    std::uint64_t cost(std::uint32_t part) const {
        const std::uint32_t node = real(part);
        return out_.own_rule[node] || out_.counted[node] ? 1 : cost_[node];
    }

    void settle(std::uint32_t index) {
        const Node& node = nodes_.nodes[index];
        std::uint64_t sum = 1;
        switch (node.kind) {
        case Kind::literal:
            sum = node.n;
            break;
        case Kind::characters:
            sum = 1 + std::min<std::uint64_t>(node.n, 6); // continuation bytes are mostly shared
            break;
        case Kind::automaton:
            sum = nodes_.dfas[node.first].states.size();
            break;
        case Kind::sequence:
        case Kind::choice:
            sum = 0;
            for (const std::uint32_t child : children(index))
                sum += cost(child);
            break;
        case Kind::repeat:
            sum = settle_repeat(index);
            break;
        default:
            break;
        }
        cost_[index] = std::min(sum, kCostMax);
        if (uses_[index] > 1 && cost_[index] >= kSharedStates && !out_.counted[index]) {
            out_.own_rule[index] = true;
        }
    }

    std::uint64_t settle_repeat(std::uint32_t index) {
        const Node& node = nodes_.nodes[index];
        const std::uint32_t child = real(children(index)[0]);
        const std::uint64_t one = cost(child);
        const bool endless = node.most == kUnbounded;
        const std::uint64_t copies = endless ? std::max(node.least, 1U) : node.most;
        if (copies == 1 || one * copies <= kMaxCopiedStates) return one * copies;
        if (!endless) {
            out_.counted[index] = true;
            return 1;
        }
        // At least so many by counting, then any number: the part stands in both.
        out_.counted[index] = true;
        if (one >= kSharedStates) out_.own_rule[child] = true;
        return 1;
    }

    const GrammarBuilder::Impl& nodes_;
    Layout& out_;
    std::vector<std::uint32_t> uses_;
    std::vector<std::uint64_t> cost_;
    std::vector<Colour> colour_;
    std::vector<std::uint32_t> order_;
};

} // namespace

Layout lay_out(const GrammarBuilder::Impl& nodes, std::uint32_t start) {
    Layout out;
    out.real = resolve(nodes);
    out.nullable.assign(nodes.nodes.size(), false);
    out.own_rule.assign(nodes.nodes.size(), false);
    out.counted.assign(nodes.nodes.size(), false);
    Planner(nodes, out).run(out.real[start]);
    return out;
}

} // namespace bloom::text
