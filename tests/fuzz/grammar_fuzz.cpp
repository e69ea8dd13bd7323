// Any grammar over any bytes: building ends, masks agree with what is accepted, every mask allows
// something, and rolling back is replaying.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/text/grammar/grammar.hpp>
#include <bloom/text/grammar/matcher.hpp>

#include "tests/support/grammar_vocab.hpp"
#include "text/grammar/bound.hpp"

namespace {

using namespace bloom::text;

class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

    std::uint8_t byte() {
        if (left_ == 0) return 0;
        --left_;
        return *data_++;
    }

    std::size_t left() const { return left_; }

private:
    const std::uint8_t* data_;
    std::size_t left_;
};

bool is_set(std::span<const std::uint64_t> mask, std::int32_t id) {
    return (mask[static_cast<std::size_t>(id) / 64] >> id % 64 & 1) != 0;
}

/// Instructions that add a node each; nodes are named by their place, rules by number.
GrammarNode read_grammar(GrammarBuilder& b, Input& in) {
    std::vector<GrammarNode> nodes = {b.empty()};
    std::array<GrammarRule, 3> rules{};
    for (GrammarRule& rule : rules)
        rule = b.declare();
    const auto node = [&] { return nodes[in.byte() % nodes.size()]; };
    for (int n = in.byte() % 40; n > 0; --n) {
        const std::uint8_t op = in.byte();
        switch (op % 9) {
        case 0: {
            const auto letter = static_cast<char>('a' + op / 9 % 4);
            nodes.push_back(b.literal(std::string(1 + in.byte() % 3, letter)));
            break;
        }
        case 1:
            nodes.push_back(b.byte_range(in.byte(), in.byte()));
            break;
        case 2: {
            const CodePointRange range{in.byte() * 9U, in.byte() * 4369U};
            nodes.push_back(b.characters(std::span(&range, 1)));
            break;
        }
        case 3: {
            const std::array parts = {node(), node(), node()};
            nodes.push_back(b.sequence(parts));
            break;
        }
        case 4: {
            const std::array options = {node(), node(), node()};
            nodes.push_back(b.choice(options));
            break;
        }
        case 5: {
            const std::uint32_t least = in.byte() % 100;
            const std::uint32_t more = in.byte();
            nodes.push_back(b.repeat(node(), least, more > 200 ? kUnbounded : least + more));
            break;
        }
        case 6:
            nodes.push_back(b.tag(op % 2 == 0 ? "<t>" : "<u>"));
            break;
        case 7: {
            const std::array<std::string_view, 2> ends = {"ab", "<"};
            nodes.push_back(b.text_without(std::span(ends).first(op % 3)));
            break;
        }
        default:
            nodes.push_back(b.refer(rules[op % rules.size()]));
        }
    }
    for (const GrammarRule rule : rules)
        b.define(rule, node());
    return nodes.back();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bloom::test::SmallVocab kSmall{
        .more = {"ab", "aaa", "b<", "<t>", "cc\xc3", "\xa9", "aaaaaaaaaaaaaaaa"}, .tags = {"<t>"}};
    static const std::shared_ptr<const GrammarVocab> kVocab = kSmall.vocab();
    if (size > 400) return 0;
    Input in(data, size);
    GrammarBuilder b;
    const GrammarNode start = read_grammar(b, in);
    auto grammar = b.build(start);
    if (!grammar) return 0;
    auto bound = BoundGrammar::create(*grammar, kVocab);
    BLOOM_CHECK(bound.has_value());
    GrammarMatcher matcher(*bound);
    for (int i = 0; i < 24 && in.left() > 0 && !matcher.ended(); ++i) {
        const auto shown = matcher.mask();
        const std::vector<std::uint64_t> mask(shown.begin(), shown.end());
        BLOOM_CHECK(is_set(mask, kSmall.stop()) == matcher.can_end());
        std::int32_t next = -1;
        const std::int32_t wish = in.byte() + in.byte() % 16;
        for (std::int32_t k = 0; k <= kSmall.stop(); ++k) {
            const std::int32_t id = (wish + k) % (kSmall.stop() + 1);
            if (next < 0 && is_set(mask, id)) next = id;
            if (k % 16 == 0 && GrammarMatcher(matcher).accept(id) != is_set(mask, id)) {
                // Only where there are more ways to read than are followed.
                BLOOM_CHECK((*bound)->impl().machine.n_dropped() > 0);
            }
        }
        BLOOM_CHECK(next >= 0);
        BLOOM_CHECK(matcher.accept(next));
        if (wish % 7 == 0) {
            matcher.rollback(1);
            const auto again = matcher.mask();
            BLOOM_CHECK(mask == std::vector<std::uint64_t>(again.begin(), again.end()));
            BLOOM_CHECK(matcher.accept(next));
        }
    }
    return 0;
}
