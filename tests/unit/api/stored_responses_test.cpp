#include <thread>

#include <gtest/gtest.h>

#include "api/stored_responses.hpp"

namespace bloom::api {
namespace {

StoredResponse response(std::string account, std::string id, std::size_t bytes = 100) {
    StoredResponse r;
    r.account = std::move(account);
    r.id = std::move(id);
    r.body = std::string(bytes, 'x');
    return r;
}

TEST(StoredResponses, FindsAndForgets) {
    StoredResponses stored;
    stored.put(response("a", "resp_1"), 10);
    ASSERT_NE(stored.find("a", "resp_1", 11), nullptr);
    EXPECT_EQ(stored.find("a", "resp_1", 11)->body.size(), 100U);
    EXPECT_EQ(stored.find("b", "resp_1", 11), nullptr);
    EXPECT_EQ(stored.find("a", "resp_2", 11), nullptr);
    EXPECT_FALSE(stored.erase("b", "resp_1", 11));
    EXPECT_TRUE(stored.erase("a", "resp_1", 11));
    EXPECT_FALSE(stored.erase("a", "resp_1", 11));
    EXPECT_EQ(stored.size(), 0U);
    EXPECT_EQ(stored.bytes(), 0U);
}

TEST(StoredResponses, WhatIsHeldOutlivesItsEntry) {
    StoredResponses stored;
    stored.put(response("a", "resp_1"), 10);
    const auto held = stored.find("a", "resp_1", 11);
    EXPECT_TRUE(stored.erase("a", "resp_1", 11));
    EXPECT_EQ(held->id, "resp_1");
}

TEST(StoredResponses, ReferencesToOneItemAreBoundedTogether) {
    StoredResponses stored({.response_bytes = 4096});
    StoredResponse kept = response("a", "resp_1");
    kept.items.emplace_back();
    kept.items.back().id = "msg_1_0";
    kept.items.back().texts = {std::string(1000, 'x')};
    kept.n_output = 1;
    stored.put(std::move(kept), 0);
    const auto join = [&](std::size_t n_references) {
        dialect::Request request;
        for (std::size_t i = 0; i < n_references; ++i) {
            request.items.emplace_back();
            request.items.back().kind = dialect::ResponseItem::Kind::reference;
            request.items.back().id = "msg_1_0";
        }
        const auto joined = join_stored(stored, "a", request, 1);
        return joined ? std::string("fine") : joined.error().param;
    };
    EXPECT_EQ(join(2), "fine");
    EXPECT_EQ(join(1000), "input");
}

TEST(StoredResponses, EachLivesAsLong) {
    StoredResponses stored({.lifetime_ns = 100});
    stored.put(response("a", "resp_1"), 0);
    stored.put(response("a", "resp_2"), 50);
    EXPECT_NE(stored.find("a", "resp_1", 99), nullptr);
    EXPECT_EQ(stored.find("a", "resp_1", 100), nullptr);
    EXPECT_NE(stored.find("a", "resp_2", 149), nullptr);
    stored.expire(150);
    EXPECT_EQ(stored.size(), 0U);
    EXPECT_EQ(stored.bytes(), 0U);
}

TEST(StoredResponses, TheOldestOfAnAccountMakesRoom) {
    StoredResponses stored({.n_account_responses = 2});
    stored.put(response("b", "resp_0"), 0);
    stored.put(response("a", "resp_1"), 0);
    stored.put(response("a", "resp_2"), 0);
    stored.put(response("a", "resp_3"), 0);
    EXPECT_EQ(stored.find("a", "resp_1", 1), nullptr);
    EXPECT_NE(stored.find("a", "resp_2", 1), nullptr);
    EXPECT_NE(stored.find("a", "resp_3", 1), nullptr);
    EXPECT_NE(stored.find("b", "resp_0", 1), nullptr) << "older, but another's";
}

TEST(StoredResponses, BytesAreBounded) {
    StoredResponses stored({.bytes = 20'000, .account_bytes = 8'000});
    for (int i = 0; i < 40; ++i) {
        const std::string account(1, static_cast<char>('a' + i % 4));
        stored.put(response(account, "resp_" + std::to_string(i), 3'000), 0);
        EXPECT_LE(stored.bytes(), 20'000U);
    }
    EXPECT_EQ(stored.size(), 5U);
    EXPECT_NE(stored.find("d", "resp_39", 1), nullptr);
    const std::size_t before = stored.bytes();
    stored.put(response("a", "resp_huge", 9'000), 0);
    EXPECT_EQ(stored.find("a", "resp_huge", 1), nullptr);
    EXPECT_EQ(stored.bytes(), before);
}

TEST(StoredResponses, ManyThreads) {
    StoredResponses stored({.n_responses = 50, .n_account_responses = 20});
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&stored, t] {
            const std::string account(1, static_cast<char>('a' + t % 2));
            for (int i = 0; i < 500; ++i) {
                const std::string id = "resp_" + std::to_string(t) + "x" + std::to_string(i);
                stored.put(response(account, id), static_cast<std::uint64_t>(i));
                const auto found = stored.find(account, id, static_cast<std::uint64_t>(i));
                if (found) EXPECT_EQ(found->id, id);
                if (i % 3 == 0) stored.erase(account, id, static_cast<std::uint64_t>(i));
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_LE(stored.size(), 50U);
    EXPECT_GT(stored.size(), 0U);
}

TEST(StoredResponses, WhatIsTooLongIsRefusedBeforehand) {
    StoredResponses stored({.response_bytes = 2'000});
    dialect::Request request;
    request.store = true;
    request.items.emplace_back();
    request.items.back().texts.emplace_back(1'000, 'x');
    EXPECT_TRUE(join_stored(stored, "a", request, 0).has_value());
    request.items.back().texts.emplace_back(1'000, 'x');
    const auto refused = join_stored(stored, "a", request, 0);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().param, "store");
    request.store = false;
    EXPECT_TRUE(join_stored(stored, "a", request, 0).has_value());
}

} // namespace
} // namespace bloom::api
