#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <sys/mman.h>
#include <time.h>

#include <fmt/format.h>

#include "kernels/probe.hpp"
#include <bloom/base/check.hpp>
#include <bloom/compute/worker_cpus.hpp>
#include <bloom/hw/memory_info.hpp>
#include <bloom/measure/roofs.hpp>
#include <bloom/measure/statistics.hpp>

namespace bloom::measure {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kBytesMin = std::size_t{16} << 20;
/// Many times the largest last-level cache of a processor socket.
constexpr std::size_t kBytesDefault = std::size_t{1} << 30;
/// One read by one worker at least: a few hundred microseconds, against which starting is nothing.
constexpr std::size_t kBytesPerWorker = std::size_t{64} << 20;
/// Reads before the memory comes round again.
constexpr std::size_t kPortions = 8;
/// Length of one probe of arithmetic: long beside a barrier, short beside a time slice.
constexpr double kArithmeticSeconds = 1e-3;
constexpr std::int64_t kChainRounds = 200'000;
constexpr int kThreadsMax = 1024;

double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

/// Rounds that take about kArithmeticSeconds on the calling thread.
std::int64_t calibrated(std::uint64_t (*probe)(std::int64_t) noexcept, std::uint64_t& sink) {
    if (probe == nullptr) return 0;
    for (std::int64_t rounds = 64;; rounds *= 2) {
        const double start = now_s();
        sink += probe(rounds);
        const double seconds = now_s() - start;
        if (seconds >= kArithmeticSeconds / 4) {
            return std::max<std::int64_t>(1,
                                          static_cast<std::int64_t>(static_cast<double>(rounds) *
                                                                    kArithmeticSeconds / seconds));
        }
    }
}

std::size_t default_bytes(int n_workers) {
    const std::size_t wish =
        std::max(kBytesDefault, kBytesPerWorker * static_cast<std::size_t>(n_workers));
    const auto free = static_cast<std::size_t>(hw::read_memory_info().usable_bytes());
    return free == 0 ? wish : std::max(kBytesMin, std::min(wish, free / 4));
}

} // namespace

double ProcessStopwatch::wall_s() {
    return now_s();
}

double ProcessStopwatch::cpu_s() {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct RoofProbe::Memory {
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    ~Memory() {
        if (base != nullptr) static_cast<void>(::munmap(base, mapped));
    }

    void* base = nullptr;
    std::size_t mapped = 0;
    std::uint8_t* data = nullptr;
    std::size_t share = 0;   ///< bytes of one worker
    std::size_t portion = 0; ///< bytes a worker reads in one probe
    std::size_t at = 0;      ///< where in its share the next probe begins
};

RoofProbe::RoofProbe(compute::Team& team, const kernels::KernelTable& table)
    : team_(team), table_(table), memory_(std::make_unique<Memory>()),
      sums_(static_cast<std::size_t>(team.size()) * 8) {}

RoofProbe::~RoofProbe() = default;

Result<std::unique_ptr<RoofProbe>> RoofProbe::make(compute::Team& team,
                                                   const kernels::KernelTable& table,
                                                   const RoofOptions& options) {
    std::unique_ptr<RoofProbe> out(new RoofProbe(team, table));
    const auto n = static_cast<std::size_t>(team.size());
    const std::size_t wish = options.bytes != 0 ? options.bytes : default_bytes(team.size());
    Memory& m = *out->memory_;
    m.share = std::max(wish / n / kHugePage, kPortions) * kHugePage;
    m.portion = m.share / kPortions / kHugePage * kHugePage;
    m.mapped = m.share * n + kHugePage;
    m.base = ::mmap(nullptr, m.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m.base == MAP_FAILED) {
        m.base = nullptr;
        return Error{Code::out_of_memory,
                     fmt::format("no memory for {} bytes to read", m.share * n)};
    }
    const auto address = reinterpret_cast<std::uintptr_t>(m.base);
    m.data = static_cast<std::uint8_t*>(m.base) + (kHugePage - address % kHugePage) % kHugePage;
    static_cast<void>(
        ::madvise(m.data, m.share * n, options.huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
    team.run([&](int worker) { // each its own part: memory lies where it is first touched
        std::memset(m.data + static_cast<std::size_t>(worker) * m.share, 1, m.share);
    });
    const kernels::Probe& probe = kernels::probe_of(table);
    out->dot_rounds_ = calibrated(probe.dot, out->sums_[0]);
    out->fma_rounds_ = calibrated(probe.fma, out->sums_[0]);
    return out;
}

double RoofProbe::read_gb_per_s(bool prefetch) {
    Memory& m = *memory_;
    const kernels::Probe& probe = kernels::probe_of(table_);
    const auto read = prefetch || probe.read_plain == nullptr ? probe.read : probe.read_plain;
    const double start = now_s();
    team_.run([&](int worker) {
        const auto w = static_cast<std::size_t>(worker);
        sums_[w * 8] += read(m.data + w * m.share + m.at, m.portion);
    });
    const double seconds = now_s() - start;
    m.at += m.portion;
    if (m.at + m.portion > m.share) m.at = 0;
    return static_cast<double>(m.portion) * team_.size() / seconds * 1e-9;
}

double RoofProbe::timed_rounds(std::uint64_t (*probe)(std::int64_t) noexcept, std::int64_t rounds,
                               std::int64_t ops) {
    if (probe == nullptr) return 0;
    const double start = now_s();
    team_.run([&](int worker) { sums_[static_cast<std::size_t>(worker) * 8] += probe(rounds); });
    return static_cast<double>(rounds * ops) * team_.size() / (now_s() - start) * 1e-9;
}

double RoofProbe::dot_gops() {
    const kernels::Probe& probe = kernels::probe_of(table_);
    return timed_rounds(probe.dot, dot_rounds_, probe.dot_ops);
}

double RoofProbe::fma_gflops() {
    const kernels::Probe& probe = kernels::probe_of(table_);
    return timed_rounds(probe.fma, fma_rounds_, probe.fma_ops);
}

double RoofProbe::clock_ghz() {
    const double start = now_s();
    sums_[0] += kernels::add_chain(kChainRounds);
    return static_cast<double>(kChainRounds * kernels::kChainAdds) / (now_s() - start) * 1e-9;
}

Roofs RoofProbe::sample() {
    Roofs best;
    best.read_gb_per_s = std::max(read_gb_per_s(true), read_gb_per_s(false));
    best.dot_gops = std::max(dot_gops(), dot_gops());
    best.fma_gflops = fma_gflops();
    best.read_gb_per_s = std::max(best.read_gb_per_s, read_gb_per_s(true));
    return best;
}

namespace {

/// Tries for each repetition wanted, as everywhere when a machine is busy.
constexpr int kTriesPerRepetition = 3;

/// All figures of one moment, in the order of Ceiling.
struct Moment {
    std::array<double, 6> figures{};
    bool disturbed = false;
};

Moment measure_moment(RoofProbe& huge, RoofProbe& small, int threads) {
    ProcessStopwatch clock;
    const double cpu = clock.cpu_s();
    const double start = clock.wall_s();
    Moment m;
    m.figures[0] = huge.read_gb_per_s(true);
    m.figures[1] = huge.read_gb_per_s(false);
    m.figures[2] = std::max(small.read_gb_per_s(true), small.read_gb_per_s(false));
    m.figures[3] = huge.dot_gops();
    m.figures[4] = huge.fma_gflops();
    m.figures[5] = huge.clock_ghz();
    // The workers spin while the caller alone measures the clock.
    m.disturbed = clock.cpu_s() - cpu < kCpuShareMin * threads * (clock.wall_s() - start);
    return m;
}

Ceiling median_of(int threads, std::vector<Moment> moments) {
    const auto fine = std::ranges::count(moments, false, &Moment::disturbed);
    if (fine > 0) std::erase_if(moments, [](const Moment& m) { return m.disturbed; });
    std::array<double, 6> middle{};
    for (std::size_t i = 0; i < middle.size(); ++i) {
        std::vector<double> values;
        for (const Moment& m : moments)
            values.push_back(m.figures[i]);
        middle[i] = median(values);
    }
    return {threads, middle[0], middle[1], middle[2], middle[3], middle[4], middle[5], fine == 0};
}

} // namespace

Result<std::vector<Ceiling>> measure_ceilings(const kernels::KernelTable& table,
                                              std::span<const int> threads, int repetitions,
                                              const RoofOptions& options) {
    BLOOM_CHECK(repetitions > 0);
    std::vector<Ceiling> out;
    const hw::CpuInfo cpu_info = hw::read_cpu_info(); // before pin_caller() narrows the mask
    for (const int n : threads) {
        if (n < 1 || n > kThreadsMax) {
            return Error{Code::invalid_argument,
                         fmt::format("{} threads, expected 1 to {}", n, kThreadsMax)};
        }
        compute::SpinTeam team(n, compute::worker_cpus(cpu_info, n));
        team.pin_caller();
        RoofOptions plain = options;
        plain.huge_pages = false;
        // Both kinds of memory at once, so that all figures of a repetition are of one moment.
        BLOOM_TRY(const auto huge, RoofProbe::make(team, table, options));
        BLOOM_TRY(const auto small, RoofProbe::make(team, table, plain));
        std::vector<Moment> moments;
        int fine = 0;
        team.begin_step();
        static_cast<void>(measure_moment(*huge, *small, n));
        for (int i = 0; i < repetitions * kTriesPerRepetition && fine < repetitions; ++i) {
            moments.push_back(measure_moment(*huge, *small, n));
            if (!moments.back().disturbed) ++fine;
        }
        team.end_step();
        out.push_back(median_of(n, std::move(moments)));
    }
    return out;
}

} // namespace bloom::measure
