#include <algorithm>
#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/measure/paired.hpp>

namespace bloom::measure {
namespace {

struct Repetition {
    double seconds = 0;
    Work work;
    Roofs before, after;
    bool disturbed = false;

    double read_roof() const { return std::max(before.read_gb_per_s, after.read_gb_per_s); }

    double dot_roof() const { return std::max(before.dot_gops, after.dot_gops); }

    double fma_roof() const { return std::max(before.fma_gflops, after.fma_gflops); }

    double gb_per_s() const { return seconds > 0 ? work.bytes / seconds * 1e-9 : 0; }

    double gops() const { return seconds > 0 ? work.ops / seconds * 1e-9 : 0; }

    double gflops() const { return seconds > 0 ? work.flops / seconds * 1e-9 : 0; }

    double of_fma() const { return fma_roof() > 0 ? gflops() / fma_roof() : 0; }

    double of_read() const { return read_roof() > 0 ? gb_per_s() / read_roof() : 0; }

    double of_dots() const { return dot_roof() > 0 ? gops() / dot_roof() : 0; }
};

/// Repetitions tried for each one wanted before a busy machine is taken as it is.
constexpr int kTriesPerRepetition = 3;

template <class Of>
std::vector<double> each(const std::vector<Repetition>& all, Of of) {
    std::vector<double> out;
    for (const Repetition& r : all)
        out.push_back(of(r));
    return out;
}

Paired summarise(std::vector<Repetition> all) {
    Paired out;
    const auto n_disturbed = std::ranges::count_if(all, &Repetition::disturbed);
    out.disturbed = static_cast<int>(n_disturbed);
    if (static_cast<std::size_t>(n_disturbed) < all.size()) {
        std::erase_if(all, [](const Repetition& r) { return r.disturbed; });
    }
    out.repetitions = static_cast<int>(all.size());
    out.seconds = spread_of(each(all, [](const Repetition& r) { return r.seconds; }));
    out.gb_per_s = median(each(all, [](const Repetition& r) { return r.gb_per_s(); }));
    out.gops = median(each(all, [](const Repetition& r) { return r.gops(); }));
    out.gflops = median(each(all, [](const Repetition& r) { return r.gflops(); }));
    out.roof_ratio = spread_of(each(
        all, [](const Repetition& r) { return std::max({r.of_read(), r.of_dots(), r.of_fma()}); }));
    const double of_read = median(each(all, [](const Repetition& r) { return r.of_read(); }));
    const double of_dots = median(each(all, [](const Repetition& r) { return r.of_dots(); }));
    const double of_fma = median(each(all, [](const Repetition& r) { return r.of_fma(); }));
    out.limit = of_fma > std::max(of_read, of_dots) ? Limit::multiply_adds
                : of_dots > of_read                 ? Limit::dots
                                                    : Limit::bandwidth;
    out.roofs.read_gb_per_s = median(each(all, [](const Repetition& r) { return r.read_roof(); }));
    out.roofs.dot_gops = median(each(all, [](const Repetition& r) { return r.dot_roof(); }));
    out.roofs.fma_gflops = median(each(all, [](const Repetition& r) { return r.fma_roof(); }));
    return out;
}

} // namespace

std::string_view to_string(Limit limit) noexcept {
    switch (limit) {
    case Limit::bandwidth:
        return "bandwidth";
    case Limit::dots:
        return "dots";
    case Limit::multiply_adds:
        return "multiply-adds";
    }
    return {};
}

Result<Paired> measure_paired(RoofSource& roofs, Stopwatch& clock, const PairedOptions& options,
                              FunctionRef<Work(int)> prepare, FunctionRef<Result<>()> run) {
    BLOOM_CHECK(options.repetitions > 0);
    BLOOM_CHECK(options.threads > 0);
    static_cast<void>(prepare(0));
    BLOOM_OK(run());
    std::vector<Repetition> all;
    int kept = 0;
    const double begin = clock.wall_s();
    const auto tries = static_cast<std::size_t>(options.repetitions) * kTriesPerRepetition;
    Roofs before = roofs.sample();
    while ((kept < options.repetitions && all.size() < tries) ||
           clock.wall_s() - begin < options.seconds) {
        Repetition r;
        r.work = prepare(static_cast<int>(all.size()) + 1);
        r.before = before;
        const double cpu = clock.cpu_s();
        const double start = clock.wall_s();
        BLOOM_OK(run());
        r.seconds = clock.wall_s() - start;
        r.disturbed = clock.cpu_s() - cpu < kCpuShareMin * options.threads * r.seconds;
        r.after = before = roofs.sample();
        if (!r.disturbed) ++kept;
        all.push_back(r);
    }
    return summarise(std::move(all));
}

} // namespace bloom::measure
