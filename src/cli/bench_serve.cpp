#include <cstdlib>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/cli/verbs.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/measure/serve_bench.hpp>

#include "cli/common.hpp"

namespace bloom::cli {
namespace {

using measure::Percentiles;
using measure::ServeBenchOptions;
using measure::ServeReport;

void write_percentiles(json::Writer& w, std::string_view name, const Percentiles& p) {
    w.key(name).begin_object().key("n").integer(p.n).key("p50").number(p.p50);
    w.key("p90").number(p.p90).key("p99").number(p.p99).key("p999").number(p.p999);
    w.key("max").number(p.max).end_object();
}

std::string as_json(const ServeBenchOptions& options, const ServeReport& r) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("op").string("serve").key("url").string(options.url);
    w.key("dialect").string(to_string(options.dialect));
    w.key("model").string(r.model).key("stream").boolean(options.stream);
    w.key("rate").number(options.rate).key("duration_s").number(options.duration_s);
    w.key("concurrency").integer(options.concurrency);
    w.key("prompt_tokens").integer(options.prompt_tokens);
    w.key("max_tokens").integer(options.max_tokens);
    w.key("requests").integer(r.n_requests).key("answered").integer(r.n_answered);
    w.key("errors").begin_object();
    for (const auto& [what, n] : r.errors)
        w.key(what).integer(n);
    w.end_object();
    w.key("seconds").number(r.seconds).key("requests_per_s").number(r.requests_per_s);
    w.key("tokens").integer(r.n_tokens).key("tokens_per_s").number(r.tokens_per_s);
    w.key("idle_ttft_ms").number(r.idle_ttft_ms);
    write_percentiles(w, "ttft_ms", r.ttft);
    write_percentiles(w, "added_ms", r.added);
    write_percentiles(w, "gap_ms", r.gap);
    write_percentiles(w, "total_ms", r.total);
    write_percentiles(w, "late_ms", r.late);
    w.end_object();
    out += '\n';
    return out;
}

std::string line_of(std::string_view name, const Percentiles& p) {
    return fmt::format("{:24} {:>8} {:10.2f} {:10.2f} {:10.2f} {:10.2f} {:10.2f}\n", name, p.n,
                       p.p50, p.p90, p.p99, p.p999, p.max);
}

std::string as_table(const ServeBenchOptions& options, const ServeReport& r) {
    std::string out = fmt::format("{} at {}{}: {} requests due in {} s ({}/s), {} answered\n",
                                  r.model, options.url, path_of(options.dialect), r.n_requests,
                                  options.duration_s, options.rate, r.n_answered);
    out += fmt::format("{:.1f} answers/s, {:.1f} tokens/s over {:.1f} s; idle first content "
                       "{:.2f} ms\n\n",
                       r.requests_per_s, r.tokens_per_s, r.seconds, r.idle_ttft_ms);
    out += fmt::format("{:24} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "milliseconds", "n",
                       "p50", "p90", "p99", "p99.9", "max");
    out += line_of("first content", r.ttft);
    out += line_of("  beyond idle", r.added);
    out += line_of("between pieces", r.gap);
    out += line_of("whole answer", r.total);
    out += line_of("waiting to be sent", r.late);
    for (const auto& [what, n] : r.errors)
        out += fmt::format("error {:6}x  {}\n", n, what);
    return out;
}

/// Arrivals of one run: what is kept of them fits into memory.
constexpr double kArrivalsMax = 1e7;

Result<bool> bench(const Arguments& arguments) {
    const BenchArguments& a = arguments.bench;
    if (a.rate * a.duration_s > kArrivalsMax) {
        return Error{Code::invalid_argument,
                     fmt::format("--rate {} for --duration {} are {:.0f} requests; {:.0f} are "
                                 "possible",
                                 a.rate, a.duration_s, a.rate * a.duration_s, kArrivalsMax)};
    }
    ServeBenchOptions options;
    options.url = arguments.url;
    if (const char* key = std::getenv("DARKBLOOM_API_KEY")) options.api_key = key;
    options.model = arguments.target;
    options.rate = a.rate;
    options.duration_s = a.duration_s;
    options.concurrency = static_cast<std::size_t>(a.concurrency);
    options.prompt_tokens = a.prompt_tokens;
    options.max_tokens = a.answer_tokens;
    options.stream = a.stream;
    const auto dialect = measure::load_dialect(a.dialect);
    BLOOM_CHECK(dialect.has_value()); // the arguments have been checked
    options.dialect = *dialect;
    options.arrivals = a.arrivals == "even" ? measure::Arrivals::even : measure::Arrivals::poisson;
    options.seed = a.seed;
    BLOOM_TRY(const ServeReport result, measure::bench_serve(options));
    print(arguments.json ? as_json(options, result) : as_table(options, result));
    return result.errors.empty();
}

} // namespace

int run_bench_serve(const Arguments& arguments) {
    const Result<bool> fine = bench(arguments);
    if (!fine) return report(fine.error());
    return *fine ? 0 : 1;
}

} // namespace bloom::cli
