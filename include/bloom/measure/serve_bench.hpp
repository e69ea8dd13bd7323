#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/measure/open_loop.hpp>

namespace bloom::measure {

/// The API that a load speaks.
enum class LoadDialect : std::uint8_t { chat, completions, responses, messages };

std::string_view to_string(LoadDialect dialect) noexcept;
/// Nothing for a name that is none of them.
std::optional<LoadDialect> load_dialect(std::string_view name) noexcept;
/// Where its requests go.
std::string_view path_of(LoadDialect dialect) noexcept;

struct ServeBenchOptions {
    std::string url;     ///< of the node, http only
    std::string api_key; ///< sent as a bearer token; may be empty
    std::string model;   ///< empty: the node's first
    double rate = 1;     ///< requests per second
    double duration_s = 10;
    std::size_t concurrency = 256;
    std::int32_t prompt_tokens = 32; ///< words; the node's tokenizer may count differently
    std::int32_t max_tokens = 64;
    bool stream = true;
    LoadDialect dialect = LoadDialect::chat;
    Arrivals arrivals = Arrivals::poisson;
    std::uint64_t seed = 1;
};

/// A distribution in milliseconds.
struct Percentiles {
    std::size_t n = 0;
    double p50 = 0, p90 = 0, p99 = 0, p999 = 0, max = 0;
};

Percentiles percentiles_of(std::vector<double> values_ms);

struct ServeReport {
    std::string model;
    std::size_t n_requests = 0;
    std::size_t n_answered = 0;
    std::map<std::string, std::size_t> errors; ///< what they said, how often
    double seconds = 0;                        ///< from the first arrival due to the last end
    double requests_per_s = 0;                 ///< answered
    std::int64_t n_tokens = 0;
    double tokens_per_s = 0;
    double idle_ttft_ms = 0; ///< of an idle node: median of a few requests one after another
    Percentiles ttft;        ///< due to first content
    Percentiles added;       ///< ttft beyond idle_ttft_ms: what the load costs
    Percentiles gap;         ///< between pieces of content of one stream
    Percentiles total;       ///< due to end
    Percentiles late;        ///< due to sent: waiting for one of `concurrency` places
};

/// Figures of outcomes; failed requests count only as errors.
ServeReport summarise(std::span<const Outcome> outcomes, double idle_ttft_ms);

/// Runs the load on a shard of its own. Errors: machine_lacks (no io_uring); invalid_argument (the
/// URL); unavailable (no node there, no model).
Result<ServeReport> bench_serve(const ServeBenchOptions& options);

/// The body of one request; `i` varies the prompt, so that no prefix is found in a cache.
std::string load_request(const ServeBenchOptions& options, std::size_t i);

/// What one event of a stream, or a whole answer, brings: in any of the dialects, whose shapes do
/// not overlap.
struct ChunkContent {
    bool has_content = false;
    bool ends = false;                   ///< the stream's last event
    std::int64_t completion_tokens = -1; ///< -1: not in this one
    std::string error;                   ///< empty: none
};

ChunkContent read_chunk(const std::string& data);

} // namespace bloom::measure
