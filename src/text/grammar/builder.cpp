#include <algorithm>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/text/grammar/grammar.hpp>

#include "compiler.hpp"
#include "nodes.hpp"

namespace bloom::text {
namespace {

using Kind = Node::Kind;

constexpr std::uint32_t kEmpty = 0;
constexpr std::uint32_t kNothing = 1;

void put(std::string& key, std::uint32_t value) {
    key.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string key_of(Kind kind, std::uint32_t a = 0, std::uint32_t b = 0) {
    std::string key(1, static_cast<char>(kind));
    put(key, a);
    put(key, b);
    return key;
}

GrammarNode handle(std::uint32_t index) {
    return static_cast<GrammarNode>(index);
}

/// The node of that content, made by `fill` where there is none yet.
template <class Fill>
GrammarNode intern(GrammarBuilder::Impl& impl, std::string key, Fill&& fill) {
    const auto found = impl.known.find(key);
    if (found != impl.known.end()) return handle(found->second);
    if (impl.nodes.size() >= kMaxGrammarNodes) {
        impl.refused = "more than " + std::to_string(kMaxGrammarNodes) + " parts";
        return handle(kNothing);
    }
    const auto index = static_cast<std::uint32_t>(impl.nodes.size());
    Node node = fill();
    impl.nodes.push_back(node);
    impl.known.emplace(std::move(key), index);
    return handle(index);
}

Node list_node(GrammarBuilder::Impl& impl, Kind kind, std::span<const std::uint32_t> parts) {
    Node node{.kind = kind,
              .first = static_cast<std::uint32_t>(impl.children.size()),
              .n = static_cast<std::uint32_t>(parts.size())};
    impl.children.insert(impl.children.end(), parts.begin(), parts.end());
    return node;
}

std::string key_of_list(Kind kind, std::span<const std::uint32_t> parts) {
    std::string key = key_of(kind);
    key.append(reinterpret_cast<const char*>(parts.data()), parts.size_bytes());
    return key;
}

/// A DFA as its author promised it: targets exist, edges ascend.
void check_dfa(const ByteDfa& dfa) {
    for (const ByteDfa::State& state : dfa.states) {
        int above = -1;
        for (const ByteDfa::Edge& edge : state.edges) {
            BLOOM_CHECK(edge.target < dfa.states.size());
            BLOOM_CHECK(edge.first <= edge.last);
            BLOOM_CHECK(above < edge.first);
            above = edge.last;
        }
    }
}

} // namespace

GrammarBuilder::GrammarBuilder() : impl_(std::make_unique<Impl>()) {
    const auto fixed = [&](Kind kind) {
        intern(*impl_, key_of(kind), [&] { return Node{.kind = kind}; });
    };
    fixed(Kind::empty);
    fixed(Kind::nothing);
}

GrammarBuilder::~GrammarBuilder() = default;
GrammarBuilder::GrammarBuilder(GrammarBuilder&&) noexcept = default;
GrammarBuilder& GrammarBuilder::operator=(GrammarBuilder&&) noexcept = default;

GrammarNode GrammarBuilder::empty() {
    return handle(kEmpty);
}

GrammarNode GrammarBuilder::nothing() {
    return handle(kNothing);
}

GrammarNode GrammarBuilder::literal(std::string_view bytes) {
    if (bytes.empty()) return empty();
    return intern(*impl_, key_of(Kind::literal).append(bytes), [&] {
        const Node node{.kind = Kind::literal,
                        .first = static_cast<std::uint32_t>(impl_->text.size()),
                        .n = static_cast<std::uint32_t>(bytes.size())};
        impl_->text += bytes;
        return node;
    });
}

GrammarNode GrammarBuilder::byte_range(std::uint8_t first, std::uint8_t last) {
    if (first > last) return nothing();
    return intern(*impl_, key_of(Kind::bytes, first, last),
                  [&] { return Node{.kind = Kind::bytes, .first = first, .n = last}; });
}

GrammarNode GrammarBuilder::characters(std::span<const CodePointRange> ranges) {
    const std::vector<CodePointRange> clean = normalised(ranges);
    if (clean.empty()) return nothing();
    std::string key = key_of(Kind::characters);
    for (const CodePointRange range : clean) {
        put(key, range.first);
        put(key, range.last);
    }
    return intern(*impl_, std::move(key), [&] {
        const Node node{.kind = Kind::characters,
                        .first = static_cast<std::uint32_t>(impl_->ranges.size()),
                        .n = static_cast<std::uint32_t>(clean.size())};
        impl_->ranges.insert(impl_->ranges.end(), clean.begin(), clean.end());
        return node;
    });
}

GrammarNode GrammarBuilder::sequence(std::span<const GrammarNode> parts) {
    std::vector<std::uint32_t> kept;
    for (const GrammarNode part : parts) {
        const auto index = static_cast<std::uint32_t>(part);
        BLOOM_CHECK(index < impl_->nodes.size());
        if (index == kNothing) return nothing();
        if (index != kEmpty) kept.push_back(index);
    }
    if (kept.empty()) return empty();
    if (kept.size() == 1) return handle(kept[0]);
    return intern(*impl_, key_of_list(Kind::sequence, kept),
                  [&] { return list_node(*impl_, Kind::sequence, kept); });
}

GrammarNode GrammarBuilder::choice(std::span<const GrammarNode> options) {
    std::vector<std::uint32_t> kept;
    for (const GrammarNode option : options) {
        const auto index = static_cast<std::uint32_t>(option);
        BLOOM_CHECK(index < impl_->nodes.size());
        if (index != kNothing) kept.push_back(index);
    }
    std::sort(kept.begin(), kept.end());
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
    if (kept.empty()) return nothing();
    if (kept.size() == 1) return handle(kept[0]);
    return intern(*impl_, key_of_list(Kind::choice, kept),
                  [&] { return list_node(*impl_, Kind::choice, kept); });
}

GrammarNode GrammarBuilder::repeat(GrammarNode node, std::uint32_t least, std::uint32_t most) {
    const auto index = static_cast<std::uint32_t>(node);
    BLOOM_CHECK(index < impl_->nodes.size());
    if (least > most) return nothing();
    if (most == 0 || index == kEmpty) return empty();
    if (least == 1 && most == 1) return node;
    if (index == kNothing) return least == 0 ? empty() : nothing();
    if (least > kMaxGrammarRepeat || (most != kUnbounded && most > kMaxGrammarRepeat)) {
        impl_->refused = "repeated more than " + std::to_string(kMaxGrammarRepeat) + " times";
        return nothing();
    }
    std::string key = key_of(Kind::repeat, least, most);
    put(key, index);
    return intern(*impl_, std::move(key), [&] {
        Node made = list_node(*impl_, Kind::repeat, std::span(&index, 1));
        made.least = least;
        made.most = most;
        return made;
    });
}

GrammarNode GrammarBuilder::automaton(ByteDfa dfa) {
    check_dfa(dfa);
    if (dfa.states.empty()) return nothing();
    if (dfa.states.size() > kMaxGrammarStates) {
        impl_->refused = "more than " + std::to_string(kMaxGrammarStates) + " states";
        return nothing();
    }
    std::string key = key_of(Kind::automaton);
    for (const ByteDfa::State& state : dfa.states) {
        put(key, static_cast<std::uint32_t>(state.edges.size()) << 1 | (state.accepts ? 1U : 0U));
        for (const ByteDfa::Edge& edge : state.edges) {
            put(key, std::uint32_t{edge.first} << 8 | edge.last);
            put(key, edge.target);
        }
    }
    return intern(*impl_, std::move(key), [&] {
        impl_->dfas.push_back(std::move(dfa));
        return Node{.kind = Kind::automaton,
                    .first = static_cast<std::uint32_t>(impl_->dfas.size() - 1)};
    });
}

GrammarNode GrammarBuilder::tag(std::string_view text) {
    if (text.empty()) return empty();
    return intern(*impl_, key_of(Kind::tag).append(text), [&] {
        const Node node{.kind = Kind::tag,
                        .first = static_cast<std::uint32_t>(impl_->text.size()),
                        .n = static_cast<std::uint32_t>(text.size())};
        impl_->text += text;
        return node;
    });
}

GrammarNode GrammarBuilder::text_without(std::span<const std::string_view> ends) {
    std::size_t n_bytes = 0;
    for (const std::string_view end : ends) {
        if (end.empty()) return nothing(); // it is in every text
        n_bytes += end.size();
    }
    if (n_bytes > kMaxTextEndBytes) {
        impl_->refused =
            "ends of a text of more than " + std::to_string(kMaxTextEndBytes) + " bytes";
        return nothing();
    }
    return automaton(dfa_without(ends));
}

GrammarRule GrammarBuilder::declare() {
    impl_->rules.push_back(kNoNode);
    return static_cast<GrammarRule>(impl_->rules.size() - 1);
}

void GrammarBuilder::define(GrammarRule rule, GrammarNode body) {
    const auto index = static_cast<std::uint32_t>(rule);
    BLOOM_CHECK(index < impl_->rules.size());
    BLOOM_CHECK(impl_->rules[index] == kNoNode);
    BLOOM_CHECK(static_cast<std::uint32_t>(body) < impl_->nodes.size());
    impl_->rules[index] = static_cast<std::uint32_t>(body);
}

GrammarNode GrammarBuilder::refer(GrammarRule rule) {
    const auto index = static_cast<std::uint32_t>(rule);
    BLOOM_CHECK(index < impl_->rules.size());
    return intern(*impl_, key_of(Kind::refer, index),
                  [&] { return Node{.kind = Kind::refer, .first = index}; });
}

std::size_t GrammarBuilder::n_nodes() const noexcept {
    return impl_->nodes.size();
}

Result<std::shared_ptr<const Grammar>> GrammarBuilder::build(GrammarNode start) {
    const std::unique_ptr<Impl> spent = std::exchange(impl_, std::make_unique<Impl>());
    BLOOM_CHECK(static_cast<std::uint32_t>(start) < spent->nodes.size());
    if (!spent->refused.empty()) {
        return Error{Code::too_large, "the grammar is too large: " + spent->refused};
    }
    return compile(*spent, static_cast<std::uint32_t>(start));
}

} // namespace bloom::text
