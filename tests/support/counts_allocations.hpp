#pragma once

/// Whether a test may replace operator new to count what is allocated: sanitizers bring allocation
/// functions of their own.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define BLOOM_TEST_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef BLOOM_TEST_COUNTS_ALLOCATIONS
#define BLOOM_TEST_COUNTS_ALLOCATIONS 1
#endif
