// Time to draw one token out of a row of logits. Usage: bloom_bench_sampler. One line per case:
// microseconds of processor time per token, the median of five runs after a warm-up. Two kinds of
// rows: "peaked", where a few dozen tokens hold most of the probability as in written text, and
// "flat", where thousands share it. Rows change from token to token and stay in the L3 cache, where
// the products of the last layer leave them.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <vector>

#include <bloom/base/rng.hpp>
#include <bloom/engine/sampler.hpp>

namespace {

using namespace bloom;

constexpr std::size_t kRows = 8;
constexpr int kTokens = 48; ///< in one run
constexpr int kRuns = 5;

double normal(Rng& rng) {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i)
        sum += rng.uniform();
    return sum;
}

std::vector<std::vector<float>> make_rows(std::size_t vocab, bool peaked) {
    Rng rng(vocab + (peaked ? 1 : 0));
    std::vector<std::vector<float>> rows(kRows);
    for (auto& row : rows) {
        for (std::size_t i = 0; i < vocab; ++i)
            row.push_back(static_cast<float>((peaked ? 2.2 : 2.0) * normal(rng)));
        for (int i = 0; peaked && i < 40; ++i) {
            row[rng.below(vocab)] = static_cast<float>(9.0 + 8.0 * rng.uniform());
        }
    }
    return rows;
}

double cpu_us() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) * 1e-3;
}

double median_us(const std::vector<std::vector<float>>& rows, const gen::Sampling& options,
                 std::int64_t* check) {
    engine::Sampler sampler(options, 1, 0);
    std::vector<std::int32_t> prompt;
    Rng rng(5);
    for (int i = 0; i < 2000; ++i)
        prompt.push_back(static_cast<std::int32_t>(rng.below(rows[0].size())));
    sampler.observe_prompt(prompt);
    engine::SamplerScratch scratch;
    std::vector<double> times;
    for (int run = 0; run <= kRuns; ++run) {
        const double start = cpu_us();
        for (std::size_t i = 0; i < kTokens; ++i) {
            const std::vector<float>& row = rows[i % kRows];
            const std::int32_t token =
                sampler.sample(row, static_cast<std::int32_t>(row.size()), scratch);
            sampler.accept(token);
            *check += token;
        }
        if (run > 0) times.push_back((cpu_us() - start) / kTokens);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

} // namespace

int main() {
    struct Case {
        const char* name;
        gen::Sampling options;
    };

    std::vector<Case> cases;
    const auto add = [&](const char* name, auto change) {
        Case c{name, {}};
        change(c.options);
        cases.push_back(c);
    };
    add("greedy", [](auto& o) { o.temperature = 0.0F; });
    add("temperature 1", [](auto&) {});
    add("0.7, top_p 0.9", [](auto& o) {
        o.temperature = 0.7F;
        o.top_p = 0.9F;
    });
    add("top_k 40", [](auto& o) { o.top_k = 40; });
    add("0.7, top_k 40, top_p 0.9", [](auto& o) {
        o.temperature = 0.7F;
        o.top_k = 40;
        o.top_p = 0.9F;
    });
    add("min_p 0.05", [](auto& o) { o.min_p = 0.05F; });
    add("0.7, top_p 0.9, penalties, bias", [](auto& o) {
        o.temperature = 0.7F;
        o.top_p = 0.9F;
        o.presence_penalty = 0.5F;
        o.frequency_penalty = 0.5F;
        o.repetition_penalty = 1.1F;
        for (std::int32_t t = 0; t < 50; ++t)
            o.logit_bias.push_back({t * 1000, -5.0F});
    });
    std::int64_t check = 0;
    std::printf("%-34s %8s %8s %8s %8s   us per token\n", "", "152k", "152k", "250k", "250k");
    std::printf("%-34s %8s %8s %8s %8s\n", "", "peaked", "flat", "peaked", "flat");
    const std::vector<std::vector<std::vector<float>>> inputs = {
        make_rows(151'936, true), make_rows(151'936, false), make_rows(250'000, true),
        make_rows(250'000, false)};
    for (const Case& c : cases) {
        std::printf("%-34s", c.name);
        for (const auto& rows : inputs)
            std::printf(" %8.1f", median_us(rows, c.options, &check));
        std::printf("\n");
    }
    std::printf("(sum of the tokens %lld)\n", static_cast<long long>(check));
}
