#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "compiler.hpp"

namespace bloom::text {
namespace {

using Kind = Node::Kind;

/// NFAs are larger than what is made of them, but not by much.
constexpr std::size_t kMaxNfaStates = 4 * kMaxGrammarStates;

/// Writes rules out as NFAs, one after the other as calls of them turn up.
class Expander {
public:
    Expander(const GrammarBuilder::Impl& nodes, const Layout& layout)
        : nodes_(nodes), layout_(layout) {}

    Result<Draft> run(std::uint32_t start) {
        rule_for(What::body, layout_.real[start]);
        for (std::size_t i = 0; i < rules_.size(); ++i) {
            const Origin origin = rules_[i];
            Nfa nfa;
            BLOOM_OK(expand(origin, nfa));
            BLOOM_TRY(draft_.rules[i].start, determinise(nfa, i != 0, draft_));
        }
        return std::move(draft_);
    }

private:
    enum class What : std::uint8_t { body, loop, tag };

    struct Origin {
        What what;
        std::uint32_t node;
    };

    struct Task {
        std::uint32_t node;
        std::uint32_t from;
        std::uint32_t to;
    };

    std::uint32_t rule_for(What what, std::uint32_t node) {
        const auto [it, fresh] =
            rule_of_.try_emplace(std::pair(what, node), static_cast<std::uint32_t>(rules_.size()));
        if (!fresh) return it->second;
        rules_.push_back({what, node});
        Draft::Rule& rule = draft_.rules.emplace_back();
        const Node& origin = nodes_.nodes[node];
        if (what == What::loop) {
            rule.least = nullable_part(node) ? 0 : origin.least;
            rule.most = origin.most == kUnbounded ? origin.least : origin.most;
        } else if (what == What::tag) {
            rule.tag = static_cast<std::uint32_t>(draft_.tags.size());
            draft_.tags.emplace_back(nodes_.text_of(origin));
        }
        return it->second;
    }

    std::uint32_t part(std::uint32_t repeat) const {
        return nodes_.children_of(nodes_.nodes[repeat])[0];
    }

    bool nullable_part(std::uint32_t repeat) const {
        return layout_.nullable[layout_.real[part(repeat)]];
    }

    Result<> expand(Origin origin, Nfa& nfa) {
        tasks_.clear();
        if (origin.what == What::tag) {
            write_text(nfa, nodes_.nodes[origin.node], kNfaEntry, kNfaExit);
        } else if (origin.what == What::loop) {
            tasks_.push_back({part(origin.node), kNfaEntry, kNfaExit});
        } else {
            write(nfa, {origin.node, kNfaEntry, kNfaExit});
        }
        while (!tasks_.empty()) {
            Task task = tasks_.back();
            tasks_.pop_back();
            task.node = layout_.real[task.node];
            if (layout_.own_rule[task.node]) {
                nfa.add_call(task.from, rule_for(What::body, task.node), task.to);
                if (layout_.nullable[task.node]) nfa.add_empty(task.from, task.to);
            } else {
                write(nfa, task);
            }
            if (nfa.n_states > kMaxNfaStates || nfa.arcs.size() > 2 * kMaxNfaStates) {
                return Error{Code::too_large, "the grammar needs more than " +
                                                  std::to_string(kMaxGrammarStates) + " states"};
            }
        }
        return {};
    }

    void write(Nfa& nfa, const Task& task) {
        const Node& node = nodes_.nodes[task.node];
        switch (node.kind) {
        case Kind::nothing:
        case Kind::refer: // resolved before
            break;
        case Kind::empty:
            nfa.add_empty(task.from, task.to);
            break;
        case Kind::literal:
            write_text(nfa, node, task.from, task.to);
            break;
        case Kind::bytes:
            nfa.add_bytes(
                task.from,
                {static_cast<std::uint8_t>(node.first), static_cast<std::uint8_t>(node.n)},
                task.to);
            break;
        case Kind::characters:
            write_characters(nfa, node, task.from, task.to);
            break;
        case Kind::sequence:
            write_sequence(nfa, node, task.from, task.to);
            break;
        case Kind::choice:
            for (const std::uint32_t option : nodes_.children_of(node))
                tasks_.push_back({option, task.from, task.to});
            break;
        case Kind::repeat:
            write_repeat(nfa, task);
            break;
        case Kind::automaton:
            write_dfa(nfa, nodes_.dfas[node.first], task.from, task.to);
            break;
        case Kind::tag:
            nfa.add_call(task.from, rule_for(What::tag, task.node), task.to);
            break;
        }
    }

    void write_text(Nfa& nfa, const Node& node, std::uint32_t from, std::uint32_t to) {
        const std::string_view text = nodes_.text_of(node);
        for (std::size_t i = 0; i < text.size(); ++i) {
            const std::uint32_t next = i + 1 == text.size() ? to : nfa.add_state();
            const auto byte = static_cast<std::uint8_t>(text[i]);
            nfa.add_bytes(from, {byte, byte}, next);
            from = next;
        }
    }

    /// Built from the end, so that forms with equal tails share states.
    void write_characters(Nfa& nfa, const Node& node, std::uint32_t from, std::uint32_t to) {
        std::map<std::tuple<unsigned, unsigned, std::uint32_t>, std::uint32_t> tails;
        for (const CodePointRange range : std::span(nodes_.ranges).subspan(node.first, node.n)) {
            for (const Utf8Form& form : utf8_forms(range.first, range.last)) {
                std::uint32_t next = to;
                for (std::uint32_t i = form.n - 1; i > 0; --i) {
                    const ByteRun run = form.bytes[i];
                    const auto [it, fresh] =
                        tails.try_emplace({run.first, run.last, next}, nfa.n_states);
                    if (fresh) nfa.add_bytes(nfa.add_state(), run, next);
                    next = it->second;
                }
                nfa.add_bytes(from, form.bytes[0], next);
            }
        }
    }

    void write_sequence(Nfa& nfa, const Node& node, std::uint32_t from, std::uint32_t to) {
        const auto parts = nodes_.children_of(node);
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const std::uint32_t next = i + 1 == parts.size() ? to : nfa.add_state();
            tasks_.push_back({parts[i], from, next});
            from = next;
        }
    }

    void write_repeat(Nfa& nfa, const Task& task) {
        const Node& node = nodes_.nodes[task.node];
        const bool endless = node.most == kUnbounded;
        std::uint32_t at = task.from;
        if (layout_.counted[task.node]) {
            const std::uint32_t after = endless ? nfa.add_state() : task.to;
            nfa.add_call(at, rule_for(What::loop, task.node), after);
            if (node.least == 0 || nullable_part(task.node)) nfa.add_empty(at, after);
            if (endless) write_star(nfa, part(task.node), after, task.to);
            return;
        }
        const auto copy = [&](std::uint32_t to) {
            tasks_.push_back({part(task.node), at, to});
            at = to;
        };
        for (std::uint32_t i = 0; i < node.least; ++i)
            copy(!endless && i + 1 == node.most ? task.to : nfa.add_state());
        if (endless) {
            write_star(nfa, part(task.node), at, task.to);
            return;
        }
        for (std::uint32_t i = node.least; i < node.most; ++i) {
            nfa.add_empty(at, task.to);
            copy(i + 1 == node.most ? task.to : nfa.add_state());
        }
    }

    void write_star(Nfa& nfa, std::uint32_t node, std::uint32_t from, std::uint32_t to) {
        const std::uint32_t middle = nfa.add_state();
        nfa.add_empty(from, middle);
        tasks_.push_back({node, middle, middle});
        nfa.add_empty(middle, to);
    }

    static void write_dfa(Nfa& nfa, const ByteDfa& dfa, std::uint32_t from, std::uint32_t to) {
        const std::uint32_t base = nfa.n_states;
        nfa.n_states += static_cast<std::uint32_t>(dfa.states.size());
        nfa.add_empty(from, base);
        for (std::uint32_t i = 0; i < dfa.states.size(); ++i) {
            for (const ByteDfa::Edge& edge : dfa.states[i].edges)
                nfa.add_bytes(base + i, {edge.first, edge.last}, base + edge.target);
            if (dfa.states[i].accepts) nfa.add_empty(base + i, to);
        }
    }

    const GrammarBuilder::Impl& nodes_;
    const Layout& layout_;
    std::map<std::pair<What, std::uint32_t>, std::uint32_t> rule_of_;
    std::vector<Origin> rules_;
    std::vector<Task> tasks_;
    Draft draft_;
};

} // namespace

Result<std::shared_ptr<const Grammar>> compile(const GrammarBuilder::Impl& nodes,
                                               std::uint32_t start) {
    const Layout layout = lay_out(nodes, start);
    BLOOM_TRY(Draft draft, Expander(nodes, layout).run(start));
    return finish(std::move(draft));
}

} // namespace bloom::text
