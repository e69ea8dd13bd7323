#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "support/http_cases.hpp"
#include "support/http_model.hpp"

namespace bloom::test {
namespace {

bool is_refusal(int status) {
    constexpr int kAllowed[] = {400, 411, 413, 414, 415, 417, 431, 501, 505};
    return std::ranges::find(kAllowed, status) != std::end(kAllowed);
}

void expect_verdict(const HttpCase& c, const ModelResult& r) {
    for (const std::string& request : r.requests) {
        EXPECT_EQ(request.find("smuggled"), std::string::npos) << c.id << ": " << request;
    }
    EXPECT_LE(r.statuses.size(), c.responses_max) << c.id << ": " << c.note;
    if (c.verdict == "accept") {
        EXPECT_EQ(r.statuses.size(), c.responses_max) << c.id << ": " << c.note;
        for (const int status : r.statuses)
            EXPECT_FALSE(is_refusal(status)) << c.id << " " << status;
        EXPECT_FALSE(r.in_message) << c.id;
    }
    if (c.verdict == "reject") {
        EXPECT_TRUE(r.closed) << c.id << ": " << c.note;
        ASSERT_EQ(r.statuses.size(), 1u) << c.id << ": " << c.note;
        EXPECT_TRUE(is_refusal(r.statuses[0])) << c.id << " " << r.statuses[0];
    }
}

TEST(HttpCases, CountsAreWhatTheCorpusSays) {
    BLOOM_REQUIRE_DATA("http1-requests");
    const auto cases = load_http_cases();
    const auto n = [&](std::string_view verdict) {
        return std::ranges::count_if(cases,
                                     [&](const HttpCase& c) { return c.verdict == verdict; });
    };
    EXPECT_EQ(n("accept"), 17);
    EXPECT_EQ(n("reject"), 110);
    EXPECT_EQ(n("either"), 44);
}

TEST(HttpCases, VerdictsWhole) {
    BLOOM_REQUIRE_DATA("http1-requests");
    for (const HttpCase& c : load_http_cases())
        expect_verdict(c, run_model(c.bytes, {}));
}

TEST(HttpCases, CutsDoNotChangeAnything) {
    BLOOM_REQUIRE_DATA("http1-requests");
    constexpr std::size_t kEveryCutBytes = 1500; // larger ones are cut at a sample of places
    for (const HttpCase& c : load_http_cases()) {
        const ModelResult whole = run_model(c.bytes, {});
        std::vector<std::size_t> each(c.bytes.size());
        std::iota(each.begin(), each.end(), 0);
        EXPECT_EQ(run_model(c.bytes, each), whole) << c.id << " byte by byte";
        const std::size_t step = c.bytes.size() <= kEveryCutBytes ? 1 : c.bytes.size() / 97;
        for (std::size_t cut = 1; cut < c.bytes.size(); cut += step) {
            ASSERT_EQ(run_model(c.bytes, {cut}), whole) << c.id << " cut at " << cut;
        }
    }
}

TEST(HttpCases, StatusesNameTheFault) {
    BLOOM_REQUIRE_DATA("http1-requests");
    const std::map<std::string, int> want = {
        {"f28", 501}, {"f40", 400}, {"h01", 400}, {"h30", 431}, {"h31", 431}, {"h33", 417},
        {"h35", 415}, {"l11", 505}, {"l12", 505}, {"l26", 414}, {"l30", 501},
    };
    for (const HttpCase& c : load_http_cases()) {
        const auto it = want.find(c.id);
        if (it == want.end()) continue;
        const ModelResult r = run_model(c.bytes, {});
        ASSERT_FALSE(r.statuses.empty()) << c.id;
        EXPECT_EQ(r.statuses[0], it->second) << c.id << ": " << c.note;
    }
}

} // namespace
} // namespace bloom::test
