// Encoders take no memory for a token once their buffers have their size.
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include <bloom/dialect/encoder.hpp>

#include "support/counts_allocations.hpp"

#if BLOOM_TEST_COUNTS_ALLOCATIONS
namespace {
std::int64_t n_allocations = 0;
} // namespace

void* operator new(std::size_t size) {
    __atomic_fetch_add(&n_allocations, 1, __ATOMIC_RELAXED);
    if (void* p = std::malloc(size)) return p;
    throw std::bad_alloc();
}

void operator delete(void* p) noexcept {
    std::free(p);
}

void operator delete(void* p, std::size_t) noexcept {
    std::free(p);
}

namespace bloom::dialect {
namespace {

std::int64_t allocations() {
    return __atomic_load_n(&n_allocations, __ATOMIC_RELAXED);
}

/// Allocations of 1000 further events of a kind, the text that is kept for the end aside: it
/// doubles a few times.
std::int64_t of_1000(Encoder& encoder, gen::EventKind kind, std::string& out) {
    gen::Event event;
    event.kind = kind;
    event.text = "word ";
    encoder.append(event, out);
    encoder.append(event, out);
    const std::int64_t before = allocations();
    for (int i = 0; i < 1000; ++i) {
        out.clear();
        encoder.append(event, out);
    }
    return allocations() - before;
}

TEST(Allocation, OfTheResponsesEncoder) {
    gen::RenderSpec spec;
    spec.dialect = gen::Dialect::openai_responses;
    spec.response_id = "resp_0123456789abcdef";
    spec.stream = true;
    spec.reasoning_summary = true;
    const auto encoder = make_encoder(spec);
    std::string out;
    constexpr std::int64_t kDoublings = 2; // 4 KiB at first
    EXPECT_LE(of_1000(*encoder, gen::EventKind::reasoning_delta, out), kDoublings);
    EXPECT_LE(of_1000(*encoder, gen::EventKind::text_delta, out), kDoublings);
    gen::Event call;
    call.kind = gen::EventKind::tool_begin;
    call.text = "f";
    encoder->append(call, out);
    EXPECT_LE(of_1000(*encoder, gen::EventKind::tool_args, out), 12);
}

} // namespace
} // namespace bloom::dialect
#endif
