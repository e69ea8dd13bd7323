// Cost of a grammar per token: mask and accept, over whole answers. Usage:
// bloom_bench_grammar VOCAB_GGUF. The vocabulary is taken as it is and grown to 250k tokens by
// joining tokens. Answers are written by a generator, encoded, and replayed; the first answers of
// every grammar meet each state for the first time, so they are reported apart.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <time.h>
#include <unordered_set>
#include <vector>

#include <bloom/base/rng.hpp>
#include <bloom/text/grammar/grammar.hpp>
#include <bloom/text/grammar/matcher.hpp>
#include <bloom/text/tokenizer.hpp>

#include "../../tests/support/gguf_vocab.hpp"

namespace {

using namespace bloom::text;

constexpr std::size_t kAnswers = 40;
constexpr std::size_t kFirstAnswers = 1;
constexpr std::size_t kLargeVocab = 250000;

double now_us() {
    using namespace std::chrono;
    return duration<double, std::micro>(steady_clock::now().time_since_epoch()).count();
}

/// First visits are long enough for the clock of the thread, which other processes do not disturb.
double cpu_us() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * static_cast<double>(t.tv_sec) + 1e-3 * static_cast<double>(t.tv_nsec);
}

GrammarNode seq(GrammarBuilder& b, std::vector<GrammarNode> parts) {
    return b.sequence(parts);
}

GrammarNode any(GrammarBuilder& b, std::vector<GrammarNode> options) {
    return b.choice(options);
}

/// The parts of JSON, with one optional space behind ':' and ','.
struct Json {
    explicit Json(GrammarBuilder& builder) : b(builder) {
        const std::array plain = {CodePointRange{0x20, 0x21}, CodePointRange{0x23, 0x5b},
                                  CodePointRange{0x5d, 0x10ffff}};
        const GrammarNode hex =
            any(b, {b.byte_range('0', '9'), b.byte_range('a', 'f'), b.byte_range('A', 'F')});
        std::vector<GrammarNode> escapes;
        for (const char* c : {"\"", "\\", "/", "b", "f", "n", "r", "t"})
            escapes.push_back(b.literal(c));
        escapes.push_back(seq(b, {b.literal("u"), b.repeat(hex, 4, 4)}));
        character = any(b, {b.characters(plain), seq(b, {b.literal("\\"), b.choice(escapes)})});
        text = string(0, kUnbounded);
        const GrammarNode digits = b.repeat(b.byte_range('0', '9'), 0, kUnbounded);
        integer = seq(b, {b.optional(b.literal("-")),
                          any(b, {b.literal("0"), seq(b, {b.byte_range('1', '9'), digits})})});
        number =
            seq(b, {integer, b.optional(seq(b, {b.literal("."), b.byte_range('0', '9'), digits}))});
        boolean = any(b, {b.literal("true"), b.literal("false")});
        const GrammarRule rule = b.declare();
        const GrammarNode value = b.refer(rule);
        object = list("{", seq(b, {text, colon(), value}), "}");
        b.define(rule,
                 any(b, {text, number, boolean, b.literal("null"), list("[", value, "]"), object}));
    }

    GrammarNode colon() { return seq(b, {b.literal(":"), b.optional(b.literal(" "))}); }

    GrammarNode comma() { return seq(b, {b.literal(","), b.optional(b.literal(" "))}); }

    GrammarNode string(std::uint32_t least, std::uint32_t most) {
        return seq(b, {b.literal("\""), b.repeat(character, least, most), b.literal("\"")});
    }

    GrammarNode list(const char* open, GrammarNode item, const char* close) {
        const GrammarNode more = b.repeat(seq(b, {comma(), item}), 0, kUnbounded);
        return seq(b, {b.literal(open), b.optional(seq(b, {item, more})), b.literal(close)});
    }

    GrammarNode members(const std::vector<std::pair<std::string, GrammarNode>>& all) {
        std::vector<GrammarNode> parts = {b.literal("{")};
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (i > 0) parts.push_back(comma());
            parts.push_back(b.literal('"' + all[i].first + '"'));
            parts.push_back(colon());
            parts.push_back(all[i].second);
        }
        parts.push_back(b.literal("}"));
        return b.sequence(parts);
    }

    GrammarBuilder& b;
    GrammarNode character{}, text{}, integer{}, number{}, boolean{}, object{};
};

/// What a schema of an order would give: bounded strings, enumerations, nested and recursive parts.
GrammarNode order(Json& json) {
    GrammarBuilder& b = json.b;
    const GrammarRule rule = b.declare();
    const GrammarNode status =
        any(b, {b.literal("\"open\""), b.literal("\"paid\""), b.literal("\"cancelled\"")});
    const GrammarNode address = json.members({{"street", json.string(0, 200)},
                                              {"city", json.string(1, 60)},
                                              {"zip", b.repeat(b.byte_range('0', '9'), 5, 5)}});
    const GrammarNode item = json.members(
        {{"name", json.string(1, 100)}, {"price", json.number}, {"gift", json.boolean}});
    b.define(rule, json.members({{"id", json.integer},
                                 {"status", status},
                                 {"customer", json.text},
                                 {"note", json.string(0, 4000)},
                                 {"address", address},
                                 {"items", json.list("[", item, "]")},
                                 {"parts", json.list("[", b.refer(rule), "]")}}));
    return b.refer(rule);
}

class Author {
public:
    explicit Author(std::uint64_t seed) : rng_(seed) {}

    std::string order(int depth) {
        std::string out = "{\"id\": " + std::to_string(rng_.below(100000));
        out += ", \"status\": \"" + pick({"open", "paid", "cancelled"}) + "\"";
        out += ", \"customer\": " + words(2) + ", \"note\": " + words(5 + rng_.below(40));
        out += ", \"address\": {\"street\": " + words(3) + ", \"city\": " + words(1) +
               ", \"zip\": " + std::to_string(10000 + rng_.below(89999)) + "}, \"items\": [";
        for (std::uint64_t i = 0, n = 1 + rng_.below(4); i < n; ++i) {
            out += std::string(i == 0 ? "" : ", ") + "{\"name\": " + words(2) +
                   ", \"price\": " + std::to_string(rng_.below(1000)) +
                   ".5, \"gift\": " + pick({"true", "false"}) + "}";
        }
        out += "], \"parts\": [";
        for (int i = 0; depth > 0 && i < 2; ++i)
            out += (i == 0 ? "" : ", ") + order(depth - 1);
        return out + "]}";
    }

private:
    std::string pick(std::vector<std::string> from) { return from[rng_.below(from.size())]; }

    std::string words(std::uint64_t n) {
        std::string out = "\"";
        for (std::uint64_t i = 0; i < n; ++i) {
            out += i == 0 ? "" : " ";
            out += pick({"Please",   "deliver",       "the",          "grey",  "machine",  "before",
                         "noon,",    "and",           "ring",         "twice", "if",       "nobody",
                         "answers.", "\u00dcbergabe", "\u4f60\u597d", "Ada",   "Lovelace", "42",
                         "(second",  "floor)",        "it's"});
        }
        return out + "\"";
    }

    bloom::Rng rng_;
};

/// Joins random tokens until there are `n`.
VocabSpec grown(VocabSpec spec, std::size_t n) {
    bloom::Rng rng(7);
    std::unordered_set<std::string> known(spec.tokens.begin(), spec.tokens.end());
    const std::size_t n_old = spec.tokens.size();
    if (spec.types.empty()) spec.types.assign(n_old, TokenType::normal);
    while (spec.tokens.size() < n) {
        const std::size_t a = rng.below(n_old);
        const std::size_t b = rng.below(n_old);
        if (spec.types[a] != TokenType::normal || spec.types[b] != TokenType::normal) continue;
        std::string joined = spec.tokens[a] + spec.tokens[b];
        if (joined.size() > 24 || !known.insert(joined).second) continue;
        spec.tokens.push_back(std::move(joined));
        spec.types.push_back(TokenType::normal);
    }
    return spec;
}

void print(const char* what, std::vector<double> us) {
    if (us.empty()) return;
    std::sort(us.begin(), us.end());
    double sum = 0;
    for (const double t : us)
        sum += t;
    std::printf("  %-24s n %6zu  median %8.2f us  mean %8.2f  p99 %8.2f  max %8.2f\n", what,
                us.size(), us[us.size() / 2], sum / static_cast<double>(us.size()),
                us[us.size() * 99 / 100], us.back());
}

void run(const char* name, const Tokenizer& tokenizer, bool orders) {
    const double start = now_us();
    auto vocab = GrammarVocab::create(tokenizer, {}, tokenizer.n_tokens());
    const double made_vocab = now_us();
    GrammarBuilder builder;
    Json json(builder);
    auto grammar = builder.build(orders ? order(json) : json.object);
    const double built = now_us();
    if (!vocab || !grammar) std::abort();
    auto bound = BoundGrammar::create(*grammar, *vocab);
    if (!bound) std::abort();
    std::printf("%s, %s: %d tokens; vocabulary %.0f us, build %.0f us\n", name,
                orders ? "orders" : "any object", tokenizer.n_tokens(), made_vocab - start,
                built - made_vocab);
    std::vector<double> mask_first, mask_later, all, accepts;
    Author author(3);
    for (std::size_t answer = 0; answer < kAnswers; ++answer) {
        std::vector<std::int32_t> ids;
        if (!tokenizer.encode(author.order(2), {.add_special = false}, ids)) std::abort();
        GrammarMatcher matcher(*bound);
        for (const std::int32_t id : ids) {
            const bool first = answer < kFirstAnswers;
            const double cpu_before = first ? cpu_us() : 0;
            const double before = now_us();
            const auto mask = matcher.mask();
            const double masked = now_us();
            const double cpu = first ? cpu_us() - cpu_before : 0;
            if ((mask[static_cast<std::size_t>(id) / 64] >> id % 64 & 1) == 0) std::abort();
            if (!matcher.accept(id)) std::abort();
            const double accepted = now_us();
            if (first) mask_first.push_back(cpu);
            if (!first) mask_later.push_back(masked - before);
            all.push_back(accepted - before);
            accepts.push_back(accepted - masked);
        }
        if (!matcher.can_end()) std::abort();
    }
    print("mask, first answer, CPU", mask_first);
    print("mask, later answers", mask_later);
    print("accept", accepts);
    print("mask + accept, all", all);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s VOCAB_GGUF\n", argv[0]);
        return 2;
    }
    const VocabSpec spec = bloom::test::GgufVocab(argv[1]).spec;
    for (const bool large : {false, true}) {
        auto tokenizer = Tokenizer::create(large ? grown(spec, kLargeVocab) : spec);
        if (!tokenizer) {
            std::fprintf(stderr, "%s\n", std::string(tokenizer.error().message()).c_str());
            return 1;
        }
        for (const bool orders : {false, true})
            run(large ? "grown" : "as it is", **tokenizer, orders);
    }
}
