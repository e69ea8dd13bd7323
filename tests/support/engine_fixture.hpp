#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/engine.hpp>

#include "support/tiny_model.hpp"

namespace bloom::test {

/// What one request has produced so far.
struct Answer {
    std::map<int, std::string> text;
    std::map<int, std::string> reasoning;
    std::map<int, gen::Finish> finish;
    std::map<int, std::string> stop;
    std::map<int, std::vector<gen::TokenLogprob>> logprobs; ///< of the text
    std::map<int, std::vector<std::string>> calls;          ///< name and arguments of each
    gen::Usage started;
    gen::Usage usage;
    gen::Failure failure = gen::Failure::none;
    std::string failure_text;
    int n_events = 0;
    int n_tokens = 0;
    bool over = false;
    bool has_usage_event = false;
};

class Collector final : public engine::EventSink {
public:
    void on_events(engine::RequestId id, gen::EventBatch&& events) override {
        Answer& a = answers[static_cast<std::uint64_t>(id)];
        for (const gen::Event& e : events) {
            EXPECT_FALSE(a.over) << "an event after the last";
            ++a.n_events;
            a.n_tokens += e.n_tokens;
            switch (e.kind) {
            case gen::EventKind::started:
                a.started = e.usage;
                break;
            case gen::EventKind::text_delta:
                a.text[e.choice] += e.text;
                a.logprobs[e.choice].insert(a.logprobs[e.choice].end(), e.logprobs.begin(),
                                            e.logprobs.end());
                break;
            case gen::EventKind::tool_begin:
                a.calls[e.choice].push_back(e.text);
                break;
            case gen::EventKind::tool_args:
                a.calls[e.choice].back() += e.text;
                break;
            case gen::EventKind::reasoning_delta:
                a.reasoning[e.choice] += e.text;
                break;
            case gen::EventKind::usage:
                EXPECT_EQ(a.usage, e.usage) << "the last finished has the totals already";
                a.usage = e.usage;
                a.has_usage_event = true;
                a.over = true;
                break;
            case gen::EventKind::finished:
                EXPECT_FALSE(a.finish.contains(e.choice));
                a.finish[e.choice] = e.finish;
                a.stop[e.choice] = e.text;
                a.usage = e.usage;
                break;
            case gen::EventKind::failed:
                a.failure = e.failure;
                a.failure_text = e.text;
                a.usage = e.usage;
                a.over = true;
                break;
            default:
                break;
            }
        }
    }

    Answer& operator[](std::uint64_t id) { return answers[id]; }

    std::map<std::uint64_t, Answer> answers;
};

/// A tiny model in an engine, with the memory that both need.
class TinyEngine {
public:
    explicit TinyEngine(const TinyShape& shape, engine::EngineOptions options = {}, int workers = 1)
        : model(shape), image_(model.gguf()) {
        if (workers == 1) {
            team_ = std::make_unique<compute::SerialTeam>(1);
        } else {
            team_ = std::make_unique<compute::SpinTeam>(workers);
        }
        auto file = engine::ModelFile::from_memory(image_, "tiny");
        if (!file) throw std::runtime_error(std::string(file.error().message()));
        options.team = team_.get();
        if (options.kv_budget_bytes == engine::kDefaultKvBudgetBytes) {
            options.kv_budget_bytes = std::int64_t{32} << 20;
        }
        auto made = engine::Engine::create(std::move(*file), options);
        if (!made) throw std::runtime_error(std::string(made.error().message()));
        engine_ = std::move(*made);
    }

    engine::Engine& operator*() { return *engine_; }

    engine::Engine* operator->() { return engine_.get(); }

    std::unique_ptr<engine::Engine> take() { return std::move(engine_); }

    /// Runs until nothing is left to do; the clock stands still.
    void run(Collector& out, std::int64_t now_ms = 0) {
        for (int i = 0; i < 20'000; ++i) {
            if (!engine_->step(out, now_ms)) return;
        }
        FAIL() << "the engine never came to rest";
    }

    /// One request by itself.
    Answer ask(const gen::Generation& g, std::uint64_t id = 1'000'000) {
        Collector out;
        const auto ok = engine_->submit(engine::RequestId{id},
                                        std::make_shared<const gen::Generation>(g), 1 << 30);
        EXPECT_TRUE(ok) << ok.error().message();
        run(out);
        EXPECT_TRUE(out[id].over);
        return out[id];
    }

    TinyModel model;

private:
    std::vector<std::uint8_t> image_;
    std::unique_ptr<compute::Team> team_; // outlives the engine
    std::unique_ptr<engine::Engine> engine_;
};

/// A raw completion of n tokens that writes lower-case letters only.
inline gen::Generation letters(std::string prompt, int n, float temperature = 0,
                               std::uint64_t seed = 1) {
    gen::Generation g;
    g.prompts.push_back(std::move(prompt));
    g.limits.max_tokens = n;
    g.sampling.temperature = temperature;
    g.sampling.seed = seed;
    for (std::int32_t c = 'a'; c <= 'z'; ++c) // ids of the tiny tokenizer are bytes
        g.sampling.logit_bias.push_back({c, 50});
    g.cache_scope = "tests";
    return g;
}

inline std::string prompt_of(int n, std::uint64_t seed) {
    Rng rng(seed);
    std::string out;
    for (int i = 0; i < n; ++i)
        out += static_cast<char>('a' + rng.below(26));
    return out;
}

} // namespace bloom::test
