// Rates of the experts' networks as a step runs them, beside the roofs of this processor, probed
// between the repetitions of the same run: read bandwidth (prefetched past the caches) and 8-bit
// dot products. Quote ratios; absolute rates belong to the machine and the minute.
//
//   bloom_bench_moe [isa=NAME] [format=q8_0,affine8_bf16] [k=2048] [m=768] [experts=128] [topk=8]
//                   [layers=1] [n=1,8,32,128,512] [threads=1,2] [secs=1.0] [json=1]
//
// k is the width of the model, m that of one expert. A repetition is a step of all layers; its
// tokens choose their experts anew at random, different ones in every layer. `gate_up` and `down`
// are the two phases apart, `moe` is both with the choice and the quantising of the inputs before
// them. The roof of a repetition is the larger of (bytes of the different experts that were chosen
// / read bandwidth) and (operations / dot rate). Repetitions in which the process did not get its
// processors are dropped and counted.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "kernels/half.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/layout.hpp"
#include "kernels/probe.hpp"
#include <bloom/base/rng.hpp>
#include <bloom/compute/backend_cpu.hpp>

#include "bench/micro/support.hpp"

namespace {

using namespace bloom;
using namespace bloom::compute;
using bench::cpu_s;
using bench::huge_alloc;
using bench::kCpuShareMin;
using bench::kProbeBytes;
using bench::median;
using bench::now_s;
using bench::split;
using kernels::KernelTable;
using kernels::WeightFormat;

constexpr std::int64_t kDotRounds = 100'000;
constexpr std::int64_t kLogitRows = 2048; ///< router outputs to draw from, more than tokens

/// The processors of the process as it started: teams pin the calling thread to the first one.
const std::vector<int>& cpus() {
    static const std::vector<int> all = allowed_cpus();
    return all;
}

/// A team that knows how long each phase of a step took.
class TimedTeam final : public Team {
public:
    explicit TimedTeam(int n, const std::vector<int>& cpus) : team_(n, cpus) {
        pin_current_thread(cpus[0]);
    }

    int size() const noexcept override { return team_.size(); }

    void run(FunctionRef<void(int)> work) override { team_.run(work); }

    void run_phases(std::int32_t n, FunctionRef<void(std::int32_t, int)> work) override {
        times.assign(static_cast<std::size_t>(n), 0.0);
        double last = now_s();
        team_.run_phases(2 * n, [&](std::int32_t p, int w) {
            if (p % 2 == 0) {
                work(p / 2, w);
            } else if (w == 0) {
                const double now = now_s();
                times[static_cast<std::size_t>(p / 2)] = now - last;
                last = now;
            }
        });
    }

    std::vector<double> times;

private:
    SpinTeam team_;
};

struct Shape {
    WeightFormat format;
    std::int64_t k;
    std::int64_t m;
    std::int64_t experts;
    std::int32_t topk;
    int layers;
};

/// A matrix of random codes in its file's order; all experts are copies of it.
struct FileMatrix {
    FileMatrix(WeightFormat format, std::int64_t rows, std::int64_t cols, Rng& rng)
        : source{format, rows, cols, nullptr, nullptr, nullptr} {
        const std::int64_t groups = rows * (cols / kernels::group_size(format));
        const auto put = [](std::uint8_t* p, std::uint16_t h) { std::memcpy(p, &h, 2); };
        if (format == WeightFormat::q8_0) {
            codes.resize(static_cast<std::size_t>(groups) * kernels::kQ80BlockBytes);
            for (std::uint8_t& c : codes)
                c = static_cast<std::uint8_t>(rng.below(256));
            for (std::int64_t g = 0; g < groups; ++g)
                put(&codes[static_cast<std::size_t>(g) * kernels::kQ80BlockBytes],
                    kernels::f32_to_f16(1e-3F));
        } else {
            codes.resize(static_cast<std::size_t>(rows * cols));
            for (std::uint8_t& c : codes)
                c = static_cast<std::uint8_t>(rng.below(256));
            scales.resize(static_cast<std::size_t>(groups) * 2);
            biases.resize(scales.size());
            for (std::int64_t g = 0; g < groups; ++g) {
                put(&scales[static_cast<std::size_t>(g) * 2], kernels::f32_to_bf16(1e-3F));
                put(&biases[static_cast<std::size_t>(g) * 2], kernels::f32_to_bf16(-0.128F));
            }
        }
        source.codes = codes.data();
        source.scales = scales.data();
        source.biases = biases.data();
    }

    kernels::SourceMatrix source;
    std::vector<std::uint8_t> codes;
    std::vector<std::uint8_t> scales;
    std::vector<std::uint8_t> biases;
};

/// Medians of one part of the operation.
struct Part {
    std::vector<double> gb;
    std::vector<double> gops;
    std::vector<double> ratio;

    void add(double bytes, double ops, double time, double read, double dot) {
        gb.push_back(bytes / time / 1e9);
        gops.push_back(ops / time / 1e9);
        ratio.push_back(std::max(bytes / read, ops / dot) / time);
    }
};

struct Figures {
    Part gate_up;
    Part down;
    Part moe;
    std::vector<double> read;
    std::vector<double> dot;
    int dropped = 0;
};

class Bench {
public:
    Bench(const KernelTable& table, const Shape& shape, int threads, const std::uint8_t* probe_data)
        : table_(table), shape_(shape), probe_data_(probe_data), team_(threads, cpus()),
          backend_(make_cpu_backend({&table, &team_, false, true})) {
        const FileMatrix wide(shape.format, shape.m, shape.k, rng_);
        const FileMatrix back(shape.format, shape.k, shape.m, rng_);
        const auto count = static_cast<std::size_t>(shape.experts);
        for (int l = 0; l < shape.layers; ++l) {
            const std::vector<kernels::SourceMatrix> in(count, wide.source);
            const std::vector<kernels::SourceMatrix> out(count, back.source);
            gate_.push_back(backend_->upload_experts(in).value());
            up_.push_back(backend_->upload_experts(in).value());
            down_.push_back(backend_->upload_experts(out).value());
            std::vector<float>& logits = logits_.emplace_back();
            for (std::int64_t i = 0; i < kLogitRows * shape.experts; ++i)
                logits.push_back(static_cast<float>(rng_.uniform()));
            scores_.push_back(upload(logits, shape.experts));
        }
        std::vector<float> x;
        for (std::int64_t i = 0; i < kLogitRows * shape.k; ++i)
            x.push_back(static_cast<float>(rng_.uniform()) - 0.5F);
        inputs_ = upload(x, shape.k);
    }

    Figures run(std::int64_t n, double secs) {
        const CompiledId plan = compile(n);
        Figures f;
        const double start = now_s();
        const auto enough = [&] {
            return now_s() - start > secs &&
                   (f.moe.ratio.size() >= 5 || now_s() - start > 8 * secs);
        };
        team_.begin_step();
        for (int rep = 0; !enough(); ++rep)
            repetition(plan, n, rep == 0, f);
        team_.end_step();
        return f;
    }

private:
    WeightId upload(const std::vector<float>& values, std::int64_t cols) {
        return backend_
            ->upload_matrix({WeightFormat::f32, static_cast<std::int64_t>(values.size()) / cols,
                             cols, reinterpret_cast<const std::uint8_t*>(values.data()), nullptr,
                             nullptr})
            .value();
    }

    CompiledId compile(std::int64_t n) {
        Plan plan({Phase::prefill, static_cast<std::int32_t>(n), 1});
        const TensorId x = plan.tensor(shape_.k);
        const TensorId out = plan.tensor(shape_.k);
        const TensorId ids = plan.tensor(shape_.topk, RowKind::tokens, DType::i32);
        const TensorId weights = plan.tensor(shape_.topk);
        plan.add(EmbedOp{inputs_, x});
        std::vector<TensorId> logits;
        for (const WeightId scores : scores_) {
            logits.push_back(plan.tensor(shape_.experts));
            plan.add(EmbedOp{scores, logits.back()});
        }
        for (std::size_t l = 0; l < logits.size(); ++l) {
            plan.add(RouteOp{logits[l], WeightId::none, RouteScore::softmax, true, 1.0F,
                             shape_.topk, ids, weights});
            plan.add(MoeOp{x, ids, weights, gate_[l], up_[l], down_[l], GateActivation::silu,
                           shape_.topk, out});
        }
        return backend_->compile(plan).value();
    }

    /// Different experts that `tokens` choose in all layers.
    std::int64_t distinct(const std::vector<std::int32_t>& tokens) {
        std::int64_t sum = 0;
        std::vector<std::int32_t> ids(static_cast<std::size_t>(shape_.topk));
        std::vector<float> weights(ids.size());
        for (const std::vector<float>& logits : logits_) {
            std::set<std::int32_t> seen;
            for (const std::int32_t t : tokens) {
                table_.route(logits.data() + t * shape_.experts, nullptr, shape_.experts,
                             {false, true, 1.0F, shape_.topk}, ids.data(), weights.data());
                seen.insert(ids.begin(), ids.end());
            }
            sum += static_cast<std::int64_t>(seen.size());
        }
        return sum;
    }

    void repetition(CompiledId plan, std::int64_t n, bool warm_up, Figures& f) {
        std::vector<std::int32_t> tokens;
        for (std::int64_t t = 0; t < n; ++t)
            tokens.push_back(static_cast<std::int32_t>(rng_.below(kLogitRows)));
        std::vector<std::int32_t> rows(tokens.size());
        std::iota(rows.begin(), rows.end(), 0);
        StepInputs in;
        in.tokens = tokens;
        in.positions = rows;
        in.row_seq = rows;
        in.n_seqs = static_cast<std::int32_t>(n);
        const auto experts = static_cast<double>(distinct(tokens));
        const double expert_bytes = static_cast<double>(
            static_cast<std::size_t>(shape_.k * shape_.m / kernels::group_size(shape_.format)) *
            kernels::row_unit_bytes(shape_.format));
        const double ops = 2.0 * static_cast<double>(n * shape_.topk * shape_.layers) *
                           static_cast<double>(shape_.k * shape_.m);
        const double read = std::max(probe_read(), probe_read());
        const double dot = std::max(probe_dot(), probe_dot());
        const double cpu = cpu_s();
        const double begin = now_s();
        static_cast<void>(backend_->run(plan, in));
        const double time = now_s() - begin;
        if (warm_up) return;
        if (cpu_s() - cpu < kCpuShareMin * team_.size() * time) {
            ++f.dropped;
            return;
        }
        // Phases: the lookups, then by layer perhaps a preparation, gate and up, down.
        const std::size_t n_layers = logits_.size();
        const std::size_t per_layer = (team_.times.size() - 1) / n_layers;
        double gate_up = 0.0;
        double down = 0.0;
        double moe = 0.0;
        for (std::size_t l = 0; l < n_layers; ++l) {
            const std::size_t last = (l + 1) * per_layer;
            down += team_.times[last];
            gate_up += team_.times[last - 1];
            for (std::size_t p = l * per_layer + 1; p <= last; ++p)
                moe += team_.times[p];
        }
        f.gate_up.add(2 * experts * expert_bytes, 2 * ops, gate_up, read, dot);
        f.down.add(experts * expert_bytes, ops, down, read, dot);
        f.moe.add(3 * experts * expert_bytes, 3 * ops, moe, read, dot);
        f.read.push_back(read);
        f.dot.push_back(dot);
    }

    double probe_read() {
        const auto threads = static_cast<std::size_t>(team_.size());
        const std::size_t part = kProbeBytes / 4 / threads / 4096 * 4096;
        const double begin = now_s();
        team_.run([&](int w) {
            sink_[w] = kernels::probe_of(table_).read(
                probe_data_ + probe_at_ + part * static_cast<std::size_t>(w), part - 8192);
        });
        const double time = now_s() - begin;
        probe_at_ = (probe_at_ + kProbeBytes / 4) % kProbeBytes;
        return static_cast<double>((part - 8192) * threads) / time;
    }

    double probe_dot() {
        const double begin = now_s();
        team_.run([&](int w) { sink_[w] = kernels::probe_of(table_).dot(kDotRounds); });
        return static_cast<double>(kDotRounds * kernels::probe_of(table_).dot_ops * team_.size()) /
               (now_s() - begin);
    }

    const KernelTable& table_;
    Shape shape_;
    const std::uint8_t* probe_data_;
    std::size_t probe_at_ = 0;
    volatile std::uint64_t sink_[64] = {};
    Rng rng_{3};
    TimedTeam team_;
    std::unique_ptr<Backend> backend_;
    std::vector<WeightId> gate_;
    std::vector<WeightId> up_;
    std::vector<WeightId> down_;
    std::vector<WeightId> scores_;
    std::vector<std::vector<float>> logits_;
    WeightId inputs_ = WeightId::none;
};

void print(const char* part, const Part& p, const std::string& format, const Shape& s, int threads,
           const std::string& n, const Figures& f, bool json) {
    const char* line =
        json ? "{\"op\":\"%s\",\"format\":\"%s\",\"shape\":[%lld,%lld,%lld,%d],\"threads\":%d,"
               "\"n\":%s,\"gb_per_s\":%.2f,\"gops\":%.1f,\"read_roof_gb_per_s\":%.2f,"
               "\"dot_roof_gops\":%.1f,\"roof_ratio\":%.3f,\"kept\":%zu,\"dropped\":%d}\n"
             : "%-8s %-13s k=%lld m=%lld e=%lld topk=%d threads=%d n=%-4s %7.2f GB/s %8.1f GOPS | "
               "roofs %6.2f GB/s %7.1f GOPS | ratio %.3f, %zu kept, %d dropped\n";
    std::printf(line, part, format.c_str(), static_cast<long long>(s.k),
                static_cast<long long>(s.m), static_cast<long long>(s.experts), s.topk, threads,
                n.c_str(), median(p.gb), median(p.gops), median(f.read) / 1e9, median(f.dot) / 1e9,
                median(p.ratio), p.ratio.size(), f.dropped);
    std::fflush(stdout);
}

} // namespace

int main(int argc, char** argv) {
    std::map<std::string, std::string> o{{"isa", ""},        {"format", "q8_0,affine8_bf16"},
                                         {"k", "2048"},      {"m", "768"},
                                         {"experts", "128"}, {"topk", "8"},
                                         {"layers", "1"},    {"n", "1,8,32,128,512"},
                                         {"threads", "1,2"}, {"secs", "1.0"},
                                         {"json", "0"}};
    for (int i = 1; i < argc; ++i) {
        const std::string arg = argv[i];
        const std::size_t eq = arg.find('=');
        if (eq == std::string::npos || !o.contains(arg.substr(0, eq))) {
            std::fprintf(stderr, "unknown argument %s; see the head of bench/micro/moe_bench.cpp\n",
                         arg.c_str());
            return 2;
        }
        o[arg.substr(0, eq)] = arg.substr(eq + 1);
    }
    const KernelTable* table =
        kernels::select_table(kernels::detect_cpu_features(), o["isa"].c_str());
    if (table == nullptr) {
        std::fprintf(stderr, "isa=%s does not run here\n", o["isa"].c_str());
        return 3;
    }
    std::uint8_t* probe_data = huge_alloc(kProbeBytes);
    std::memset(probe_data, 1, kProbeBytes);
    for (const std::string& format : split(o["format"])) {
        const Shape shape{format == "q8_0" ? WeightFormat::q8_0 : WeightFormat::affine8_bf16,
                          std::atoll(o["k"].c_str()),
                          std::atoll(o["m"].c_str()),
                          std::atoll(o["experts"].c_str()),
                          std::atoi(o["topk"].c_str()),
                          std::atoi(o["layers"].c_str())};
        for (const std::string& threads : split(o["threads"])) {
            const int t = std::atoi(threads.c_str());
            Bench bench(*table, shape, t, probe_data);
            for (const std::string& n : split(o["n"])) {
                const Figures f = bench.run(std::atoll(n.c_str()), std::atof(o["secs"].c_str()));
                print("gate_up", f.gate_up, format, shape, t, n, f, o["json"] == "1");
                print("down", f.down, format, shape, t, n, f, o["json"] == "1");
                print("moe", f.moe, format, shape, t, n, f, o["json"] == "1");
            }
        }
    }
    return 0;
}
