#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/batcher.hpp>

namespace bloom::engine {
namespace {

const StateSpec kSpec{{{1, 1, 8, 8, 0, kernels::KvType::f16}}, {}};

class BatcherTest : public testing::Test {
protected:
    void make(const BatcherOptions& options, std::int64_t pages = 1000) {
        const std::vector<std::int64_t> n{pages};
        store_ = std::make_unique<StateStore>(kSpec, n, true);
        batcher_ = std::make_unique<Batcher>(options, *store_);
    }

    SeqId add(int n_tokens, std::string key = "", int priority = 0) {
        Batcher::NewSequence s;
        s.tokens.assign(static_cast<std::size_t>(n_tokens), next_token_++);
        s.fair_key = std::move(key);
        s.priority = priority;
        const auto id = batcher_->add(std::move(s));
        EXPECT_TRUE(id);
        return *id;
    }

    /// Computes one step; sequences that reach their end get another token.
    const Batcher::Step& step() {
        const Batcher::Step& s = batcher_->schedule();
        batcher_->complete();
        for (const Batcher::Item& item : s.items) {
            if (item.logit_row >= 0) batcher_->append(item.seq, 1);
        }
        return s;
    }

    std::unique_ptr<StateStore> store_;
    std::unique_ptr<Batcher> batcher_;
    std::int32_t next_token_ = 100;
};

TEST_F(BatcherTest, RunningStreamsGoOnBesideALongPrompt) {
    make({.max_seqs = 4, .prefill_tokens = 256, .busy_prefill_tokens = 64});
    const SeqId stream = add(10);
    EXPECT_EQ(step().phase, compute::Phase::prefill);
    EXPECT_EQ(step().phase, compute::Phase::decode);
    const SeqId prompt = add(1000);
    for (int i = 0; i < 10; ++i) {
        const Batcher::Step& s = step();
        ASSERT_EQ(s.items.size(), 2u);
        EXPECT_EQ(s.items[0].seq, stream);
        EXPECT_EQ(s.items[0].end - s.items[0].begin, 1);
        EXPECT_EQ(s.items[1].seq, prompt);
        EXPECT_EQ(s.items[1].end - s.items[1].begin, 64);
        EXPECT_EQ(s.items[1].logit_row, -1);
    }
    batcher_->remove(stream);
    EXPECT_EQ(step().items[0].end, 640 + 256) << "nobody waits for it any more";
    EXPECT_EQ(step().items[0].logit_row, 0);
}

TEST_F(BatcherTest, KeysTakeTurnsInTheQueue) {
    make({.max_seqs = 1});
    const SeqId running = add(10, "many");
    step();
    std::vector<SeqId> many;
    for (int i = 0; i < 5; ++i)
        many.push_back(add(10, "many"));
    const SeqId few = add(10, "few");
    batcher_->remove(running);
    // The newcomer starts beside the other key, whose head came earlier; then it is its turn.
    EXPECT_EQ(step().items[0].seq, many[0]);
    batcher_->remove(many[0]);
    EXPECT_EQ(step().items[0].seq, few) << "the other key has computed more";
    for (int i = 0; i < 30; ++i)
        step();
    batcher_->remove(few);
    EXPECT_EQ(step().items[0].seq, many[1]);
}

TEST_F(BatcherTest, ComingBackDoesNotPassThoseThatKeepSomethingWaiting) {
    make({.max_seqs = 1});
    SeqId a = add(10, "a");
    SeqId b = add(10, "b");
    const SeqId first = add(10, "patient");
    const SeqId second = add(10, "patient");
    // a and b send their next request as soon as the last one has been answered.
    bool served = false;
    for (int i = 0; i < 12 && !served; ++i) {
        const SeqId now = step().items.at(0).seq;
        served = now == second;
        batcher_->remove(now);
        if (now == a) {
            a = add(10, "a");
        } else if (now == b) {
            b = add(10, "b");
        } else {
            EXPECT_TRUE(now == first || now == second);
        }
    }
    EXPECT_TRUE(served);
}

TEST_F(BatcherTest, AfterARestEverybodyStartsAsEquals) {
    make({.max_seqs = 1});
    batcher_->remove([&] {
        const SeqId busy = add(500, "busy");
        step();
        return busy;
    }());
    const SeqId blocker = add(10, "idle");
    step();
    const SeqId busy = add(10, "busy");
    const SeqId idle = add(10, "idle");
    batcher_->remove(blocker);
    EXPECT_EQ(step().items.at(0).seq, busy) << "what was computed before the rest is forgotten";
    batcher_->remove(busy);
    EXPECT_EQ(step().items.at(0).seq, idle);
}

TEST_F(BatcherTest, KeysTakeTurnsInPrefill) {
    make({.max_seqs = 2, .prefill_tokens = 64});
    const SeqId longer = add(64 * 6, "a");
    step();
    const SeqId shorter = add(64 * 2, "b");
    // b stands beside a when it comes: from then on they alternate.
    std::vector<SeqId> order;
    for (int i = 0; i < 4; ++i)
        order.push_back(step().items.back().seq);
    EXPECT_EQ(std::count(order.begin(), order.end(), shorter), 2);
    EXPECT_EQ(std::count(order.begin(), order.end(), longer), 2);
}

TEST_F(BatcherTest, PriorityGoesFirstWithinAKey) {
    make({.max_seqs = 1});
    const SeqId first = add(10, "k");
    step();
    add(10, "k");
    const SeqId urgent = add(10, "k", 5);
    batcher_->remove(first);
    EXPECT_EQ(step().items[0].seq, urgent);
}

TEST_F(BatcherTest, RefusesWhatCanNeverFitAndWhatIsTooMuch) {
    make({.max_seqs = 1, .max_waiting = 1}, 4);
    Batcher::NewSequence big;
    big.tokens.assign(65, 1);
    EXPECT_EQ(batcher_->add(std::move(big)).error().code(), Code::too_large);
    add(64);
    Batcher::NewSequence second;
    second.tokens = {1};
    EXPECT_EQ(batcher_->add(std::move(second)).error().code(), Code::limit_reached);
}

TEST_F(BatcherTest, TheOldestIsNeverPreempted) {
    make({.max_seqs = 4}, 8); // 128 tokens
    const SeqId oldest = add(60);
    add(60);
    int n_steps = 0;
    while (batcher_->n_preemptions() == 0 && n_steps++ < 200)
        step();
    ASSERT_EQ(batcher_->n_preemptions(), 1);
    EXPECT_EQ(batcher_->n_running(), 1);
    EXPECT_EQ(batcher_->schedule().items[0].seq, oldest);
    EXPECT_EQ(batcher_->n_computed(oldest) + 1,
              static_cast<std::int32_t>(batcher_->tokens(oldest).size()));
}

/// Counts pages; their contents do not matter here.
class CountingMover final : public PageMover {
public:
    void save(std::size_t, std::int32_t, std::int32_t) override { ++n_saved; }

    void restore(std::size_t, std::int32_t, std::int32_t) override { ++n_restored; }

    int n_saved = 0;
    int n_restored = 0;
};

TEST_F(BatcherTest, PagesSharedBeyondAWholeCutAreSwapped) {
    make({.max_seqs = 4}, 16);
    CountingMover mover;
    SwapSpace swap(std::vector<std::int64_t>{16}, &mover);
    batcher_ = std::make_unique<Batcher>(BatcherOptions{.max_seqs = 4}, *store_, &swap);
    // Six pages in common, of which the cache gives back four: one cut.
    const auto add_sharing = [&](std::int32_t own) {
        Batcher::NewSequence s;
        s.tokens.assign(96, 7);
        s.tokens.resize(126, own);
        s.cache_scope = "scope";
        return *batcher_->add(std::move(s));
    };
    const SeqId first = add_sharing(8);
    step();
    const SeqId second = add_sharing(9);
    step();
    ASSERT_EQ(batcher_->n_computed(second), 126);
    batcher_->pause(second);
    const SeqId large = add(64); // takes the place of the one that is paused
    step();
    ASSERT_EQ(batcher_->n_swapped_out(), 1);
    EXPECT_EQ(mover.n_saved, 4);
    batcher_->remove(large);
    batcher_->resume(second);
    const Batcher::Step& s = step();
    EXPECT_EQ(batcher_->n_swapped_in(), 1);
    EXPECT_EQ(mover.n_restored, 4);
    ASSERT_EQ(s.items.size(), 2U);
    EXPECT_EQ(s.items[1].seq, second);
    EXPECT_EQ(s.items[1].begin, 126) << "nothing is computed again";
    EXPECT_EQ(swap.n_used(), 0);
    batcher_->remove(first);
    batcher_->remove(second);
    store_->drop_cache();
    EXPECT_EQ(store_->n_free(), store_->n_pages());
    batcher_.reset(); // before its swap space
}

} // namespace
} // namespace bloom::engine
