#include <gtest/gtest.h>

#include <bloom/api/error_map.hpp>

namespace bloom::api {
namespace {

TEST(ErrorMap, EveryCodeHasAStatusAndInnardsStayInside) {
    for (int i = 0; i <= static_cast<int>(Code::internal); ++i) {
        const ApiError e = to_api_error(Error{static_cast<Code>(i), "detail"});
        EXPECT_GE(http::to_int(e.status), 400) << i;
        EXPECT_FALSE(e.message.empty());
        if (http::to_int(e.status) == 500) {
            EXPECT_EQ(e.message.find("detail"), std::string::npos) << i;
        }
    }
    EXPECT_EQ(to_api_error(Error{Code::unauthenticated}).code, "invalid_api_key");
    EXPECT_EQ(to_api_error(Error{Code::too_large}).status, http::Status::payload_too_large);
    EXPECT_GT(to_api_error(Error{Code::busy}).retry_after_s, 0);
}

TEST(ErrorMap, RequestErrorsKeepParamAndCode) {
    const ApiError e = to_api_error(dialect::RequestError{"m", "top_p", "invalid_type"});
    EXPECT_EQ(
        e.openai_body(),
        R"({"error":{"message":"m","type":"invalid_request_error","param":"top_p","code":"invalid_type"}})");
}

TEST(ErrorMap, ThreadsAreNotFoundInTheWordsThatClientsActOn) {
    const ApiError e =
        to_api_error(dialect::RequestError{"m", "thread.previous_message_id", "thread_not_found"});
    EXPECT_EQ(e.status, http::Status::not_found);
    EXPECT_EQ(
        e.anthropic_body("r"),
        R"({"type":"error","error":{"type":"not_found_error","message":"m","details":{"error_code":"thread_not_found"}},"request_id":"r"})");
}

TEST(ErrorMap, UnknownModelsAreQuotedAndNamed) {
    const ApiError e = to_api_error(
        scheduler::NoPlace{scheduler::NoPlace::Reason::unknown_model, {"a/b"}}, "x\ny");
    EXPECT_EQ(e.status, http::Status::not_found);
    EXPECT_EQ(e.param, "model");
    EXPECT_NE(e.message.find("\\x0a"), std::string::npos);
    EXPECT_NE(e.message.find("a/b"), std::string::npos);
}

TEST(ErrorMap, RefusalsAndFailures) {
    gen::Event e;
    e.kind = gen::EventKind::refused;
    e.refusal = gen::Refusal::busy;
    e.feasible_after_ms = 4100;
    EXPECT_EQ(to_api_error(e).retry_after_s, 5);
    EXPECT_EQ(to_api_error(e).status, http::Status::service_unavailable);
    e.feasible_after_ms = 1'000'000;
    EXPECT_EQ(to_api_error(e).retry_after_s, 60);
    e.kind = gen::EventKind::failed;
    e.failure = gen::Failure::context_length;
    e.text = "too long";
    EXPECT_EQ(to_api_error(e).code, "context_length_exceeded");
    EXPECT_EQ(to_api_error(e).message, "too long");
    EXPECT_NE(
        to_api_error(e).anthropic_body("r").find(R"("message":"prompt is too long: too long")"),
        std::string::npos)
        << "the words that clients act on";
    e.failure = gen::Failure::provider;
    e.text = "stack trace";
    EXPECT_EQ(to_api_error(e).message.find("stack"), std::string::npos);
}

} // namespace
} // namespace bloom::api
