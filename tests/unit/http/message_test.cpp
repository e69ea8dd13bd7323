#include <gtest/gtest.h>

#include <bloom/base/arena.hpp>
#include <bloom/http/request.hpp>
#include <bloom/http/response.hpp>

#include "http/serialize.hpp"

namespace bloom::http {
namespace {

TEST(Date, Fixdate) {
    const auto text = [](std::int64_t s) {
        const HttpDate d = format_date(s);
        return std::string(d.data(), d.size());
    };
    EXPECT_EQ(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    EXPECT_EQ(text(784111777), "Sun, 06 Nov 1994 08:49:37 GMT"); // RFC 9110 5.6.7
    EXPECT_EQ(text(951782399), "Mon, 28 Feb 2000 23:59:59 GMT");
    EXPECT_EQ(text(951782400), "Tue, 29 Feb 2000 00:00:00 GMT");
    DateCache cache;
    EXPECT_EQ(cache.at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    EXPECT_EQ(cache.at(1), "Thu, 01 Jan 1970 00:00:01 GMT");
}

TEST(HeaderList, AddSetRemove) {
    HeaderList list;
    EXPECT_TRUE(list.add("A", "1"));
    EXPECT_TRUE(list.add("Ab", "2"));
    EXPECT_TRUE(list.add("a", "3"));
    EXPECT_TRUE(list.has("AB"));
    EXPECT_FALSE(list.has("B"));
    EXPECT_TRUE(list.set("a", "4"));
    EXPECT_EQ(list.lines(), "Ab: 2\r\na: 4\r\n");
    list.remove("ab");
    EXPECT_EQ(list.lines(), "a: 4\r\n");
}

TEST(HeaderList, NothingThatBreaksTheFraming) {
    HeaderList list;
    EXPECT_FALSE(list.add("A", "x\r\nB: y"));
    EXPECT_FALSE(list.add("A", std::string_view("x\0y", 3)));
    EXPECT_FALSE(list.add("A b", "x"));
    EXPECT_FALSE(list.add("", "x"));
    EXPECT_TRUE(list.empty());
}

TEST(ResponseHead, Framings) {
    HeaderList fields;
    fields.add("X", "y");
    std::string out;
    append_head(out, {.status = Status::ok, .content_length = 12, .date = "D"}, fields);
    EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 12\r\nX: y\r\n\r\n");
    out.clear();
    append_head(out,
                {.status = Status::overloaded,
                 .framing = ResponseFraming::chunked,
                 .close = true,
                 .date = "D"},
                fields);
    EXPECT_EQ(out, "HTTP/1.1 529 Overloaded\r\nDate: D\r\nTransfer-Encoding: "
                   "chunked\r\nConnection: close\r\nX: y\r\n\r\n");
    out.clear();
    append_head(
        out,
        {.status = Status::no_content, .framing = ResponseFraming::none, .say_keep_alive = true},
        {});
    EXPECT_EQ(out, "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n");
    out.clear();
    append_chunk_size(out, 255);
    EXPECT_EQ(out, "ff\r\n");
}

TEST(PercentDecode, GoodAndBad) {
    EXPECT_EQ(percent_decode("a%2Fb%20c+d").value(), "a/b c+d");
    EXPECT_EQ(percent_decode("%c3%a9").value(), "\xc3\xa9");
    for (const char* bad : {"%", "%2", "%zz", "%00", "a%00b", "%ff%fe", "%c0%ae"}) {
        EXPECT_FALSE(percent_decode(bad).has_value()) << bad;
    }
}

TEST(Query, Values) {
    EXPECT_EQ(query_value("a=1&b=2&a=3", "a"), "1");
    EXPECT_EQ(query_value("a=1&b", "b"), "");
    EXPECT_EQ(query_value("ab=1", "a"), std::nullopt);
    EXPECT_EQ(query_value("", "a"), std::nullopt);
}

TEST(Arena, ReusesItsBlock) {
    Arena arena;
    const std::string_view a = arena.copy("hello");
    EXPECT_EQ(a, "hello");
    const std::span<double> d = arena.make_span<double>(3);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(d.data()) % alignof(double), 0u);
    arena.allocate(10'000);
    EXPECT_GE(arena.capacity(), 10'000u + Arena::kBlockBytesMin);
    arena.reset();
    const std::size_t kept = arena.capacity();
    void* first = arena.allocate(100);
    arena.reset();
    EXPECT_EQ(arena.allocate(100), first);
    EXPECT_EQ(arena.capacity(), kept);
    arena.reset(16);
    EXPECT_EQ(arena.capacity(), 0u);
}

} // namespace
} // namespace bloom::http
