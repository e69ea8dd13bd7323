// The conformance cases over real sockets, all at once, against routes that answer on the head
// alone and against one that reads the body.
#include <gtest/gtest.h>

#include "support/http_cases.hpp"
#include "support/http_served.hpp"

namespace bloom::test {
namespace {

struct Outcome {
    HttpCase c;
    RawReply reply;
};

std::vector<http::Method> methods_of(const std::string& bytes) {
    std::vector<http::Method> out;
    if (bytes.starts_with("HEAD")) out.push_back(http::Method::head);
    out.push_back(http::Method::get);
    return out;
}

rt::Task<void> run_case(net::Address server, HttpCase c, std::vector<std::size_t> cuts,
                        std::vector<Outcome>* out) {
    Result<RawReply> reply =
        co_await talk_raw(server, c.bytes, std::move(cuts), methods_of(c.bytes));
    EXPECT_TRUE(reply.has_value()) << c.id << ": " << reply.error().message();
    if (reply) out->push_back({std::move(c), std::move(*reply)});
}

void expect_verdict(const Outcome& o) {
    const auto& r = o.reply.responses;
    EXPECT_LE(r.size(), o.c.responses_max) << o.c.id << ": " << o.c.note;
    EXPECT_EQ(o.reply.left, "") << o.c.id;
    if (o.c.verdict == "accept") {
        ASSERT_EQ(r.size(), o.c.responses_max) << o.c.id << ": " << o.c.note;
        for (const RawResponse& one : r) {
            EXPECT_TRUE(one.whole) << o.c.id;
            EXPECT_TRUE(one.status < 400 || one.status == 401) << o.c.id << " " << one.status;
        }
    } else if (o.c.verdict == "reject") {
        ASSERT_LE(r.size(), 1u) << o.c.id;
        if (r.empty()) return;
        EXPECT_TRUE(r[0].close) << o.c.id << ": " << o.c.note;
        EXPECT_TRUE(r[0].status >= 400 && r[0].status != 401 && r[0].status != 404)
            << o.c.id << " " << r[0].status;
    }
}

enum class Cutting { whole, halves };

rt::Task<void> run_all(Cutting cutting) {
    http::Limits limits;
    limits.idle_timeout = std::chrono::milliseconds(400); // how a case without an end is ended
    limits.header_timeout = std::chrono::milliseconds(400);
    limits.drain_timeout = std::chrono::milliseconds(400);
    limits.linger_timeout = std::chrono::milliseconds(100);
    Served served(limits);
    rt::Scope clients;
    std::vector<Outcome> outcomes;
    for (HttpCase& c : load_http_cases()) {
        std::vector<std::size_t> cuts;
        if (cutting == Cutting::halves) cuts = {c.bytes.size() / 3, c.bytes.size() / 2};
        clients.spawn(run_case(served.address(), std::move(c), std::move(cuts), &outcomes));
    }
    co_await clients.join();
    EXPECT_EQ(outcomes.size(), 171u);
    for (const Outcome& o : outcomes)
        expect_verdict(o);
    for (const std::string& path : served.site.paths) {
        EXPECT_EQ(path.find("smuggled"), std::string::npos) << path;
    }
    co_await served.stop();
}

BLOOM_CORO_WRAPPER rt::Task<void> run_whole(rt::Shard&) {
    return run_all(Cutting::whole);
}

BLOOM_CORO_WRAPPER rt::Task<void> run_halves(rt::Shard&) {
    return run_all(Cutting::halves);
}

TEST(HttpCasesOnSockets, Whole) {
    BLOOM_REQUIRE_DATA("http1-requests");
    run_on_ring(&run_whole);
}

TEST(HttpCasesOnSockets, CutInThree) {
    BLOOM_REQUIRE_DATA("http1-requests");
    run_on_ring(&run_halves);
}

} // namespace
} // namespace bloom::test
