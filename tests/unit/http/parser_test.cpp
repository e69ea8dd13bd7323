#include <gtest/gtest.h>

#include "http/parser.hpp"
#include "support/http_model.hpp"

namespace bloom::http {
namespace {

Progress parse(HeadParser& parser, std::string_view bytes) {
    return parser.feed(as_bytes(bytes)).progress;
}

Status refusal(std::string_view bytes, const Limits& limits = {}) {
    HeadParser parser(limits);
    EXPECT_EQ(parse(parser, bytes), Progress::rejected) << bytes;
    return parser.rejection().status;
}

TEST(HeadParser, GivesViewsIntoTheInputWhenItComesWhole) {
    const std::string in = "POST /v1/x?a=b HTTP/1.1\r\nHost: h:80\r\nX-Y:  v w "
                           "\r\nX-Y:\r\nContent-Length: 3\r\n\r\nabc";
    const Limits limits;
    HeadParser parser(limits);
    const FeedResult fed = parser.feed(as_bytes(in));
    ASSERT_EQ(fed.progress, Progress::complete);
    EXPECT_EQ(fed.consumed, in.size() - 3);
    const RequestHead& head = parser.head();
    EXPECT_EQ(head.method, Method::post);
    EXPECT_EQ(head.version, Version::http_1_1);
    EXPECT_EQ(head.target, "/v1/x?a=b");
    EXPECT_EQ(head.path, "/v1/x");
    EXPECT_EQ(head.query, "a=b");
    EXPECT_EQ(head.host, "h:80");
    EXPECT_EQ(head.body, BodyKind::length);
    EXPECT_EQ(head.content_length, 3u);
    EXPECT_TRUE(head.keep_alive);
    ASSERT_EQ(head.headers.size(), 4u);
    EXPECT_EQ(head.headers.find("x-y"), "v w");
    EXPECT_EQ(head.headers[2].value, "");
    EXPECT_EQ(head.headers.count("X-Y"), 2u);
    EXPECT_EQ(head.headers.find("absent"), std::nullopt);
    EXPECT_GE(head.target.data(), in.data());
    EXPECT_LT(head.target.data(), in.data() + in.size());
}

TEST(HeadParser, KeepsAHeadThatStraddles) {
    const Limits limits;
    HeadParser parser(limits);
    {
        std::string first = "\r\nGET /one HTTP/1.1\r\nHo";
        EXPECT_EQ(parse(parser, first), Progress::need_more);
        first.assign(first.size(), '!'); // the buffer goes back to the kernel
    }
    EXPECT_TRUE(parser.started());
    ASSERT_EQ(parse(parser, "st: a\r\n\r\nGET /two"), Progress::complete);
    EXPECT_EQ(parser.head().path, "/one");
    EXPECT_EQ(parser.head().host, "a");
    parser.reset();
    EXPECT_FALSE(parser.started());
    ASSERT_EQ(parse(parser, "GET /two HTTP/1.0\r\n\r\n"), Progress::complete);
    EXPECT_FALSE(parser.head().keep_alive);
}

TEST(HeadParser, ConnectionTokens) {
    const Limits limits;
    HeadParser parser(limits);
    ASSERT_EQ(parse(parser, "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo , Close\r\n\r\n"),
              Progress::complete);
    EXPECT_FALSE(parser.head().keep_alive);
    parser.reset();
    ASSERT_EQ(parse(parser, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
              Progress::complete);
    EXPECT_TRUE(parser.head().keep_alive);
    parser.reset();
    ASSERT_EQ(parse(parser, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
                            "keep-alive, Upgrade\r\n\r\n"),
              Progress::complete);
    EXPECT_TRUE(parser.head().upgrade);
    EXPECT_FALSE(parser.head().keep_alive);
    EXPECT_TRUE(parser.head().headers.has_token("connection", "upgrade"));
    EXPECT_FALSE(parser.head().headers.has_token("connection", "up"));
}

TEST(HeadParser, AbsoluteTargets) {
    const Limits limits;
    HeadParser parser(limits);
    ASSERT_EQ(parse(parser, "GET http://[::1]:80?x HTTP/1.1\r\nHost: a\r\n\r\n"),
              Progress::complete);
    EXPECT_EQ(parser.head().path, "/");
    EXPECT_EQ(parser.head().query, "x");
    EXPECT_EQ(parser.head().host, "[::1]:80");
    EXPECT_EQ(refusal("GET http://u@h/ HTTP/1.1\r\nHost: a\r\n\r\n"), Status::bad_request);
    EXPECT_EQ(refusal("GET ftp://h/ HTTP/1.1\r\nHost: a\r\n\r\n"), Status::bad_request);
    EXPECT_EQ(refusal("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), Status::bad_request);
}

TEST(HeadParser, Statuses) {
    EXPECT_EQ(refusal("BREW /pot HTTP/1.1\r\n"), Status::not_implemented);
    EXPECT_EQ(refusal("CONNECT a:1 HTTP/1.1\r\n"), Status::not_implemented);
    EXPECT_EQ(refusal("ABCDEFGHIJKLMNOPQRSTUVW"), Status::not_implemented);
    EXPECT_EQ(refusal("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Status::http_version_not_supported);
    EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
              Status::not_implemented);
    EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n"),
              Status::payload_too_large);
    EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"),
              Status::expectation_failed);
    EXPECT_EQ(refusal("\r\n\r\n\r\nGET"), Status::bad_request);
}

TEST(HeadParser, LimitsBiteExactly) {
    Limits limits;
    limits.target_bytes = 10;
    limits.head_bytes = 64;
    limits.n_headers = 2;
    HeadParser parser(limits);
    EXPECT_EQ(parse(parser, "GET /23456789a HTTP/1.1\r\nHost: a\r\n\r\n"), Progress::rejected);
    EXPECT_EQ(parser.rejection().status, Status::uri_too_long);
    parser.reset();
    EXPECT_EQ(parse(parser, "GET /23456789 HTTP/1.1\r\nHost: a\r\n\r\n"), Progress::complete);
    parser.reset();
    EXPECT_EQ(parse(parser, "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nB: c\r\n\r\n"),
              Progress::rejected);
    EXPECT_EQ(parser.rejection().status, Status::header_fields_too_large);
    const std::string fill = "GET / HTTP/1.1\r\nHost: ";
    parser.reset();
    EXPECT_EQ(parse(parser, fill + std::string(64 - fill.size() - 4, 'a') + "\r\n\r\n"),
              Progress::complete);
    parser.reset();
    EXPECT_EQ(parse(parser, fill + std::string(65 - fill.size() - 4, 'a') + "\r\n\r\n"),
              Progress::rejected);
    EXPECT_EQ(parser.rejection().status, Status::header_fields_too_large);
}

TEST(Authority, Forms) {
    for (const char* good : {"a", "a.b:80", "[::1]", "[::ffff:1.2.3.4]:1", "a:", "1.2.3.4:65535"}) {
        EXPECT_TRUE(is_valid_authority(good)) << good;
    }
    for (const char* bad : {"", ":80", "a b", "a/b", "u@h", "a:b", "a:123456", "[::1", "[]", "a[b]",
                            "[fe80::1%25eth0]", "[::1]x", "a\x80"}) {
        EXPECT_FALSE(is_valid_authority(bad)) << bad;
    }
}

struct BodyRun {
    Progress progress = Progress::need_more;
    std::string data;
    std::size_t consumed = 0;
    int status = 0;
};

BodyRun run_body(BodyDecoder& decoder, std::string_view bytes) {
    BodyRun run;
    while (run.consumed < bytes.size() && run.progress == Progress::need_more) {
        const BodyDecoder::Step step = decoder.next(as_bytes(bytes.substr(run.consumed)));
        run.progress = step.progress;
        run.data += as_text(step.data);
        run.consumed += step.consumed;
    }
    if (run.progress == Progress::rejected) run.status = to_int(decoder.rejection().status);
    return run;
}

BodyRun run_chunked(std::string_view bytes, std::uint64_t bytes_max = 1000,
                    const Limits& limits = {}) {
    BodyDecoder decoder;
    decoder.start(BodyKind::chunked, 0, bytes_max, limits);
    return run_body(decoder, bytes);
}

TEST(BodyDecoder, Length) {
    const Limits limits;
    BodyDecoder decoder;
    decoder.start(BodyKind::length, 5, 5, limits);
    const BodyRun run = run_body(decoder, "helloGET");
    EXPECT_EQ(run.progress, Progress::complete);
    EXPECT_EQ(run.data, "hello");
    EXPECT_EQ(run.consumed, 5u);
    decoder.start(BodyKind::length, 6, 5, limits);
    EXPECT_TRUE(decoder.failed());
    EXPECT_EQ(decoder.rejection().status, Status::payload_too_large);
}

TEST(BodyDecoder, Chunked) {
    const BodyRun run =
        run_chunked("5\r\nhello\r\n1;a; b = c;d=\"x\\\"y\"\r\n!\r\n00\r\nT: v\r\n\r\nGET");
    EXPECT_EQ(run.progress, Progress::complete);
    EXPECT_EQ(run.data, "hello!");
    EXPECT_EQ(
        run.consumed,
        run_chunked("5\r\nhello\r\n1;a; b = c;d=\"x\\\"y\"\r\n!\r\n00\r\nT: v\r\n\r\n").consumed);
}

TEST(BodyDecoder, RefusesBrokenChunks) {
    for (const char* bad :
         {"x\r\n", "\r\n", "1 \r\n", "1\n", "1\r\nab", "1\r\na\n", "00000000000000001", "1;\r\n",
          "1;a=\r\n", "1;a=b\"\r\n", "1;a=\"b\r\n", "0\r\n T: v\r\n", "0\r\nT : v\r\n",
          "0\r\nT: \x01", "0\r\n\n", "0\r\n\rX"}) {
        EXPECT_EQ(run_chunked(bad).status, 400) << bad;
    }
}

TEST(BodyDecoder, Bounds) {
    EXPECT_EQ(run_chunked("4\r\nabcd\r\n0\r\n\r\n", 4).progress, Progress::complete);
    EXPECT_EQ(run_chunked("4\r\nabcd\r\n1\r\n", 4).status, 413);
    EXPECT_EQ(run_chunked("ffffffffffffffff\r\n", 4).status, 413);
    Limits limits;
    limits.chunk_extension_bytes = 4;
    limits.n_trailers = 1;
    limits.trailer_bytes = 12;
    EXPECT_EQ(run_chunked("1;abc\r\n", 4, limits).status, 0);
    EXPECT_EQ(run_chunked("1;abcd\r\n", 4, limits).status, 400);
    EXPECT_EQ(run_chunked("0\r\na:b\r\na:b\r\n", 4, limits).status, 400);
    EXPECT_EQ(run_chunked("0\r\na:bbbbbbbbbbbbb", 4, limits).status, 400);
    BodyDecoder decoder;
    decoder.start(BodyKind::length, 10, 100, limits);
    decoder.set_bytes_max(9);
    EXPECT_TRUE(decoder.failed());
}

} // namespace
} // namespace bloom::http
