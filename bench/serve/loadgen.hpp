#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bloom::bench {

/// One run against one server over plain HTTP/1.1 with kept connections.
struct LoadOptions {
    std::string host = "127.0.0.1";
    std::uint16_t port = 0;
    std::string request; ///< the bytes of one request
    unsigned n_connections = 8;
    double seconds = 3;
    double warmup_seconds = 0.5;
    double rate = 0; ///< requests/s, open loop: latency counts from the time a request was due; 0:
                     ///< closed loop
    int server_pid = 0; ///< whose CPU time is read; 0: none
};

struct LoadResult {
    std::uint64_t n_requests = 0;
    std::uint64_t n_errors = 0;
    std::uint64_t n_events = 0; ///< "data:" lines in streamed bodies
    double seconds = 0;
    double server_cpu_seconds = 0;
    std::vector<std::uint32_t> latency_us; ///< sorted

    double percentile_us(double p) const;
};

/// Errors end the process with a message: this is a tool.
LoadResult run_load(const LoadOptions& options);

} // namespace bloom::bench
