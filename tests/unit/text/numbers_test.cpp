// Numbers within bounds: the automaton against the arithmetic, on every spelling in reach.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>

#include "text/grammar/numbers.hpp"

namespace bloom::text::schema {
namespace {

bool accepts(const ByteDfa& dfa, std::string_view bytes) {
    std::uint32_t at = 0;
    for (const char c : bytes) {
        const auto byte = static_cast<std::uint8_t>(c);
        const ByteDfa::Edge* found = nullptr;
        for (const ByteDfa::Edge& e : dfa.states[at].edges) {
            if (e.first <= byte && e.last >= byte) found = &e;
        }
        if (found == nullptr) return false;
        at = found->target;
    }
    return dfa.states[at].accepts;
}

TEST(Decimal, ReadsAndWrites) {
    const auto text = [](std::string_view json) { return Decimal::parse(json).text(); };
    EXPECT_EQ(text("0.0"), "0");
    EXPECT_EQ(text("-0"), "0");
    EXPECT_EQ(text("1.50"), "1.5");
    EXPECT_EQ(text("-12e2"), "-1200");
    EXPECT_EQ(text("0.001"), "0.001");
    EXPECT_EQ(text("123e-5"), "0.00123");
    EXPECT_EQ(text("1.5e300"), "1.5e300");
    EXPECT_EQ(text("-2E-300"), "-2e-300");
    EXPECT_EQ(text("1e99999999999999999999"), text("1e100000"));
    EXPECT_TRUE(Decimal::parse("1e3").is_integer());
    EXPECT_FALSE(Decimal::parse("1.5").is_integer());
    EXPECT_EQ(Decimal::parse("12e1").count(), 120U);
    EXPECT_EQ(Decimal::parse("-1").count(), std::nullopt);
    EXPECT_EQ(Decimal::parse("1e19").count(), std::nullopt);
}

TEST(Decimal, Compares) {
    const std::vector<std::string_view> order{"-1e300", "-10",    "-9.99", "-0.5", "-0.05",
                                              "0",      "1e-300", "0.5",   "0.55", "1",
                                              "10",     "10.01",  "99",    "1e2",  "1e300"};
    for (std::size_t i = 0; i < order.size(); ++i) {
        for (std::size_t j = 0; j < order.size(); ++j) {
            const int c = compare(Decimal::parse(order[i]), Decimal::parse(order[j]));
            EXPECT_EQ(c < 0, i < j) << order[i] << ' ' << order[j];
            EXPECT_EQ(c == 0, i == j) << order[i] << ' ' << order[j];
        }
    }
    EXPECT_TRUE(is_multiple(Decimal::parse("0.3"), Decimal::parse("0.1")));
    EXPECT_FALSE(is_multiple(Decimal::parse("0.35"), Decimal::parse("0.1")));
    EXPECT_TRUE(is_multiple(Decimal::parse("1e300"), Decimal::parse("7e300")) == false);
    EXPECT_TRUE(is_multiple(Decimal::parse("21"), Decimal::parse("3.5")));
}

std::string random_bound(Rng& rng) {
    std::string out = rng.below(2) == 0 ? "-" : "";
    out += std::to_string(rng.below(rng.below(2) == 0 ? 12 : 130));
    if (rng.below(2) == 0) out += '.' + std::to_string(rng.below(rng.below(2) == 0 ? 10 : 100));
    return out;
}

/// Every number of up to three digits before and two behind the point.
std::vector<std::string> spellings() {
    std::vector<std::string> out;
    for (const char* sign : {"", "-"}) {
        for (int whole = 0; whole < 140; ++whole) {
            out.push_back(sign + std::to_string(whole));
            for (int digit = 0; digit < 10; ++digit) {
                out.push_back(out.back().substr(0, out.back().find('.')) + '.' +
                              static_cast<char>('0' + digit));
                if (whole < 12) {
                    for (const char* more : {"0", "1", "5", "9"})
                        out.push_back(sign + std::to_string(whole) + '.' +
                                      static_cast<char>('0' + digit) + more);
                }
            }
        }
    }
    return out;
}

TEST(Numbers, AutomatonAgreesWithArithmetic) {
    const std::vector<std::string> all = spellings();
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        Rng rng(seed);
        NumberRange range;
        range.integer = rng.below(3) == 0;
        std::string shown = range.integer ? "integer" : "number";
        if (rng.below(4) != 0) {
            const std::string bound = random_bound(rng);
            range.least = NumberBound{Decimal::parse(bound), rng.below(2) == 0};
            shown += (range.least->exclusive ? " > " : " >= ") + bound;
        }
        if (rng.below(4) != 0) {
            const std::string bound = random_bound(rng);
            range.most = NumberBound{Decimal::parse(bound), rng.below(2) == 0};
            shown += (range.most->exclusive ? " < " : " <= ") + bound;
        }
        if (rng.below(3) == 0) {
            constexpr std::string_view kSteps[] = {"1",   "2",   "3",    "7",   "10", "20",
                                                   "0.5", "0.1", "0.25", "1.5", "12"};
            const std::string_view step = kSteps[rng.below(std::size(kSteps))];
            range.step = Decimal::parse(step);
            shown.append(" step ").append(step);
        }
        const auto dfa = number_dfa(range);
        ASSERT_TRUE(dfa.has_value()) << shown << ": " << dfa.error().message();
        const bool plain = range.integer || (range.step && range.step->is_integer());
        for (const std::string& text : all) {
            const Decimal value = Decimal::parse(text);
            const bool has_point = text.contains('.');
            bool wanted = contains(range, value) && !(plain && has_point);
            if (text.starts_with('-') && value.is_zero()) wanted = false; // never minus zero
            // Places that no multiple needs are not written.
            if (wanted && has_point && range.step) {
                const auto n = static_cast<std::int64_t>(text.size() - text.find('.') - 1);
                wanted = n <= -range.step->exponent;
            }
            EXPECT_EQ(accepts(*dfa, text), wanted) << shown << ": " << text;
        }
    }
}

TEST(Numbers, BoundsOfAnySize) {
    NumberRange range;
    range.least = NumberBound{Decimal::parse("1e300"), false};
    const auto large = number_dfa(range);
    ASSERT_TRUE(large.has_value());
    EXPECT_TRUE(accepts(*large, '1' + std::string(300, '0')));
    EXPECT_FALSE(accepts(*large, std::string(300, '9')));
    range.least = NumberBound{Decimal::parse("0"), true};
    range.most = NumberBound{Decimal::parse("1e-30"), true};
    const auto narrow = number_dfa(range);
    ASSERT_TRUE(narrow.has_value());
    EXPECT_TRUE(accepts(*narrow, "0." + std::string(30, '0') + "5"));
    EXPECT_FALSE(accepts(*narrow, "0." + std::string(29, '0') + "1"));
    range.most = NumberBound{Decimal::parse("1e-400"), false};
    EXPECT_EQ(number_dfa(range).error().code(), Code::too_large);
    NumberRange none;
    none.least = NumberBound{Decimal::parse("3"), false};
    none.most = NumberBound{Decimal::parse("2"), false};
    const auto empty = number_dfa(none);
    ASSERT_TRUE(empty.has_value());
    EXPECT_TRUE(empty->states[0].edges.empty() && !empty->states[0].accepts);
}

} // namespace
} // namespace bloom::text::schema
