// A token of a response takes no memory once the buffers have their size; the text that is kept for
// the end of the stream doubles its own now and then.
#include <gtest/gtest.h>

#include <bloom/dialect/dialect.hpp>

#include "unit/dialect/allocation_counter.hpp"

#if BLOOM_TEST_COUNTS_ALLOCATIONS
namespace bloom::dialect {
namespace {

/// Allocations of 1000 further events of a kind.
std::int64_t of_1000(Encoder& encoder, gen::EventKind kind, std::string& out) {
    gen::Event event;
    event.kind = kind;
    event.text = "word ";
    encoder.append(event, out);
    encoder.append(event, out);
    const std::int64_t before = test::n_allocations();
    for (int i = 0; i < 1000; ++i) {
        out.clear();
        encoder.append(event, out);
    }
    return test::n_allocations() - before;
}

TEST(ResponsesAllocation, NoneForATokenOfAStream) {
    gen::RenderSpec spec;
    spec.dialect = gen::Dialect::openai_responses;
    spec.response_id = "resp_0123456789abcdef";
    spec.stream = true;
    spec.reasoning_summary = true;
    const auto encoder = make_encoder(spec);
    std::string out;
    constexpr std::int64_t kDoublings = 1; // 4 KiB hold 5000 bytes only once they are 8
    EXPECT_LE(of_1000(*encoder, gen::EventKind::reasoning_delta, out), kDoublings);
    EXPECT_LE(of_1000(*encoder, gen::EventKind::text_delta, out), kDoublings);
    gen::Event call;
    call.kind = gen::EventKind::tool_begin;
    call.text = "f";
    encoder->append(call, out);
    EXPECT_LE(of_1000(*encoder, gen::EventKind::tool_args, out), kDoublings);
}

} // namespace
} // namespace bloom::dialect
#endif
