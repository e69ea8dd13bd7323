#include <gtest/gtest.h>

#include <bloom/sse/reader.hpp>
#include <bloom/sse/writer.hpp>

#include "support/http_served.hpp"

namespace bloom::test {
namespace {

TEST(SseFormat, Events) {
    std::string out;
    sse::append_event(out, "{}");
    sse::append_event(out, "a\nb", "ping");
    sse::append_event(out, "");
    sse::append_comment(out, "keep-alive");
    EXPECT_EQ(out, "data: {}\n\nevent: ping\ndata: a\ndata: b\n\ndata: \n\n: keep-alive\n\n");
    sse::Reader reader;
    ASSERT_TRUE(reader.feed(out));
    sse::Event e;
    ASSERT_TRUE(reader.next(e));
    EXPECT_EQ(e.data, "{}");
    ASSERT_TRUE(reader.next(e));
    EXPECT_EQ(e.type, "ping");
    EXPECT_EQ(e.data, "a\nb");
}

rt::Task<Result<>> count_to_five(http::Exchange& ex) {
    ex.headers().add("X-Extra", "1");
    sse::Writer out(ex);
    BLOOM_CO_OK(co_await out.begin(http::Status::ok));
    std::string event;
    for (int i = 0; i < 5; ++i) {
        event.clear();
        sse::append_event(event, std::to_string(i));
        BLOOM_CO_OK(co_await out.send(event));
        if (i == 2) BLOOM_CO_OK(co_await out.comment("keep-alive"));
    }
    co_return co_await out.finish("[DONE]");
}

BLOOM_CO_TEST_BOTH(SseWriter, a_stream_through_server_and_client) {
    Served served;
    served.site.router.add(http::Method::get, "/count", count_to_five);
    http::Client client;
    auto response = co_await client.request({.url = served.url("/count")});
    CO_ASSERT_OK(response);
    EXPECT_EQ(response->headers().find("content-type"), "text/event-stream; charset=utf-8");
    EXPECT_EQ(response->headers().find("cache-control"), "no-cache");
    EXPECT_EQ(response->headers().find("x-accel-buffering"), "no");
    EXPECT_EQ(response->headers().find("connection"), "keep-alive");
    EXPECT_EQ(response->headers().find("x-extra"), "1");
    sse::Reader reader;
    std::string seen;
    for (;;) {
        const auto piece = co_await response->read();
        CO_ASSERT_OK(piece);
        if (piece->empty()) break;
        CO_ASSERT_OK(reader.feed(*piece));
        for (sse::Event e; reader.next(e);)
            seen += e.data + ",";
    }
    EXPECT_EQ(seen, "0,1,2,3,4,[DONE],");
    EXPECT_EQ(reader.last_comment(), " keep-alive");
    co_await response->close();
    EXPECT_EQ(client.n_idle(), 1u);
    co_await client.close();
    co_await served.stop();
}

} // namespace
} // namespace bloom::test
