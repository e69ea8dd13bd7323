#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/engine/batcher.hpp>

namespace bloom::engine {
namespace {

const StateSpec kSpec{{{1, 1, 8, 8, 0, kernels::KvType::f16}}, {}};

/// A batcher without a model: every request is a prompt of its length and so many tokens after it.
class Office {
public:
    explicit Office(std::int32_t max_seqs)
        : store_(kSpec, std::vector<std::int64_t>{4000}, false),
          batcher_({.max_seqs = max_seqs, .prefill_tokens = 128}, store_) {}

    SeqId send(const std::string& key, int n_prompt, int n_new) {
        Batcher::NewSequence s;
        s.tokens.assign(static_cast<std::size_t>(n_prompt), 1);
        s.fair_key = key;
        const auto id = batcher_.add(std::move(s));
        EXPECT_TRUE(id);
        left_[*id] = {key, n_new};
        ++n_open_[key];
        return *id;
    }

    void step() {
        const Batcher::Step& step = batcher_.schedule();
        batcher_.complete();
        const std::vector<Batcher::Item> items = step.items;
        for (const Batcher::Item& item : items) {
            auto& job = left_[item.seq];
            served_[job.key] += item.end - item.begin;
            if (item.logit_row < 0) continue;
            if (--job.n_new > 0) {
                batcher_.append(item.seq, 1);
                continue;
            }
            batcher_.remove(item.seq);
            --n_open_[job.key];
            ++n_answered_[job.key];
            left_.erase(item.seq);
        }
    }

    int n_open(const std::string& key) { return n_open_[key]; }

    int n_answered(const std::string& key) { return n_answered_[key]; }

    std::int64_t served(const std::string& key) { return served_[key]; }

private:
    struct Job {
        std::string key;
        int n_new = 0;
    };

    StateStore store_;
    Batcher batcher_;
    std::map<SeqId, Job> left_;
    std::map<std::string, int> n_open_;
    std::map<std::string, int> n_answered_;
    std::map<std::string, std::int64_t> served_;
};

TEST(Fairness, WhoeverKeepsSomethingWaitingGetsTheSameShare) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE(seed);
        Rng rng(seed);
        Office office(2 + static_cast<std::int32_t>(rng.below(3)));
        const auto n_keys = 2 + rng.below(4);
        // Accounts differ in how much they keep waiting, and in the sizes of their requests.
        std::vector<int> depth, size;
        for (std::uint64_t k = 0; k < n_keys; ++k) {
            depth.push_back(6 + static_cast<int>(rng.below(20)));
            size.push_back(20 + static_cast<int>(rng.below(400)));
        }
        for (int i = 0; i < 4000; ++i) {
            for (std::uint64_t k = 0; k < n_keys; ++k) {
                while (office.n_open(std::to_string(k)) < depth[k])
                    office.send(std::to_string(k), size[k] + static_cast<int>(rng.below(100)),
                                1 + static_cast<int>(rng.below(40)));
            }
            office.step();
        }
        std::int64_t least = INT64_MAX, most = 0;
        for (std::uint64_t k = 0; k < n_keys; ++k) {
            least = std::min(least, office.served(std::to_string(k)));
            most = std::max(most, office.served(std::to_string(k)));
        }
        // Apart by what a key can hold in its slots at one time, not by a part of the whole.
        EXPECT_LE(most - least, 4 * 600) << most;
        EXPECT_GT(least, 8000);
    }
}

TEST(Fairness, ALightUserIsServedBesideHeavyOnes) {
    Office office(4);
    std::int64_t longest = 0;
    std::int64_t since = 0;
    bool waiting = false;
    int answered = 0;
    for (std::int64_t i = 0; i < 4000; ++i) {
        for (const char* heavy : {"a", "b", "c"}) {
            while (office.n_open(heavy) < 30)
                office.send(heavy, 300, 20);
        }
        if (!waiting && i % 50 == 0) {
            office.send("light", 100, 5);
            waiting = true;
            since = i;
        }
        office.step();
        if (office.n_answered("light") > answered) {
            answered = office.n_answered("light");
            longest = std::max(longest, i - since);
            waiting = false;
        }
    }
    EXPECT_GT(answered, 60);
    EXPECT_LT(longest, 60) << "steps";
}

TEST(Fairness, NewKeysOneAfterTheOtherDoNotOutrunAnOldOne) {
    for (const int n_new : {1, 3}) {
        Office office(1);
        for (int i = 0; i < 20; ++i) // a history that none of the newcomers has
            office.send("old", 300, 1);
        while (office.n_open("old") > 0)
            office.step();
        const std::int64_t before = office.served("old");
        std::int64_t newcomers = 0;
        std::vector<std::string> open;
        for (int i = 0; i < 3000; ++i) {
            while (office.n_open("old") < 4)
                office.send("old", 100, 1);
            std::erase_if(open, [&](const std::string& key) { return office.n_open(key) == 0; });
            while (open.size() < static_cast<std::size_t>(n_new)) {
                open.push_back("new" + std::to_string(newcomers++));
                office.send(open.back(), 100, 1);
            }
            office.step();
        }
        const std::int64_t all = office.served("old") - before + 100 * newcomers;
        const auto share =
            static_cast<double>(office.served("old") - before) / static_cast<double>(all);
        EXPECT_GT(share, 0.8 / (n_new + 1)) << n_new;
        EXPECT_LT(share, 1.2 / (n_new + 1)) << n_new;
    }
}

} // namespace
} // namespace bloom::engine
