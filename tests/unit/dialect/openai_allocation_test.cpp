// A token that leaves through a stream of chat or of completions takes no memory once the buffer
// has its size.
#include <gtest/gtest.h>

#include <bloom/dialect/dialect.hpp>

#include "unit/dialect/allocation_counter.hpp"

#if BLOOM_TEST_COUNTS_ALLOCATIONS
namespace bloom::dialect {
namespace {

gen::Event event(gen::EventKind kind, std::string text, std::int32_t choice) {
    gen::Event e;
    e.kind = kind;
    e.text = std::move(text);
    e.choice = choice;
    return e;
}

/// Everything that a token can become, for two choices.
std::vector<gen::Event> tokens() {
    std::vector<gen::Event> out;
    for (const std::int32_t choice : {0, 1}) {
        out.push_back(event(gen::EventKind::reasoning_delta, "thinking of \"it\"", choice));
        out.push_back(
            event(gen::EventKind::text_delta, "a longer piece of text, \xc3\xa9\n", choice));
        out.back().logprobs = {{1, -0.5F, "a lon", {{1, -0.5F, "a lon", {}}, {2, -1, "b", {}}}},
                               {3, -0.5F, "\xc3", {{4, -0.5F, "\xe2\x80", {}}}}};
        out.push_back(
            event(gen::EventKind::tool_args, R"({"a":"a value that is quoted"})", choice));
    }
    return out;
}

class Allocations : public testing::TestWithParam<gen::Dialect> {};

TEST_P(Allocations, NoneForATokenOfAStream) {
    gen::RenderSpec spec;
    spec.dialect = GetParam();
    spec.response_id = "id-of-a-response-that-is-not-short";
    spec.model = "a-model-with-a-name-of-some-length";
    spec.fingerprint = "fp_0123456789ab";
    spec.stream = true;
    spec.logprobs = true;
    const auto encoder = make_encoder(spec);
    const std::vector<gen::Event> batch = tokens();
    std::string out;
    out.reserve(16384);           // numbers in it grow
    for (int i = 0; i < 2; ++i) { // the first round sends preambles, too
        out.clear();
        for (const gen::Event& e : batch)
            encoder->append(e, out);
    }
    const std::size_t n_bytes = out.size();
    const std::int64_t before = test::n_allocations();
    for (int i = 0; i < 100; ++i) {
        out.clear();
        for (const gen::Event& e : batch)
            encoder->append(e, out);
    }
    EXPECT_EQ(test::n_allocations(), before);
    EXPECT_GE(out.size(), n_bytes);
    EXPECT_GT(n_bytes, 500U);
}

INSTANTIATE_TEST_SUITE_P(Streams, Allocations,
                         testing::Values(gen::Dialect::openai_chat,
                                         gen::Dialect::openai_completions));

} // namespace
} // namespace bloom::dialect
#endif
