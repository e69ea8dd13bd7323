#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace bloom::http {

/// Spare zero bytes behind every body that read_body() returns: the padding simdjson 3.0.1 wants.
inline constexpr std::size_t kBodyPadding = 64;
/// Longest known method is OPTIONS; a longer token is unknown whatever follows.
inline constexpr std::size_t kMethodBytesMax = 16;
/// Empty lines tolerated before a request line (RFC 9112 2.2); old clients send one after a POST.
inline constexpr std::uint32_t kLeadingEmptyLinesMax = 2;
/// A chunk size has at most 16 significant hex digits; leading zeros are legal, but not without
/// end.
inline constexpr std::uint32_t kChunkSizeDigitsMax = 16;

/// Bounds and times of one HTTP server or client. Everything is per connection unless said
/// otherwise.
struct Limits {
    // Request head; beyond: 431, the target alone 414.
    std::uint32_t head_bytes = 64 * 1024;
    std::uint32_t target_bytes = 8 * 1024;
    std::uint32_t n_headers = 100;

    // Bodies; beyond: 413, broken chunk framing 400.
    std::uint64_t body_bytes = 64ULL * 1024 * 1024; ///< ceiling over every route
    std::uint32_t chunk_extension_bytes = 4 * 1024; ///< all extensions of one body together
    std::uint32_t trailer_bytes = 8 * 1024;         ///< trailer section of one body
    std::uint32_t n_trailers = 32;
    std::uint32_t drain_bytes =
        256 * 1024; ///< unread body read and thrown away to keep a connection

    // Buffers.
    std::uint32_t pipeline_bytes = 64 * 1024; ///< received ahead while a handler runs
    std::uint32_t cork_bytes = 16 * 1024;     ///< head and body leave in one send up to here
    std::uint32_t arena_bytes = 1024 * 1024;  ///< per-request arena kept between requests at most

    // Counts.
    std::uint32_t n_connections = 16 * 1024; ///< per shard; beyond: closed at accept
    std::uint32_t n_requests = 1'000'000;    ///< per connection, then Connection: close

    // Times.
    std::chrono::milliseconds header_timeout{10'000}; ///< first byte of a head to its end
    std::chrono::milliseconds idle_timeout{75'000};   ///< between requests on a kept connection
    std::chrono::milliseconds body_timeout{
        30'000}; ///< without any byte of a body that is being read
    std::chrono::milliseconds drain_timeout{2'000};  ///< for throwing away an unread body
    std::chrono::milliseconds stall_timeout{60'000}; ///< a reader that takes nothing counts as gone
    std::chrono::milliseconds tls_timeout{10'000};   ///< handshake
    std::chrono::milliseconds connect_timeout{10'000}; ///< client side
    std::chrono::milliseconds linger_timeout{
        1'000}; ///< after a last response, for the peer to read it
};

static_assert(Limits{}.target_bytes < Limits{}.head_bytes);
static_assert(Limits{}.drain_bytes <= Limits{}.body_bytes);

} // namespace bloom::http
