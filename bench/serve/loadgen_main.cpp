// bloom_loadgen --port P [--pid PID] [--path /health] [--post BYTES] [--connections N] [--seconds
// S]
//               [--rate R] [--key API_KEY] [--body JSON]
// One JSON line; closed loop without --rate.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "loadgen.hpp"

int main(int argc, char** argv) {
    bloom::bench::LoadOptions options;
    std::string path = "/health";
    std::string key;
    std::string body;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        const char* value = argv[i + 1];
        if (name == "--port") {
            options.port = static_cast<std::uint16_t>(std::atoi(value));
        } else if (name == "--pid") {
            options.server_pid = std::atoi(value);
        } else if (name == "--path") {
            path = value;
        } else if (name == "--post") {
            body.assign(static_cast<std::size_t>(std::atol(value)), 'x');
        } else if (name == "--body") {
            body = value;
        } else if (name == "--key") {
            key = fmt::format("Authorization: Bearer {}\r\n", value);
        } else if (name == "--connections") {
            options.n_connections = static_cast<unsigned>(std::atoi(value));
        } else if (name == "--seconds") {
            options.seconds = std::atof(value);
        } else if (name == "--rate") {
            options.rate = std::atof(value);
        } else {
            std::fprintf(stderr, "unknown option %s\n", argv[i]);
            return 2;
        }
    }
    if (options.port == 0 || options.n_connections == 0) {
        std::fprintf(stderr,
                     "usage: bloom_loadgen --port P [--pid PID] [--path PATH] [--post BYTES] "
                     "[--connections N] [--seconds S] [--rate R] [--key KEY] [--body JSON]\n");
        return 2;
    }
    if (!body.empty()) {
        options.request =
            fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        "{}Content-Length: {}\r\n\r\n{}",
                        path, key, body.size(), body);
    } else {
        options.request =
            fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: loadgen\r\n"
                        "Accept: */*\r\n\r\n",
                        path);
    }
    const bloom::bench::LoadResult r = bloom::bench::run_load(options);
    const auto n = static_cast<double>(r.n_requests > 0 ? r.n_requests : 1);
    fmt::print("{{\"path\":\"{}\",\"requests\":{},\"errors\":{},\"per_s\":{:.0f},\"cpu_us_per_"
               "request\":{:.2f},"
               "\"cpu_us_per_event\":{:.2f},\"p50_us\":{},\"p99_us\":{},\"p999_us\":{}}}\n",
               path, r.n_requests, r.n_errors, static_cast<double>(r.n_requests) / r.seconds,
               r.server_cpu_seconds * 1e6 / n,
               r.n_events > 0 ? r.server_cpu_seconds * 1e6 / static_cast<double>(r.n_events) : 0.0,
               r.percentile_us(0.5), r.percentile_us(0.99), r.percentile_us(0.999));
    return r.n_errors == 0 ? 0 : 1;
}
