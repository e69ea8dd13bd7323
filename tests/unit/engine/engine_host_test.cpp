#include <memory>

#include <gtest/gtest.h>

#include <bloom/engine/engine_host.hpp>

#include "support/engine_fixture.hpp"

namespace bloom::engine {
namespace {

using test::Collector;
using test::letters;
using test::TinyEngine;

std::shared_ptr<const gen::Generation> ask(int n) {
    return std::make_shared<const gen::Generation>(letters("hello", n));
}

class HostTest : public testing::Test {
protected:
    HostTest() {
        EXPECT_TRUE(host_.add("a", first_.take()));
        EXPECT_TRUE(host_.add("b", second_.take()));
    }

    TinyEngine first_{{.seed = 1}}; // their images outlive the host
    TinyEngine second_{{.seed = 2}};
    EngineHost host_;
    Collector out_;
};

TEST_F(HostTest, EnginesTakeTurns) {
    ASSERT_TRUE(host_.submit("a", RequestId{1}, ask(20), 1 << 20));
    ASSERT_TRUE(host_.submit("b", RequestId{2}, ask(20), 1 << 20));
    for (int i = 0; i < 10; ++i)
        EXPECT_TRUE(host_.step(out_, 0));
    EXPECT_EQ(out_[1].text.at(0).size(), 5u);
    EXPECT_EQ(out_[2].text.at(0).size(), 5u);
    while (host_.step(out_, 0)) {
    }
    EXPECT_TRUE(out_[1].over);
    EXPECT_TRUE(out_[2].over);
    EXPECT_NE(out_[1].text, out_[2].text) << "two models";
    EXPECT_TRUE(host_.submit("b", RequestId{1}, ask(1), 1 << 20)) << "ids are free again";
}

TEST_F(HostTest, UnknownAndRepeatedNames) {
    EXPECT_EQ(host_.submit("c", RequestId{1}, ask(1), 0).error().code(), Code::not_found);
    EXPECT_EQ(
        host_.add("a", nullptr == host_.find("b") ? nullptr : TinyEngine({}).take()).error().code(),
        Code::already_exists);
    ASSERT_TRUE(host_.submit("a", RequestId{1}, ask(1), 0));
    EXPECT_EQ(host_.submit("b", RequestId{1}, ask(1), 0).error().code(), Code::id_reused);
}

TEST_F(HostTest, DrainingFinishesWhatRuns) {
    ASSERT_TRUE(host_.submit("a", RequestId{1}, ask(6), 1 << 20));
    ASSERT_TRUE(host_.step(out_, 0));
    ASSERT_TRUE(host_.unload("a", EngineHost::Unload::drain));
    EXPECT_EQ(host_.find("a"), nullptr);
    EXPECT_EQ(host_.submit("a", RequestId{2}, ask(1), 0).error().code(), Code::unavailable);
    EXPECT_TRUE(host_.loaded("a"));
    while (host_.step(out_, 0)) {
    }
    EXPECT_EQ(out_[1].finish.at(0), gen::Finish::length);
    EXPECT_FALSE(host_.loaded("a"));
    EXPECT_EQ(host_.ids(), std::vector<std::string>{"b"});
}

TEST_F(HostTest, CancellingUnloadAnswersEveryone) {
    ASSERT_TRUE(host_.submit("a", RequestId{1}, ask(100), 1 << 20));
    ASSERT_TRUE(host_.submit("b", RequestId{2}, ask(3), 1 << 20));
    host_.step(out_, 0);
    ASSERT_TRUE(host_.unload("a", EngineHost::Unload::cancel));
    while (host_.step(out_, 0)) {
    }
    EXPECT_EQ(out_[1].failure, gen::Failure::cancelled);
    EXPECT_EQ(out_[2].finish.at(0), gen::Finish::length);
    EXPECT_FALSE(host_.loaded("a"));
}

TEST_F(HostTest, PausedRequestsStillMeetTheirDeadline) {
    gen::Generation g = letters("hello", 50);
    g.deadline_ms = 1000;
    ASSERT_TRUE(host_.submit("a", RequestId{1}, std::make_shared<const gen::Generation>(g), 3));
    while (host_.step(out_, 0)) {
    }
    EXPECT_FALSE(out_[1].over);
    host_.step(out_, 1000);
    EXPECT_EQ(out_[1].failure, gen::Failure::timeout);
}

TEST_F(HostTest, SnapshotsNameEveryModel) {
    const auto before = host_.capacity();
    ASSERT_EQ(before.models.size(), 2u);
    EXPECT_EQ(before.models[0].model, "a");
    EXPECT_EQ(before.models[0].engine.free_slots, 16);
    ASSERT_TRUE(host_.submit("a", RequestId{1}, ask(5), 1 << 20));
    host_.step(out_, 0);
    const auto after = host_.capacity();
    EXPECT_GT(after.sequence, before.sequence);
    EXPECT_EQ(after.models[0].engine.free_slots, 15);
}

} // namespace
} // namespace bloom::engine
