// The in-process provider with the built-in model in simulation: requests from two shards, some
// cancelled at a random time, some without credit for a while. Whatever the order, each answer is
// what the same request gets alone. DARKBLOOM_SIM_SEEDS says how many seeds (default 8),
// DARKBLOOM_SEED the first one.
#include <cstdlib>
#include <map>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/provider/local.hpp>
#include <bloom/provider/model_source.hpp>
#include <bloom/rt/sim_driver.hpp>

#include "support/co_test.hpp"

namespace bloom::test {
namespace {

using std::chrono::microseconds;

constexpr int kQuestions = 6;
constexpr std::int32_t kTokens = 24;

std::uint64_t n_seeds() {
    const char* text = std::getenv("DARKBLOOM_SIM_SEEDS");
    return text == nullptr ? 8 : std::min<std::uint64_t>(std::strtoull(text, nullptr, 10), 200);
}

std::shared_ptr<const gen::Generation> question(int i) {
    static constexpr const char* kTexts[kQuestions] = {"What is Darkbloom?",
                                                       "Hello!",
                                                       "What is the capital of France?",
                                                       "Tell me a joke.",
                                                       "How do I start the node?",
                                                       "Which models are in the catalog?"};
    auto g = std::make_shared<gen::Generation>();
    g->model = std::string(provider::kBuiltInModel);
    gen::Message message;
    message.content.push_back({gen::Part::Kind::text, kTexts[i]});
    g->messages.push_back(std::move(message));
    g->sampling.temperature = i % 2 == 0 ? 0.0F : 1.0F;
    g->sampling.seed = 17;
    g->limits.max_tokens = kTokens;
    g->fair_key = i % 3 == 0 ? "a" : "b";
    return g;
}

struct World {
    explicit World(std::uint64_t seed) : rng(seed) {}

    Rng rng;
    std::shared_ptr<provider::LocalProvider> provider;
    int n_left = 0;
    int n_answered = 0;
    int n_cancelled = 0;
};

/// What each question gets when nothing else runs, from the first seed's quiet run.
std::map<int, std::string>& alone() {
    static std::map<int, std::string> answers;
    return answers;
}

rt::Task<void> ask(World& w, int i, bool cancel) {
    auto stream = w.provider->submit(question(i));
    const std::uint64_t patience = 1 + w.rng.below(12);
    std::string text;
    bool finished = false;
    gen::Usage usage;
    for (std::uint64_t n = 0;; ++n) {
        if (cancel && n == patience) {
            usage = co_await stream->cancel();
            EXPECT_LE(usage.completion_tokens, kTokens);
            ++w.n_cancelled;
            co_return;
        }
        const auto batch = co_await stream->next({});
        EXPECT_TRUE(batch.has_value());
        if (!batch || !*batch) break;
        std::size_t bytes = 0;
        for (const gen::Event& e : **batch) {
            EXPECT_FALSE(gen::is_terminal_failure(e)) << e.text;
            if (e.kind == gen::EventKind::text_delta) text += e.text;
            if (e.kind == gen::EventKind::finished) finished = true;
            if (e.kind == gen::EventKind::usage) usage = e.usage;
            bytes += e.text.size();
        }
        if (w.rng.below(4) == 0) co_await rt::sleep_for(microseconds(w.rng.below(3000)));
        stream->grant(bytes);
    }
    EXPECT_TRUE(finished);
    EXPECT_GT(usage.prompt_tokens, 0);
    EXPECT_GT(usage.completion_tokens, 0);
    ++w.n_answered;
    const auto [it, first] = alone().emplace(i, text);
    EXPECT_EQ(text, it->second) << "an answer depends on its company";
    EXPECT_FALSE(text.empty());
    static_cast<void>(co_await stream->cancel()); // after the end: only the counts
}

rt::Task<void> ask_later(World* w, int i, bool cancel) {
    co_await rt::sleep_for(microseconds(w->rng.below(5000)));
    co_await ask(*w, i, cancel);
}

rt::Task<void> shard_main(World* w, rt::Shard& shard) {
    if (shard.idx() == 0) {
        const Result<> loaded = co_await w->provider->load(std::string(provider::kBuiltInModel));
        EXPECT_TRUE(loaded.has_value()) << loaded.error().message();
        EXPECT_EQ(w->provider->capacity().models->size(), 1U);
        if (alone().empty()) {
            for (int i = 0; i < kQuestions; ++i)
                co_await ask(*w, i, false);
        }
    } else {
        while (w->provider->capacity().models->empty() ||
               static_cast<int>(alone().size()) < kQuestions) {
            co_await rt::sleep_for(microseconds(500));
        }
    }
    rt::Scope clients;
    for (int n = 0; n < 12; ++n) {
        clients.spawn(
            ask_later(w, static_cast<int>(w->rng.below(kQuestions)), w->rng.below(3) == 0));
    }
    co_await clients.join();
    if (--w->n_left == 0) {
        // Nothing may be left behind by those who left early.
        EXPECT_EQ(w->provider->capacity().n_running, 0);
        EXPECT_EQ(w->provider->capacity().n_queued, 0);
        auto refused = w->provider->submit(std::make_shared<gen::Generation>());
        const auto batch = co_await refused->next({});
        EXPECT_TRUE(batch && *batch && (*batch)->front().refusal == gen::Refusal::unknown_model);
        refused.reset();
        co_await w->provider->stop();
    }
}

TEST(LocalSim, AnswersDoNotDependOnCompany) {
    const std::uint64_t first = base_seed();
    for (std::uint64_t seed = first; seed < first + n_seeds() && !testing::Test::HasFailure();
         ++seed) {
        SCOPED_TRACE("DARKBLOOM_SEED=" + std::to_string(seed));
        World w(seed);
        rt::SimWorld sim(seed, {}, 2);
        w.n_left = 2;
        provider::LocalOptions options;
        options.n_threads = 1;
        options.max_sequences = 8; // fewer than requests, so that some wait
        options.kv_cache_bytes = std::int64_t{32} << 20;
        options.swap_bytes = std::int64_t{4} << 20;
        options.inter_token_ms = 5;
        options.now_us = [&sim] { return static_cast<std::int64_t>(sim.now_ns() / 1000); };
        w.provider = provider::LocalProvider::start(sim, {}, options).value();

        struct Main {
            World* w;

            BLOOM_CORO_WRAPPER rt::Task<void> operator()(rt::Shard& shard) const {
                return shard_main(w, shard);
            }
        };

        ASSERT_TRUE(sim.run(Main{&w}).has_value());
        EXPECT_GT(w.n_answered, 0);
    }
}

} // namespace
} // namespace bloom::test
