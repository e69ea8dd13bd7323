// What a decode step costs besides its kernels: the step's wall time less the largest kernel time
// of any worker. Every function of the kernel table is timed where it is called (two reads of the
// cycle counter), so whatever else a step does counts as overhead: waiting for other workers,
// handing out phases, batching, detokenising, events.
//
//   bloom_bench_engine MODEL.gguf [threads=2] [steps=512] [batch=1] [rounds=5] [load=0]
//
// packed=DIR keeps packed weights there. load=1 prints how long loading took instead, and the
// largest resident size on the way.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "kernels/kernel_table.hpp"
#include <bloom/compute/team.hpp>
#include <bloom/engine/engine.hpp>

namespace {

using namespace bloom;
using kernels::KernelTable;

double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

double seconds_per_tick() {
    const double start = now_s();
    const std::uint64_t first = ticks();
    while (now_s() - start < 0.05) {
    }
    return (now_s() - start) / static_cast<double>(ticks() - first);
}

/// Kernel time of one thread, read by the main thread between steps.
struct alignas(64) Spent {
    std::uint64_t in_kernels = 0;
    std::uint64_t calls = 0;
};

constexpr std::size_t kThreadsMax = 256;
std::array<Spent, kThreadsMax> g_spent;
std::atomic<std::size_t> g_n_threads{0};

Spent& my_spent() noexcept {
    thread_local Spent* const mine =
        &g_spent[g_n_threads.fetch_add(1, std::memory_order_relaxed) % kThreadsMax];
    return *mine;
}

const KernelTable* g_table = nullptr;

template <auto Member,
          class F = std::remove_cvref_t<decltype(std::declval<KernelTable&>().*Member)>>
struct Timed;

template <auto Member, class R, class... A>
struct Timed<Member, R (*)(A...) noexcept> {
    static R call(A... a) noexcept {
        Spent& s = my_spent();
        const std::uint64_t start = ticks();
        if constexpr (std::is_void_v<R>) {
            (g_table->*Member)(a...);
            s.in_kernels += ticks() - start;
            ++s.calls;
        } else {
            const R r = (g_table->*Member)(a...);
            s.in_kernels += ticks() - start;
            ++s.calls;
            return r;
        }
    }
};

KernelTable timed(const KernelTable& table) {
    g_table = &table;
    KernelTable t = table;
    t.unpack_row = &Timed<&KernelTable::unpack_row>::call;
    t.quantise = &Timed<&KernelTable::quantise>::call;
    t.matmul_q8 = &Timed<&KernelTable::matmul_q8>::call;
    t.matmul_f32 = &Timed<&KernelTable::matmul_f32>::call;
    t.rms_norm = &Timed<&KernelTable::rms_norm>::call;
    t.rope = &Timed<&KernelTable::rope>::call;
    t.silu_mul = &Timed<&KernelTable::silu_mul>::call;
    t.add = &Timed<&KernelTable::add>::call;
    t.store_kv = &Timed<&KernelTable::store_kv>::call;
    t.argmax = &Timed<&KernelTable::argmax>::call;
    t.attention = &Timed<&KernelTable::attention>::call;
    t.attention_fold = &Timed<&KernelTable::attention_fold>::call;
    t.attention_finish = &Timed<&KernelTable::attention_finish>::call;
    t.store_key = &Timed<&KernelTable::store_key>::call;
    t.gelu_tanh_mul = &Timed<&KernelTable::gelu_tanh_mul>::call;
    t.route = &Timed<&KernelTable::route>::call;
    t.add_scaled = &Timed<&KernelTable::add_scaled>::call;
    t.order_activations = &Timed<&KernelTable::order_activations>::call;
    return t;
}

class Drop final : public engine::EventSink {
public:
    void on_events(engine::RequestId, gen::EventBatch&&) override {}
};

double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}

/// "VmHWM" of this process in bytes.
double peak_bytes() {
    std::ifstream in("/proc/self/status");
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("VmHWM:")) return std::atof(line.c_str() + 6) * 1024;
    }
    return 0;
}

struct Options {
    std::string model;
    int threads = 2;
    int steps = 512;
    int batch = 1;
    int rounds = 5;
    bool load = false;
    std::string packed;
};

struct StepTimes {
    std::vector<double> wall, kernels, sum;
    std::vector<double> calls;
};

/// Greedy streams through the whole engine; prefill steps are left out.
StepTimes stream(engine::Engine& engine, const Options& options, double tick, std::uint64_t id) {
    auto request = std::make_shared<gen::Generation>();
    request->prompts.push_back("Hello");
    request->limits.max_tokens = options.steps + 2;
    request->limits.ignore_eos = true;
    request->sampling.temperature = 0;
    Drop drop;
    for (int b = 0; b < options.batch; ++b) {
        if (!engine.submit(engine::RequestId{id + static_cast<std::uint64_t>(b)}, request,
                           std::int64_t{1} << 40)) {
            std::exit(1);
        }
    }
    while (engine.capacity().running < options.batch)
        engine.step(drop, 0);
    StepTimes out;
    std::vector<std::uint64_t> before(kThreadsMax);
    for (int i = 0; i < options.steps; ++i) {
        std::uint64_t calls = 0;
        for (std::size_t t = 0; t < kThreadsMax; ++t) {
            before[t] = g_spent[t].in_kernels;
            calls += g_spent[t].calls;
        }
        const std::uint64_t start = ticks();
        engine.step(drop, 0);
        const double wall = static_cast<double>(ticks() - start) * tick;
        double most = 0;
        double sum = 0;
        for (std::size_t t = 0; t < kThreadsMax; ++t) {
            const double spent = static_cast<double>(g_spent[t].in_kernels - before[t]) * tick;
            most = std::max(most, spent);
            sum += spent;
            calls -= g_spent[t].calls;
        }
        out.wall.push_back(wall);
        out.kernels.push_back(most);
        out.sum.push_back(sum);
        out.calls.push_back(-static_cast<double>(static_cast<std::int64_t>(calls)));
    }
    while (engine.n_requests() > 0)
        engine.step(drop, 0);
    return out;
}

} // namespace

int main(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const char* const value = std::strchr(argv[i], '=');
        const std::string name(argv[i], value == nullptr
                                            ? std::strlen(argv[i])
                                            : static_cast<std::size_t>(value - argv[i]));
        const int number = value == nullptr ? 0 : std::atoi(value + 1);
        if (value == nullptr) {
            options.model = name;
        } else if (name == "threads") {
            options.threads = number;
        } else if (name == "steps") {
            options.steps = number;
        } else if (name == "batch") {
            options.batch = number;
        } else if (name == "rounds") {
            options.rounds = number;
        } else if (name == "packed") {
            options.packed = value + 1;
        } else if (name == "load") {
            options.load = number != 0;
        } else {
            std::fprintf(stderr, "unknown option %s\n", argv[i]);
            return 2;
        }
    }
    const char* const isa = std::getenv("DARKBLOOM_KERNEL_ISA");
    const KernelTable* const table = kernels::select_table(kernels::detect_cpu_features(), isa);
    if (table == nullptr || options.model.empty()) {
        std::fprintf(stderr, "usage: bloom_bench_engine MODEL.gguf [threads=] [steps=] [batch=] "
                             "[rounds=] [load=1]\n");
        return 2;
    }
    const KernelTable probed = options.load ? *table : timed(*table);
    compute::SpinTeam team(options.threads, compute::allowed_cpus());
    team.pin_caller();
    engine::EngineOptions engine_options;
    engine_options.team = &team;
    engine_options.table = &probed;
    engine_options.speculate = false; // one step, one token
    engine_options.packed_cache = options.packed;
    engine_options.max_seqs = std::max(options.batch, 8);
    const double opened = now_s();
    auto file = engine::ModelFile::open(options.model);
    if (!file) {
        std::fprintf(stderr, "%s\n", std::string(file.error().message()).c_str());
        return 1;
    }
    auto engine = engine::Engine::create(std::move(*file), engine_options);
    if (!engine) {
        std::fprintf(stderr, "%s\n", std::string(engine.error().message()).c_str());
        return 1;
    }
    if (options.load) {
        const double seconds = now_s() - opened;
        const auto bytes = static_cast<double>((*engine)->info().file_bytes);
        std::printf("loaded %.0f MB in %.3f s: %.2f GB/s; largest resident size %.0f MB, packed "
                    "%.0f MB\n",
                    bytes * 1e-6, seconds, bytes / seconds * 1e-9, peak_bytes() * 1e-6,
                    static_cast<double>((*engine)->info().weight_bytes) * 1e-6);
        return 0;
    }
    const double tick = seconds_per_tick();
    static_cast<void>(stream(**engine, options, tick, 1)); // warms up
    std::printf("%6s %10s %12s %12s %12s %8s\n", "", "step us", "kernels us", "overhead us",
                "of the step", "calls");
    for (int r = 0; r < options.rounds; ++r) {
        const StepTimes t =
            stream(**engine, options, tick, 1000U * static_cast<std::uint64_t>(r + 1));
        std::vector<double> overhead(t.wall.size());
        for (std::size_t i = 0; i < overhead.size(); ++i)
            overhead[i] = t.wall[i] - t.kernels[i];
        const double wall = median(t.wall);
        std::printf("%6d %10.2f %12.2f %12.2f %11.1f%% %8.0f\n", r, wall * 1e6,
                    median(t.kernels) * 1e6, median(overhead) * 1e6, 100 * median(overhead) / wall,
                    median(t.calls));
    }
    return 0;
}
