// Rates of attention beside the roofs of this processor, probed between the repetitions of the same
// run with the instruction set under test: decode beside the time to read its keys and values once,
// prefill beside the f32 multiply-add peak. Quote ratios; rates belong to the machine and the
// minute.
//
//   bloom_bench_attention [isa=NAME] [ctx=32768] [prompt=4096] [step=512] [kv_heads=8]
//                         [ratio=4,8] [dim=128] [layers=1] [threads=1,2] [secs=1.0]
//                         [what=decode,prefill]
//
// Decode is one row at position ctx - 1; prefill is a prompt of `prompt` tokens, `step` rows at a
// time, as the engine runs it. Pages lie in random order in memory on huge pages, keys and values
// in f16. Repetitions in which the process did not get its processors are dropped and counted.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <sys/mman.h>
#include <vector>

#include "kernels/half.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/probe.hpp"
#include <bloom/base/rng.hpp>

#include "bench/micro/support.hpp"

namespace {

using namespace bloom::kernels;
using namespace bloom::bench;

constexpr int kMaxThreads = 64;
constexpr std::int64_t kFmaRounds = 200'000;

volatile std::uint64_t g_sink = 0;

struct Shape {
    std::int64_t tokens;
    int kv_heads;
    int ratio;
    int dim;
    int layers; ///< pages are as far apart as in a model of so many
};

class Bench {
public:
    Bench(const KernelTable& table, const Shape& s, const std::uint8_t* probe_data)
        : table_(table), s_(s), probe_data_(probe_data) {
        const std::int64_t n_pages = (s.tokens + kPageTokens - 1) / kPageTokens;
        page_bytes_ = std::int64_t{2} * s.kv_heads * kPageTokens * s.dim * 2 * s.layers;
        bloom::Rng rng(3);
        for (std::int64_t p = 0; p < n_pages; ++p)
            pages_.push_back(static_cast<std::int32_t>(p));
        for (std::size_t p = pages_.size(); p > 1; --p)
            std::swap(pages_[p - 1], pages_[rng.below(p)]);
        memory_ = huge_alloc(static_cast<std::size_t>(n_pages * page_bytes_));
        std::vector<std::uint16_t> pattern(4096);
        for (std::uint16_t& v : pattern)
            v = f32_to_f16(static_cast<float>(rng.uniform()) - 0.5F);
        for (std::int64_t at = 0; at < n_pages * page_bytes_; at += 2) {
            std::memcpy(memory_ + at, &pattern[rng.next() % 4096], 2);
        }
    }

    ~Bench() { munmap(memory_, pages_.size() * static_cast<std::size_t>(page_bytes_)); }

    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    /// Rows [first, first + n_rows) for all heads; workers take rows of kv heads.
    void rows(Team& team, int threads, std::int64_t first, std::int64_t n_rows) {
        const std::int64_t width = make_rows(n_rows);
        team.run([&](int thread) {
            const std::int64_t begin = s_.kv_heads * n_rows * thread / threads;
            const std::int64_t end = s_.kv_heads * n_rows * (thread + 1) / threads;
            for (std::int64_t at = begin; at < end;) {
                const std::int64_t head = at / n_rows;
                const std::int64_t row = at % n_rows;
                const std::int64_t n =
                    std::min({n_rows - row, end - at, std::int64_t{kAttentionBlock / s_.ratio}});
                const AttentionRows rows = rows_at(width, row, static_cast<int>(n),
                                                   static_cast<int>(head), 1, first + row);
                float* const scratch = scratch_of(thread);
                float* const part = scratch + attention_scratch_floats(kAttentionQueries, s_.dim);
                table_.attention(rows, pages(), 0, chunks(first + row + n), true, part, scratch);
                table_.attention_finish(rows, s_.dim, 0, static_cast<int>(n) * s_.ratio, part,
                                        out_.data() + (rows.q - q_.data()), width);
                at += n;
            }
        });
        g_sink = static_cast<std::uint64_t>(out_[0] * 1e6F + 1.0F);
    }

    /// One row for all heads; workers take chunks, which are merged at the end.
    void decode(Team& team, int threads, std::int64_t position) {
        const std::int64_t width = make_rows(1);
        const std::int64_t n = chunks(position + 1);
        const int group = std::min(s_.kv_heads, kAttentionQueries / s_.ratio);
        for (int head = 0; head < s_.kv_heads; head += group) {
            const int n_kv = std::min(group, s_.kv_heads - head);
            const int queries = n_kv * s_.ratio;
            const AttentionRows rows = rows_at(width, 0, 1, head, n_kv, position);
            const std::int64_t skip = attention_scratch_floats(kAttentionQueries, s_.dim);
            team.run([&](int thread) {
                float* const scratch = scratch_of(thread);
                table_.attention(rows, pages(), n * thread / threads, n * (thread + 1) / threads,
                                 thread == 0, scratch + skip, scratch);
            });
            float* const folded = scratch_of(0) + skip;
            for (int thread = 1; thread < threads; ++thread) {
                const float* part = scratch_of(thread) + skip;
                for (std::int64_t c = n * thread / threads; c < n * (thread + 1) / threads; ++c) {
                    table_.attention_fold(queries, s_.dim, 0, queries, folded, part);
                    part += attention_part_floats(queries, s_.dim);
                }
            }
            table_.attention_finish(rows, s_.dim, 0, queries, folded,
                                    out_.data() + (rows.q - q_.data()), width);
        }
        g_sink = static_cast<std::uint64_t>(out_[0] * 1e6F + 1.0F);
    }

    double probe_read(Team& team, int threads) {
        const std::size_t part = kProbeBytes / 4 / static_cast<std::size_t>(threads) / 4096 * 4096;
        const Probe& probe = probe_of(table_);
        const double begin = now_s();
        team.run([&](int thread) {
            g_sink = probe.read(probe_data_ + probe_at_ + part * static_cast<std::size_t>(thread),
                                part - 8192);
        });
        const double time = now_s() - begin;
        probe_at_ = (probe_at_ + kProbeBytes / 4) % kProbeBytes;
        return static_cast<double>(part - 8192) * threads / time;
    }

    double probe_fma(Team& team, int threads) {
        const Probe& probe = probe_of(table_);
        const double begin = now_s();
        team.run([&](int) { g_sink = probe.fma(kFmaRounds); });
        const double done =
            static_cast<double>(kFmaRounds) * static_cast<double>(probe.fma_ops) / 2;
        return done * threads / (now_s() - begin);
    }

private:
    std::int64_t make_rows(std::int64_t n_rows) {
        const std::int64_t width = std::int64_t{s_.kv_heads} * s_.ratio * s_.dim;
        if (q_.size() < static_cast<std::size_t>(n_rows * width)) {
            q_.assign(static_cast<std::size_t>(n_rows * width), 0.25F);
            out_.resize(q_.size());
        }
        return width;
    }

    AttentionRows rows_at(std::int64_t width, std::int64_t row, int n_rows, int kv_head, int n_kv,
                          std::int64_t position) const {
        const float* const q = q_.data() + row * width + std::int64_t{kv_head} * s_.ratio * s_.dim;
        return {q, width, n_rows, s_.ratio, kv_head, n_kv, 0.09F, position, 0};
    }

    KvPages pages() const {
        return {memory_, pages_.data(), page_bytes_, KvType::f16, s_.kv_heads, s_.dim};
    }

    static std::int64_t chunks(std::int64_t end) {
        return (end + kAttentionChunk - 1) / kAttentionChunk;
    }

    float* scratch_of(int thread) {
        static std::uint8_t* const memory = huge_alloc(std::size_t{kMaxThreads} * 8 * kHugePage);
        return reinterpret_cast<float*>(memory + static_cast<std::size_t>(thread) * 8 * kHugePage);
    }

    const KernelTable& table_;
    Shape s_;
    const std::uint8_t* probe_data_;
    std::size_t probe_at_ = 0;
    std::int64_t page_bytes_ = 0;
    std::vector<std::int32_t> pages_;
    std::uint8_t* memory_ = nullptr;
    std::vector<float> q_;
    std::vector<float> out_;
};

struct Timing {
    double seconds = 0;
    double roof = 0;
    double ratio = 0; ///< work / roof / time, median of pairs
    double best = 0;  ///< the best of them
    int kept = 0;
    int dropped = 0;
};

/// `work` (bytes or multiply-adds) beside a roof probed before and after each repetition.
Timing time_it(int threads, double secs, double work, const std::function<void()>& run,
               const std::function<double()>& probe) {
    std::vector<double> time;
    std::vector<double> roof;
    std::vector<double> ratio;
    Timing out;
    run();
    const double start = now_s();
    while (now_s() - start < secs || (time.size() < 3 && now_s() - start < 8 * secs)) {
        const double best = std::max(probe(), probe());
        const double cpu = cpu_s();
        const double begin = now_s();
        run();
        const double took = now_s() - begin;
        if (cpu_s() - cpu < kCpuShareMin * threads * took) {
            ++out.dropped;
            continue;
        }
        time.push_back(took);
        roof.push_back(best);
        ratio.push_back(work / best / took);
    }
    out.seconds = median(time);
    out.roof = median(roof);
    out.ratio = median(ratio);
    out.best = ratio.empty() ? 0.0 : *std::max_element(ratio.begin(), ratio.end());
    out.kept = static_cast<int>(time.size());
    return out;
}

void decode(const KernelTable& table, const Shape& s, int threads, double secs,
            const std::uint8_t* probe_data) {
    Bench bench(table, s, probe_data);
    Team team(threads);
    const double bytes = static_cast<double>(s.tokens) * 2 * s.kv_heads * s.dim * 2;
    const Timing t = time_it(
        threads, secs, bytes, [&] { bench.decode(team, threads, s.tokens - 1); },
        [&] { return bench.probe_read(team, threads); });
    std::printf("%-10s decode  ctx=%-6lld heads=%d/%d dim=%d threads=%d %8.3f ms %7.2f GB/s | roof "
                "%6.2f GB/s | %.2f x the time to read (best %.2f), %d kept, %d dropped\n",
                table.isa, static_cast<long long>(s.tokens), s.kv_heads * s.ratio, s.kv_heads,
                s.dim, threads, t.seconds * 1e3, bytes / t.seconds / 1e9, t.roof / 1e9,
                1.0 / t.ratio, 1.0 / t.best, t.kept, t.dropped);
    std::fflush(stdout);
}

void prefill(const KernelTable& table, const Shape& s, std::int64_t step, int threads, double secs,
             const std::uint8_t* probe_data) {
    Bench bench(table, s, probe_data);
    Team team(threads);
    const double pairs = static_cast<double>(s.tokens) * static_cast<double>(s.tokens + 1) / 2;
    const double fmas = pairs * 2 * s.kv_heads * s.ratio * s.dim;
    const Timing t = time_it(
        threads, secs, fmas,
        [&] {
            for (std::int64_t at = 0; at < s.tokens; at += step)
                bench.rows(team, threads, at, std::min(step, s.tokens - at));
        },
        [&] { return bench.probe_fma(team, threads); });
    std::printf(
        "%-10s prefill pp=%-7lld heads=%d/%d dim=%d threads=%d %8.1f ms %7.1f GFLOPS | roof "
        "%6.1f GFLOPS | %.3f of it (best %.3f), %d kept, %d dropped\n",
        table.isa, static_cast<long long>(s.tokens), s.kv_heads * s.ratio, s.kv_heads, s.dim,
        threads, t.seconds * 1e3, 2 * fmas / t.seconds / 1e9, 2 * t.roof / 1e9, t.ratio, t.best,
        t.kept, t.dropped);
    std::fflush(stdout);
}

} // namespace

int main(int argc, char** argv) {
    std::map<std::string, std::string> o{
        {"isa", ""},     {"ctx", "32768"},          {"prompt", "4096"},
        {"step", "512"}, {"kv_heads", "8"},         {"ratio", "4,8"},
        {"dim", "128"},  {"layers", "1"},           {"threads", "1,2"},
        {"secs", "1.0"}, {"what", "decode,prefill"}};
    for (int i = 1; i < argc; ++i) {
        const std::string arg = argv[i];
        const std::size_t eq = arg.find('=');
        if (eq == std::string::npos || !o.contains(arg.substr(0, eq))) {
            std::fprintf(stderr,
                         "unknown argument %s; see the head of bench/micro/attention_bench.cpp\n",
                         arg.c_str());
            return 2;
        }
        o[arg.substr(0, eq)] = arg.substr(eq + 1);
    }
    const KernelTable* table = select_table(detect_cpu_features(), o["isa"].c_str());
    if (table == nullptr) {
        std::fprintf(stderr, "isa=%s does not run here\n", o["isa"].c_str());
        return 3;
    }
    std::uint8_t* probe_data = huge_alloc(kProbeBytes);
    std::memset(probe_data, 1, kProbeBytes);
    const double secs = std::atof(o["secs"].c_str());
    for (const std::string& what : split(o["what"])) {
        for (const std::string& dim : split(o["dim"])) {
            for (const std::string& ratio : split(o["ratio"])) {
                for (const std::string& threads : split(o["threads"])) {
                    Shape s{std::atoll(o[what == "decode" ? "ctx" : "prompt"].c_str()),
                            std::atoi(o["kv_heads"].c_str()), std::atoi(ratio.c_str()),
                            std::atoi(dim.c_str()), std::atoi(o["layers"].c_str())};
                    const int n = std::clamp(std::atoi(threads.c_str()), 1, kMaxThreads);
                    if (what == "decode") {
                        decode(*table, s, n, secs, probe_data);
                    } else {
                        prefill(*table, s, std::atoll(o["step"].c_str()), n, secs, probe_data);
                    }
                }
            }
        }
    }
    return 0;
}
