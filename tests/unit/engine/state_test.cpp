#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/state.hpp>

namespace bloom::engine {
namespace {

std::vector<std::int32_t> tokens(int n, int first = 0) {
    std::vector<std::int32_t> out(static_cast<std::size_t>(n));
    std::iota(out.begin(), out.end(), first);
    return out;
}

const StateSpec kFull{{{1, 1, 8, 8, 0, kernels::KvType::f16}}, {}};
/// A group that sees everything and one that sees 32 tokens.
const StateSpec kMixed{
    {{1, 1, 8, 8, 0, kernels::KvType::f16}, {2, 1, 8, 8, 32, kernels::KvType::f16}}, {}};

StateStore make(std::int64_t pages = 32, const StateSpec& spec = kFull) {
    const std::vector<std::int64_t> n(spec.groups.size(), pages);
    return StateStore(spec, n, true);
}

/// A sequence whose tokens are all computed and published.
SequenceState computed(StateStore& store, const std::vector<std::int32_t>& t,
                       std::string_view scope = "a") {
    SequenceState s;
    store.init(s);
    EXPECT_TRUE(store.ensure(s, static_cast<std::int64_t>(t.size())));
    store.publish(s, scope, t, static_cast<std::int64_t>(t.size()));
    return s;
}

TEST(StateStore, TakesAndReturnsPages) {
    StateStore store = make(4);
    SequenceState s;
    store.init(s);
    EXPECT_TRUE(store.ensure(s, 17));
    EXPECT_EQ(s.tables[0].size(), 2u);
    EXPECT_EQ(store.n_free(), 2);
    EXPECT_TRUE(store.ensure(s, 64));
    EXPECT_FALSE(store.ensure(s, 65));
    store.release(s);
    EXPECT_EQ(store.n_free(), 4);
    EXPECT_EQ(store.max_tokens(), 64);
}

TEST(StateStore, SharesWholeCutsOfAPrefixInsideAScope) {
    StateStore store = make();
    const auto t = tokens(200);
    SequenceState a = computed(store, t);
    SequenceState b;
    store.init(b);
    EXPECT_EQ(store.attach(b, "a", t), 192);
    EXPECT_TRUE(std::equal(b.tables[0].begin(), b.tables[0].end(), a.tables[0].begin()));
    EXPECT_EQ(b.tables[0].size(), 12u);
    SequenceState other;
    store.init(other);
    EXPECT_EQ(store.attach(other, "b", t), 0);
    EXPECT_EQ(store.attach(other, "", t), 0);
    store.release(a);
    store.release(b);
    EXPECT_EQ(store.n_free(), 32 - 12);
    EXPECT_EQ(store.n_available(), 32);
    store.drop_cache();
    EXPECT_EQ(store.n_free(), 32);
}

TEST(StateStore, TheLastTokenIsAlwaysComputed) {
    StateStore store = make();
    SequenceState a = computed(store, tokens(128));
    SequenceState b;
    store.init(b);
    EXPECT_EQ(store.attach(b, "a", tokens(128)), 64);
    store.release(b);
    EXPECT_EQ(store.attach(b, "a", tokens(129)), 128);
    store.release(b);
    EXPECT_EQ(store.attach(b, "a", tokens(64)), 0);
    store.release(a);
}

TEST(StateStore, DifferentTokensShareOnlyWhatIsEqual) {
    StateStore store = make();
    auto t = tokens(160);
    SequenceState a = computed(store, t);
    t[70] = -5;
    SequenceState b;
    store.init(b);
    EXPECT_EQ(store.attach(b, "a", t), 64);
    // The same block of tokens after another beginning is another block.
    t[0] = -6;
    SequenceState c;
    store.init(c);
    EXPECT_EQ(store.attach(c, "a", t), 0);
    for (SequenceState* s : {&a, &b, &c})
        store.release(*s);
}

TEST(StateStore, EqualPagesAreKeptOnce) {
    StateStore store = make();
    SequenceState a = computed(store, tokens(64));
    SequenceState b = computed(store, tokens(64));
    EXPECT_EQ(a.tables[0], b.tables[0]);
    EXPECT_EQ(store.n_free(), 28);
    store.release(a);
    store.release(b);
    EXPECT_EQ(store.n_free(), 28);
}

TEST(StateStore, UnusedPrefixesMakeWayLeastRecentlyUsedFirst) {
    StateStore store = make(8);
    SequenceState a = computed(store, tokens(64, 0));
    store.release(a);
    SequenceState b = computed(store, tokens(64, 1000));
    store.release(b);
    EXPECT_EQ(store.n_free(), 0);
    EXPECT_EQ(store.attach(a, "a", tokens(65, 0)), 64); // a is fresh again
    store.release(a);
    SequenceState c;
    store.init(c);
    EXPECT_TRUE(store.ensure(c, 16)); // takes the end of b
    EXPECT_EQ(store.attach(b, "a", tokens(65, 1000)), 0);
    EXPECT_EQ(store.attach(a, "a", tokens(65, 0)), 64);
    EXPECT_TRUE(store.ensure(c, 64));
    EXPECT_FALSE(store.ensure(c, 65)) << "pages in use are not evicted";
    store.release(a);
    EXPECT_TRUE(store.ensure(c, 128));
    store.release(c);
    EXPECT_EQ(store.n_free(), 8);
}

TEST(StateStore, ForksShareFullPagesAndCopyThePartialOne) {
    for (const std::string_view scope : {"", "a"}) {
        StateStore store = make(8);
        const auto t = tokens(40);
        SequenceState a = computed(store, t, scope);
        SequenceState b;
        int copies = 0;
        ASSERT_TRUE(store.fork(a, b, 40, [&](std::size_t g, std::int32_t from, std::int32_t to) {
            ++copies;
            EXPECT_EQ(g, 0u);
            EXPECT_EQ(from, a.tables[0][2]);
            EXPECT_NE(from, to);
        }));
        EXPECT_EQ(copies, 1);
        EXPECT_EQ(store.n_free(), 4);
        EXPECT_EQ(a.tables[0][1], b.tables[0][1]);
        EXPECT_NE(a.tables[0][2], b.tables[0][2]);
        store.release(a);
        store.release(b);
        store.drop_cache();
        EXPECT_EQ(store.n_free(), 8);
    }
}

TEST(StateStore, AForkWithoutRoomLeavesNothing) {
    StateStore store = make(3);
    SequenceState a = computed(store, tokens(40), "");
    SequenceState b;
    EXPECT_FALSE(store.fork(a, b, 40, [](std::size_t, std::int32_t, std::int32_t) { FAIL(); }));
    EXPECT_TRUE(b.tables[0].empty());
    store.release(a);
    EXPECT_EQ(store.n_free(), 3);
}

TEST(StateStore, WindowedGroupsDropPagesBehindTheWindow) {
    StateStore store = make(16, kMixed);
    SequenceState s;
    store.init(s);
    ASSERT_TRUE(store.ensure(s, 100));
    EXPECT_EQ(store.n_free(), 2 * (16 - 7));
    store.drop_behind_window(s, 100); // whoever starts at the cut 64 sees 33 on: page 2
    EXPECT_EQ(s.tables[1][1], -1);
    EXPECT_GE(s.tables[1][2], 0);
    EXPECT_EQ(store.n_free(), 16 - 7 + 16 - 5);
    EXPECT_TRUE(store.ensure(s, 256));
    store.drop_behind_window(s, 250);
    store.release(s);
    EXPECT_EQ(store.n_free(), 32);
}

TEST(StateStore, AWindowedPrefixIsReusedOnlyWhereItsWindowIsKept) {
    StateStore store = make(32, kMixed);
    const auto t = tokens(300);
    SequenceState a;
    store.init(a);
    ASSERT_TRUE(store.ensure(a, 256));
    for (int n = 64; n <= 256; n += 64) {
        store.publish(a, "a", t, n);
        store.drop_behind_window(a, n);
    }
    store.release(a);
    SequenceState b;
    store.init(b);
    EXPECT_EQ(store.attach(b, "a", std::span(t).first(150)), 0) << "that window is gone";
    EXPECT_EQ(store.attach(b, "a", t), 256);
    EXPECT_EQ(b.tables[1][0], -1);
    EXPECT_GE(b.tables[1][15], 0);
    store.release(b);
    store.drop_cache();
    EXPECT_EQ(store.n_free(), 64);
}

} // namespace
} // namespace bloom::engine
