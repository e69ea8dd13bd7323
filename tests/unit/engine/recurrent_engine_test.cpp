#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "engine/engine_impl.hpp"
#include "support/engine_fixture.hpp"
#include "support/fake_backend.hpp"

/// The engine over a backend that knows whose pages, states and rows it is given.
namespace bloom::engine {
namespace {

using test::Answer;
using test::Collector;
using test::letters;
using test::prompt_of;

constexpr compute::KvGroupSpec kGroup{1, 1, 16, 16, 0, kernels::KvType::f16};
constexpr compute::RecurrentSpec kRecurrent{1, 1, 1, 16, 16, 4};

struct World {
    bool recurrent = true;
    bool head = false;
    bool speculate = false;
    std::int32_t window = 0; ///< of a second group; 0: there is none
    std::int32_t n_pages = 400;
    std::int32_t n_snapshots = 16;
    std::int64_t swap_bytes = 0;
    bool cache = true;
    std::int32_t max_seqs = 16;
};

class FakeEngine {
public:
    explicit FakeEngine(const World& w) : image_(test::TinyModel({}).gguf()) {
        StateSpec spec;
        spec.groups.push_back(kGroup);
        if (w.window > 0) spec.groups.push_back({1, 1, 16, 16, w.window, kernels::KvType::f16});
        if (w.recurrent) spec.recurrent = kRecurrent;
        auto file = ModelFile::from_memory(image_, "fake");
        EXPECT_TRUE(file);
        auto prompts = PromptMaker::create(*file, 1000);
        EXPECT_TRUE(prompts);
        EngineInfo info;
        info.ctx_len = std::min(4096, w.n_pages * 16);
        info.vocab_rows = 320;
        info.n_tokens = prompts->tokenizer()->n_tokens();
        EngineOptions options;
        options.team = &team_;
        options.table = kernels::select_table(kernels::detect_cpu_features(), nullptr);
        options.max_seqs = w.max_seqs;
        options.prefill_tokens = 128;
        options.speculate = w.speculate;
        auto backend = std::make_unique<test::FakeBackend>(spec, info.vocab_rows);
        backend_ = backend.get();
        const std::vector<std::int64_t> pages(spec.groups.size(), w.n_pages);
        for (const compute::KvGroupSpec& g : spec.groups)
            EXPECT_TRUE(backend->allocate_kv(g, w.n_pages));
        SlotCounts slots;
        if (w.recurrent) {
            slots = {w.max_seqs, w.n_snapshots};
            EXPECT_TRUE(backend->allocate_states(kRecurrent, w.max_seqs + w.n_snapshots));
        }
        StateStore store(spec, pages, w.cache, slots);
        auto swap = SwapPages::make(*backend, spec, pages, slots.n_sequences, w.swap_bytes);
        auto graph = std::make_unique<const test::FakeGraph>(spec, info.vocab_rows, w.head);
        engine_ = std::make_unique<EngineImpl>(std::move(*file), options, std::move(*prompts),
                                               std::move(backend), std::move(graph),
                                               std::move(store), std::move(swap), info);
    }

    Engine* operator->() { return engine_.get(); }

    const test::FakeBackend& backend() const { return *backend_; }

    void submit(std::uint64_t id, gen::Generation g) {
        EXPECT_TRUE(engine_->submit(
            RequestId{id}, std::make_shared<const gen::Generation>(std::move(g)), 1 << 30));
    }

    void run(Collector& out) {
        for (int i = 0; i < 20'000; ++i) {
            if (!engine_->step(out, 0)) return;
            if (testing::Test::HasFailure()) return;
        }
        FAIL() << "the engine never came to rest";
    }

    /// Nothing is held when nothing runs.
    void expect_idle() {
        engine_->drop_prefix_cache();
        EXPECT_EQ(engine_->pages_in_use(), 0);
        EXPECT_EQ(engine_->states_in_use(), 0);
        EXPECT_EQ(engine_->n_snapshots(), 0);
    }

private:
    std::vector<std::uint8_t> image_;
    compute::SerialTeam team_;
    test::FakeBackend* backend_ = nullptr;
    std::unique_ptr<EngineImpl> engine_;
};

/// Prompts that begin alike, are equal, or are on their own; greedy and drawn; several choices.
std::vector<gen::Generation> some_requests() {
    std::vector<gen::Generation> out;
    const std::string common = prompt_of(150, 7);
    for (int i = 0; i < 10; ++i) {
        const auto seed = static_cast<std::uint64_t>(i);
        std::string prompt = i % 2 == 0 ? common + prompt_of(5 + 37 * i, seed + 100)
                                        : prompt_of(1 + 60 * i, seed + 200);
        if (i == 8) prompt = out[2].prompts[0];
        gen::Generation g = letters(prompt, 20 + 30 * i, i % 3 == 1 ? 0.7F : 0.0F, seed);
        if (i % 3 == 0) g.sampling.logit_bias.clear(); // plain greedy, on the backend
        if (i % 4 == 3) g.n_choices = 3;
        out.push_back(std::move(g));
    }
    return out;
}

std::map<std::uint64_t, std::map<int, std::string>> texts(const World& w, EngineCapacity* end) {
    FakeEngine engine(w);
    Collector out;
    const auto requests = some_requests();
    for (std::uint64_t id = 0; id < requests.size(); ++id) {
        engine.submit(id + 1, requests[id]);
        for (int i = 0; i < 3; ++i)
            static_cast<void>(engine->step(out, 0));
    }
    engine.run(out);
    if (end != nullptr) *end = engine->capacity();
    engine.expect_idle();
    std::map<std::uint64_t, std::map<int, std::string>> result;
    for (auto& [id, answer] : out.answers) {
        EXPECT_TRUE(answer.over);
        EXPECT_EQ(answer.failure, gen::Failure::none);
        result[id] = answer.text;
    }
    return result;
}

TEST(RecurrentEngine, NothingChangesTheText) {
    const auto alone = [&] {
        std::map<std::uint64_t, std::map<int, std::string>> result;
        const auto requests = some_requests();
        for (std::uint64_t id = 0; id < requests.size(); ++id) {
            FakeEngine engine({.recurrent = false, .cache = false});
            Collector out;
            engine.submit(id + 1, requests[id]);
            engine.run(out);
            result[id + 1] = out[id + 1].text;
        }
        return result;
    }();
    const std::int64_t swap = 400 * compute::page_bytes(kGroup);
    const std::array ways = {
        World{},
        World{.n_snapshots = 0},
        World{.n_snapshots = 1},
        World{.speculate = true},
        World{.head = true, .speculate = true},
        World{.recurrent = false, .head = true, .speculate = true},
        World{.head = true, .speculate = true, .n_pages = 60},
        World{.head = true, .speculate = true, .n_pages = 60, .swap_bytes = swap},
        World{.speculate = true, .n_pages = 60, .swap_bytes = swap, .cache = false},
        World{.recurrent = false, .head = true, .speculate = true, .window = 24},
    };
    for (std::size_t i = 0; i < ways.size(); ++i) {
        SCOPED_TRACE(i);
        EngineCapacity end;
        EXPECT_EQ(texts(ways[i], &end), alone);
        EXPECT_EQ(end.n_accepted > 0, ways[i].speculate);
        EXPECT_EQ(end.n_head_accepted, ways[i].head ? end.n_accepted : 0);
        EXPECT_EQ(end.n_preempted > 0, ways[i].n_pages == 60);
        EXPECT_EQ(end.n_swapped > 0, ways[i].swap_bytes > 0);
        if (HasFailure()) return;
    }
}

TEST(RecurrentEngine, APromptIsContinuedFromItsSnapshot) {
    FakeEngine engine({});
    Collector out;
    const std::string first = prompt_of(500, 3);
    engine.submit(1, letters(first, 10));
    engine.run(out);
    EXPECT_EQ(out[1].usage.cached_tokens, 0);
    EXPECT_GT(engine->n_snapshots(), 0);
    engine.submit(2, letters(first, 10)); // BOS and 500 letters: the last cut is at 448
    engine.run(out);
    EXPECT_EQ(out[2].usage.cached_tokens, 448);
    EXPECT_EQ(out[2].text, out[1].text);
    // Another end: the first time only pages are known from before, then there is a snapshot.
    const auto other = [&](std::uint64_t seed) {
        return first.substr(0, 300) + prompt_of(90, seed);
    };
    engine.submit(3, letters(other(1), 10));
    engine.run(out);
    EXPECT_EQ(out[3].usage.cached_tokens, 0);
    engine.submit(4, letters(other(2), 10));
    engine.run(out);
    EXPECT_EQ(out[4].usage.cached_tokens, 256);
    engine.expect_idle();
}

TEST(RecurrentEngine, AnAnswerIsContinuedFromItsSnapshot) {
    for (const bool speculate : {false, true}) {
        FakeEngine engine({.head = true, .speculate = speculate});
        Collector out;
        const std::string prompt = prompt_of(100, 5);
        engine.submit(1, letters(prompt, 1000));
        engine.run(out);
        const std::string next = prompt + out[1].text[0] + prompt_of(30, 6);
        engine.submit(2, letters(next, 10));
        engine.run(out);
        EXPECT_GE(out[2].usage.cached_tokens, 1000 - kAnswerStride - kPrefillCut);
        EXPECT_LE(engine->n_snapshots(), 4) << "an answer keeps its latest one only";
        engine.expect_idle();
    }
}

TEST(RecurrentEngine, LongPromptsLeaveSnapshotsOnTheirWay) {
    FakeEngine engine({});
    Collector out;
    const std::string prompt = prompt_of(3000, 5);
    engine.submit(1, letters(prompt, 5));
    engine.run(out);
    engine.submit(2, letters(prompt.substr(0, 2500), 5));
    engine.run(out);
    EXPECT_EQ(out[2].usage.cached_tokens, 2 * kPromptStride);
    engine.expect_idle();
}

TEST(RecurrentEngine, StoppedRequestsHoldNothing) {
    FakeEngine engine({.head = true, .speculate = true, .n_pages = 80, .swap_bytes = 1 << 20});
    Collector out;
    auto requests = some_requests();
    for (std::uint64_t id = 0; id < requests.size(); ++id) {
        requests[id].deadline_ms = id % 2 == 0 ? 5 : 0;
        engine.submit(id + 1, requests[id]);
    }
    for (int i = 0; i < 40; ++i)
        static_cast<void>(engine->step(out, i < 20 ? 0 : 10));
    for (std::uint64_t id = 0; id < requests.size(); ++id)
        engine->cancel(RequestId{id + 1}, CancelReason::client_gone);
    EXPECT_EQ(engine->states_in_use(), 0);
    engine.run(out);
    engine.expect_idle();
}

TEST(DraftHead, SeesVerifiedRowsOnly) {
    FakeEngine engine({.head = true, .speculate = true, .cache = false});
    Collector out;
    for (std::uint64_t id = 1; id <= 2; ++id)
        engine.submit(id, letters(prompt_of(200, id), 400, id == 2 ? 0.5F : 0.0F));
    engine.run(out);
    EXPECT_GT(engine.backend().n_head_rows(), 1100);
    EXPECT_EQ(engine.backend().n_stale(), 0);
    const EngineCapacity end = engine->capacity();
    EXPECT_GT(end.n_head_accepted, 200);
    EXPECT_LT(end.n_head_accepted, end.n_head_drafted);
}

} // namespace
} // namespace bloom::engine
