// Draft heads against the reference: what they say after every token of a prompt, and what they
// guess from their own guesses.
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/json/reader.hpp>

#include "plan_runner.hpp"

namespace bloom::engine {
namespace {

using golden::ids_of;
using golden::load_case;
using golden::ModelCase;
using golden::PlanRunner;
using golden::read_numbers;

struct DraftCase {
    std::vector<float> logits; ///< [positions, vocab_rows], the last ones are guesses of guesses
    std::int32_t next = 0;     ///< the token behind the prompt
    std::vector<std::int32_t> drafts;
};

/// Of one prompt; without logits where the reference has none in this mode.
DraftCase load_draft(const std::string& name, std::size_t prompt, bool precise) {
    const golden::fs::path dir = golden::data_dir() / name;
    json::Parser parser;
    const json::Object o =
        parser.parse(golden::read_text(dir / "golden.json")).value().as_object().value();
    DraftCase out;
    std::size_t at = 0;
    for (const json::Value v : o.at("mtp").value().as_array().value()) {
        if (at++ != prompt) continue;
        const auto mode = v.as_object().value().find(precise ? "precise" : "int8");
        if (!mode) continue;
        const json::Object m = mode->as_object().value();
        out.logits = read_numbers<float>(dir / m.at("logits_file").value().as_string().value());
        out.next = static_cast<std::int32_t>(m.at("next").value().as_int64().value());
        out.drafts = ids_of(m, "drafts");
    }
    return out;
}

/// As in golden_test: what one code on an edge may change, with other exponentials than the
/// library's.
constexpr double kEdge = 0.025;

double error_of(const std::vector<float>& got, const float* want) {
    double diff = 0, norm = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        const double w = want[i];
        diff += (static_cast<double>(got[i]) - w) * (static_cast<double>(got[i]) - w);
        norm += w * w;
    }
    return std::sqrt(diff / norm);
}

std::int32_t best_of(const std::vector<float>& logits, std::int64_t n_tokens) {
    std::int32_t best = 0;
    for (std::int32_t i = 1; i < n_tokens; ++i) {
        if (logits[static_cast<std::size_t>(i)] > logits[static_cast<std::size_t>(best)]) best = i;
    }
    return best;
}

class Drafts : public testing::TestWithParam<const char*> {};

TEST_P(Drafts, LogitsAndTokens) {
    const ModelCase model = load_case(GetParam());
    int n_checked = 0;
    for (const auto* const* t = kernels::all_tables(); *t != nullptr; ++t) {
        if (((*t)->required & ~kernels::detect_cpu_features()) != 0) continue;
        for (const bool precise : {true, false}) {
            for (std::size_t p = 0; p < model.prompts.size(); ++p) {
                const DraftCase want = load_draft(GetParam(), p, precise);
                if (want.logits.empty()) continue;
                SCOPED_TRACE(std::string((*t)->isa) + (precise ? " precise" : " int8"));
                PlanRunner runner(model, *t, precise);
                ASSERT_TRUE(runner.graph().has_draft_head());
                const auto& ids = model.prompts[p].ids;
                const auto n = static_cast<std::int32_t>(ids.size());
                runner.run({{0, ids, 0}});
                std::vector<std::int32_t> tokens(ids.begin() + 1, ids.end());
                tokens.push_back(want.next);
                std::vector<std::int32_t> rows(ids.size());
                std::iota(rows.begin(), rows.end(), 0);
                auto logits = runner.draft({0, tokens, 0}, rows);
                EXPECT_EQ(best_of(logits.back(), model.n_tokens), want.drafts[0]);
                for (std::size_t d = 0; d + 1 < want.drafts.size(); ++d) {
                    const auto at = n + static_cast<std::int32_t>(d);
                    const auto further =
                        runner.draft({0, {want.drafts[d]}, at}, {d == 0 ? n - 1 : 0});
                    EXPECT_EQ(best_of(further[0], model.n_tokens), want.drafts[d + 1]);
                    logits.push_back(further[0]);
                }
                const bool edges = !precise && std::string_view((*t)->isa) != "scalar";
                const auto width = static_cast<std::size_t>(model.vocab_rows);
                const std::size_t kept = want.logits.size() / width;
                ASSERT_GE(logits.size(), kept);
                for (std::size_t i = 0; i < kept; ++i) {
                    EXPECT_LE(
                        error_of(logits[logits.size() - kept + i], want.logits.data() + i * width),
                        edges ? kEdge : model.tolerance)
                        << "position " << i << " of the last " << kept;
                }
                ++n_checked;
            }
        }
    }
    EXPECT_GT(n_checked, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, Drafts, testing::ValuesIn(golden::kDraftCases));

} // namespace
} // namespace bloom::engine
