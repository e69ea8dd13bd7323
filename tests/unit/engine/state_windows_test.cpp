#include <algorithm>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/state.hpp>

/// Groups with windows, and snapshots of recurrent states, in the store.
namespace bloom::engine {
namespace {

constexpr kernels::KvType kF16 = kernels::KvType::f16;

std::vector<std::int32_t> tokens(int n, int first = 0) {
    std::vector<std::int32_t> out(static_cast<std::size_t>(n));
    std::iota(out.begin(), out.end(), first);
    return out;
}

StateSpec windowed(std::int32_t window) {
    return {{{1, 1, 8, 8, 0, kF16}, {2, 1, 8, 8, window, kF16}}, {}};
}

/// Computes [from, to) in steps of at most `chunk`; returns most pages that the second group held.
std::int64_t advance(StateStore& store, std::span<SequenceState*> seqs,
                     const std::vector<std::int32_t>& t, int from, int to, int chunk) {
    std::int64_t most = 0;
    for (int at = from; at < to;) {
        const int end = std::min(to, (at + chunk) / kPrefillCut * kPrefillCut > at
                                         ? (at + chunk) / kPrefillCut * kPrefillCut
                                         : at + chunk);
        for (SequenceState* s : seqs)
            EXPECT_TRUE(store.ensure(*s, end)) << end;
        most = std::max(most, store.n_pages(1) - store.n_available(1));
        for (SequenceState* s : seqs) {
            store.publish(*s, "a", t, end);
            store.drop_behind_window(*s, end);
        }
        at = end;
    }
    return most;
}

TEST(WindowedState, DoesNotGrowWithTheContext) {
    for (const std::int32_t window : {12, 24}) {
        StateStore store(windowed(window), std::array<std::int64_t, 2>{512, 12}, true);
        const auto t = tokens(8000);
        SequenceState s;
        store.init(s);
        std::array<SequenceState*, 1> seqs = {&s};
        const std::int64_t prompt = advance(store, seqs, t, 0, 4000, 64);
        EXPECT_LE(prompt, (window + 15) / 16 + 4 + 1);
        EXPECT_LE(advance(store, seqs, t, 4000, 8000, 1), (window + 15) / 16 + 4 + 1);
        store.release(s);
        store.drop_cache();
        EXPECT_EQ(store.n_free(), store.n_pages());
    }
}

TEST(WindowedState, SharedPagesGoWithTheLastThatSeesThem) {
    StateStore store(windowed(24), std::array<std::int64_t, 2>{512, 24}, true);
    const auto t = tokens(4000);
    SequenceState a, b;
    store.init(a);
    store.init(b);
    std::array<SequenceState*, 2> both = {&a, &b}; // the same prompt, side by side
    EXPECT_LE(advance(store, both, t, 0, 4000, 64), 2 * (2 + 4 + 1));
    store.release(a);
    EXPECT_LE(store.n_pages(1) - store.n_available(1), 2 + 4 + 1);
    store.release(b);
    EXPECT_EQ(store.n_available(1), store.n_pages(1));
    store.drop_cache();
    EXPECT_EQ(store.n_free(), store.n_pages());
}

TEST(WindowedState, AConversationIsContinuedAtItsLastCut) {
    for (int n = 129; n < 129 + 64; ++n) {
        StateStore store(windowed(24), std::array<std::int64_t, 2>{64, 24}, true);
        const auto t = tokens(400);
        SequenceState a;
        store.init(a);
        std::array<SequenceState*, 1> seqs = {&a};
        advance(store, seqs, t, 0, 64, 64);
        advance(store, seqs, t, 64, n, 1);
        store.release(a);
        EXPECT_EQ(store.attach(a, "a", t), n / kPrefillCut * kPrefillCut) << n;
        store.release(a);
    }
}

TEST(WindowedState, TheGroupThatIsShortIsNamed) {
    StateStore store(windowed(24), std::array<std::int64_t, 2>{64, 16}, true);
    SequenceState a, b;
    store.init(a);
    store.init(b);
    ASSERT_TRUE(store.ensure(a, 12 * 16)); // 52 and 4 pages are left
    EXPECT_EQ(store.scarcest().total, 16);
    EXPECT_EQ(store.short_group(b, 64, 0), StateStore::kNoGroup);
    EXPECT_EQ(store.short_group(b, 65, 0), 1u);
    EXPECT_EQ(store.short_group(b, 65 * 16, 0), 0u);
    EXPECT_EQ(store.max_tokens(), 64 * 16) << "windows do not bound the length";
    store.release(a);
}

const StateSpec kRecurrent{{{1, 1, 8, 8, 0, kF16}}, compute::RecurrentSpec{1, 1, 1, 16, 16, 4}};

StateStore recurrent(std::int32_t n_snapshots, std::int64_t pages = 64) {
    return StateStore(kRecurrent, std::array{pages}, true, {4, n_snapshots});
}

/// A sequence whose tokens are computed and published, with snapshots at some positions.
SequenceState computed(StateStore& store, const std::vector<std::int32_t>& t,
                       std::initializer_list<int> snapshots) {
    SequenceState s;
    store.init(s);
    EXPECT_TRUE(store.take_slot(s));
    EXPECT_TRUE(store.ensure(s, static_cast<std::int64_t>(t.size())));
    store.publish(s, "a", t, static_cast<std::int64_t>(t.size()));
    for (const int at : snapshots)
        EXPECT_GE(store.keep_snapshot(s, at, store.reserve_snapshot()).slot, 0);
    return s;
}

TEST(RecurrentState, APrefixIsReusedUpToASnapshot) {
    StateStore store = recurrent(4);
    const auto t = tokens(400);
    SequenceState a = computed(store, t, {64, 192});
    SequenceState b;
    store.init(b);
    EXPECT_EQ(store.attach(b, "a", t), 192);
    EXPECT_GE(b.resume_from, 4);
    EXPECT_EQ(b.n_known, 384);
    store.release(b);
    EXPECT_EQ(store.attach(b, "a", std::span(t).first(192)), 64) << "its last token is computed";
    store.release(b);
    EXPECT_EQ(store.attach(b, "a", t, StateStore::Resume::pages), 384);
    EXPECT_EQ(b.resume_from, -1);
    store.release(b);
    EXPECT_EQ(store.attach(b, "b", t), 0) << "another scope";
    EXPECT_EQ(b.n_known, 0);
    store.release(a);
    EXPECT_EQ(store.slots().n_free(), 4);
    store.drop_cache();
    EXPECT_EQ(store.slots().n_kept(), 0);
}

TEST(RecurrentState, SnapshotsGoOldestFirstAndLeaveTheirBlocks) {
    StateStore store = recurrent(2);
    const auto t = tokens(300);
    SequenceState a = computed(store, t, {64, 128});
    SequenceState b;
    store.init(b);
    EXPECT_EQ(store.attach(b, "a", std::span(t).first(100)), 64); // used again: 128 is older now
    store.release(b);
    EXPECT_GE(store.keep_snapshot(a, 192, store.reserve_snapshot()).slot, 0);
    EXPECT_EQ(store.attach(b, "a", std::span(t).first(190)), 64);
    store.release(b);
    EXPECT_EQ(store.attach(b, "a", t), 192);
    store.release(b);
    EXPECT_EQ(store.slots().n_kept(), 2);
    store.release(a);
}

TEST(RecurrentState, ASnapshotGoesWithItsBlock) {
    StateStore store = recurrent(2, 8);
    SequenceState a = computed(store, tokens(128), {128});
    store.release(a);
    SequenceState b;
    store.init(b);
    ASSERT_TRUE(store.ensure(b, 16)); // takes the last block's page
    EXPECT_EQ(store.slots().n_kept(), 0);
    EXPECT_EQ(store.attach(a, "a", tokens(129)), 0);
    store.release(b);
}

TEST(RecurrentState, OneSnapshotTakesThePlaceOfAnother) {
    StateStore store = recurrent(3);
    const auto t = tokens(300);
    SequenceState a = computed(store, t, {64});
    const Snapshot first = store.keep_snapshot(a, 128, store.reserve_snapshot());
    const Snapshot second = store.keep_snapshot(a, 192, store.reserve_snapshot(first));
    EXPECT_EQ(second.slot, first.slot);
    EXPECT_EQ(store.slots().n_kept(), 2);
    // The first one is not there any more, so any slot will do.
    const std::int32_t third = store.reserve_snapshot(first);
    EXPECT_NE(third, second.slot);
    store.drop_snapshot(third);
    EXPECT_EQ(store.keep_snapshot(a, 192, store.reserve_snapshot()).slot, -1) << "it has one";
    EXPECT_EQ(store.slots().n_kept(), 2);
    store.release(a);
}

TEST(RecurrentState, WithoutSnapshotsNothingIsCached) {
    StateStore store = recurrent(0);
    SequenceState a = computed(store, tokens(128), {});
    EXPECT_EQ(store.reserve_snapshot(), -1);
    store.release(a);
    EXPECT_EQ(store.n_free(), store.n_pages());
}

TEST(RecurrentState, SlotsAreBounded) {
    StateStore store = recurrent(1);
    std::array<SequenceState, 5> seqs;
    for (SequenceState& s : seqs)
        store.init(s);
    for (std::size_t i = 0; i < 4; ++i)
        EXPECT_TRUE(store.take_slot(seqs[i]));
    EXPECT_FALSE(store.take_slot(seqs[4]));
    store.release(seqs[2]);
    EXPECT_TRUE(store.take_slot(seqs[4]));
    const std::int32_t snapshot = store.reserve_snapshot();
    EXPECT_EQ(snapshot, 4);
    EXPECT_EQ(store.reserve_snapshot(), -1) << "it is being written";
}

} // namespace
} // namespace bloom::engine
