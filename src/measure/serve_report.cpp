#include <algorithm>

#include <bloom/measure/serve_bench.hpp>
#include <bloom/measure/statistics.hpp>

namespace bloom::measure {
namespace {

double ms_between(std::uint64_t from_ns, std::uint64_t to_ns) {
    return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) * 1e-6 : 0;
}

/// Different sentences that are kept apart; the rest is counted together.
constexpr std::size_t kErrorKinds = 16;

void count_error(ServeReport& report, const std::string& error) {
    const bool known = report.errors.contains(error);
    ++report.errors[known || report.errors.size() < kErrorKinds ? error : "other"];
}

} // namespace

Percentiles percentiles_of(std::vector<double> values) {
    std::ranges::sort(values);
    Percentiles out;
    out.n = values.size();
    if (values.empty()) return out;
    out.p50 = percentile(values, 0.5);
    out.p90 = percentile(values, 0.9);
    out.p99 = percentile(values, 0.99);
    out.p999 = percentile(values, 0.999);
    out.max = values.back();
    return out;
}

ServeReport summarise(std::span<const Outcome> outcomes, double idle_ttft_ms) {
    ServeReport report;
    report.n_requests = outcomes.size();
    report.idle_ttft_ms = idle_ttft_ms;
    if (outcomes.empty()) return report;
    std::vector<double> ttft, added, gap, total, late;
    std::uint64_t begin = outcomes.front().due_ns;
    std::uint64_t end = begin;
    for (const Outcome& o : outcomes) {
        begin = std::min(begin, o.due_ns);
        end = std::max(end, o.end_ns);
        late.push_back(ms_between(o.due_ns, o.sent_ns));
        if (!o.error.empty()) {
            count_error(report, o.error);
            continue;
        }
        ++report.n_answered;
        report.n_tokens += o.n_tokens;
        total.push_back(ms_between(o.due_ns, o.end_ns));
        if (o.first_ns == 0) continue;
        ttft.push_back(ms_between(o.due_ns, o.first_ns));
        added.push_back(ttft.back() - idle_ttft_ms);
        for (const std::uint64_t ns : o.gaps_ns)
            gap.push_back(static_cast<double>(ns) * 1e-6);
    }
    report.seconds = ms_between(begin, end) * 1e-3;
    if (report.seconds > 0) {
        report.requests_per_s = static_cast<double>(report.n_answered) / report.seconds;
        report.tokens_per_s = static_cast<double>(report.n_tokens) / report.seconds;
    }
    report.ttft = percentiles_of(std::move(ttft));
    report.added = percentiles_of(std::move(added));
    report.gap = percentiles_of(std::move(gap));
    report.total = percentiles_of(std::move(total));
    report.late = percentiles_of(std::move(late));
    return report;
}

} // namespace bloom::measure
