// However the tokens of a sequence are cut into steps, and whatever other sequences have rows in
// them, logits are the same to the last bit.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>

#include "plan_runner.hpp"

namespace bloom::engine {
namespace {

using golden::load_case;
using golden::ModelCase;
using golden::PlanRunner;
using Rows = std::vector<std::vector<float>>;

/// Text tokens; the goldens' embeddings have as many.
std::vector<std::int32_t> some_tokens(std::uint64_t seed, std::size_t n) {
    Rng rng(seed);
    std::vector<std::int32_t> out(n);
    for (std::int32_t& t : out)
        t = static_cast<std::int32_t>(rng.below(256));
    return out;
}

/// Logits of all positions, computed in pieces of `cut` tokens.
Rows in_pieces(PlanRunner& runner, const std::vector<std::int32_t>& ids, std::size_t cut) {
    Rows out;
    for (std::size_t at = 0; at < ids.size(); at += cut) {
        const std::size_t n = std::min(cut, ids.size() - at);
        const auto first = ids.begin() + static_cast<std::ptrdiff_t>(at);
        Rows rows = runner.run(
            {{0, {first, first + static_cast<std::ptrdiff_t>(n)}, static_cast<std::int32_t>(at)}});
        std::ranges::move(rows, std::back_inserter(out));
    }
    return out;
}

class Cuts : public testing::TestWithParam<const char*> {};

TEST_P(Cuts, ChangeNothing) {
    const ModelCase model = load_case(GetParam());
    PlanRunner runner(model);
    const auto ids = some_tokens(7, 150);
    const Rows whole = in_pieces(runner, ids, ids.size());
    ASSERT_EQ(whole.size(), ids.size());
    for (const std::size_t cut : {64U, 128U, 7U, 1U}) {
        // By EXPECT_TRUE: nobody wants to see the numbers.
        EXPECT_TRUE(in_pieces(runner, ids, cut) == whole) << "pieces of " << cut;
    }
}

// Sequences that start at different times, prompts beside single tokens.
TEST_P(Cuts, CompanyChangesNothing) {
    constexpr int kSeqs = 4;
    const ModelCase model = load_case(GetParam());
    PlanRunner alone(model), together(model, nullptr, false, kSeqs, 3);
    std::vector<std::vector<std::int32_t>> ids;
    std::vector<Rows> want, got(kSeqs);
    for (int s = 0; s < kSeqs; ++s) {
        ids.push_back(some_tokens(100 + static_cast<std::uint64_t>(s),
                                  20 + 37 * static_cast<std::size_t>(s)));
        want.push_back(in_pieces(alone, ids.back(), ids.back().size()));
    }
    Rng rng(11);
    for (;;) {
        std::vector<PlanRunner::Piece> pieces;
        for (int s = 0; s < kSeqs; ++s) {
            const auto& all = ids[static_cast<std::size_t>(s)];
            const std::size_t at = got[static_cast<std::size_t>(s)].size();
            const std::size_t n = std::min<std::size_t>(
                all.size() - at, rng.below(2) == 0 ? rng.below(2) : 1 + rng.below(40));
            if (n == 0) continue;
            const auto first = all.begin() + static_cast<std::ptrdiff_t>(at);
            pieces.push_back({s,
                              {first, first + static_cast<std::ptrdiff_t>(n)},
                              static_cast<std::int32_t>(at)});
        }
        if (!pieces.empty()) {
            Rows rows = together.run(pieces);
            std::size_t r = 0;
            for (const auto& piece : pieces) {
                for (std::size_t i = 0; i < piece.tokens.size(); ++i)
                    got[static_cast<std::size_t>(piece.seq)].push_back(std::move(rows[r++]));
            }
        }
        bool done = true;
        for (std::size_t s = 0; s < ids.size(); ++s)
            done = done && got[s].size() == ids[s].size();
        if (done) break;
    }
    for (std::size_t s = 0; s < ids.size(); ++s)
        EXPECT_TRUE(got[s] == want[s]) << "sequence " << s;
}

INSTANTIATE_TEST_SUITE_P(Models, Cuts, testing::ValuesIn(golden::kCases));

} // namespace
} // namespace bloom::engine
