// Rates of matmul_q8 beside the roofs of this processor, probed between the repetitions of the same
// run: read bandwidth (prefetched past the caches) and 8-bit dot products, both with the
// instruction set under test. Quote ratios; absolute rates belong to the machine and the minute.
//
//   bloom_bench_kernels [isa=NAME] [format=q8_0,affine8_bf16] [k=5120] [m=17408] [layers=4]
//                       [n=1,4,8,16,32,128,512] [threads=1,2] [secs=1.0] [json=1]
//
// The weights of all layers together are larger than the caches and lie on huge pages where the
// system gives them. A repetition is one layer, the next one each time, its activations quantised
// inside, as a network must. Repetitions in which the process did not get its processors are
// dropped and counted: on a busy machine take a small m and many layers, so that repetitions are
// short.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "kernels/half.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/layout.hpp"
#include "kernels/probe.hpp"
#include <bloom/base/rng.hpp>

#include "bench/micro/support.hpp"

namespace {

using namespace bloom::kernels;
using namespace bloom::bench;

constexpr std::int64_t kDotRounds = 100'000;

struct Shape {
    WeightFormat format;
    std::int64_t k;
    std::int64_t m;
    int layers;
};

struct Row {
    double gb_per_s;
    double gops;
    double read_roof;
    double dot_roof;
    double ratio; ///< max(bytes / read roof, operations / dot roof) / time, median
    double best;
    int kept;
    int dropped;
};

/// Random packed weights: the layers are copies of one pattern of panels.
std::uint8_t* make_weights(const KernelTable& table, const Shape& s) {
    bloom::Rng rng(1);
    const std::int64_t rows = table.panel_rows;
    const std::int64_t groups = rows * (s.k / group_size(s.format));
    const bool q8_0 = s.format == WeightFormat::q8_0;
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(q8_0 ? groups * 34 : rows * s.k));
    std::vector<std::uint8_t> scales(static_cast<std::size_t>(groups) * 4);
    for (std::uint8_t& c : codes)
        c = static_cast<std::uint8_t>(rng.next());
    const std::uint16_t scale =
        s.format == WeightFormat::affine8_bf16 ? f32_to_bf16(1e-3F) : f32_to_f16(1e-3F);
    for (std::size_t g = 0; g < static_cast<std::size_t>(groups); ++g) {
        std::memcpy(q8_0 ? &codes[g * 34] : &scales[g * 2], &scale, 2);
    }
    const SourceMatrix src{s.format, rows, s.k, codes.data(), scales.data(), scales.data()};
    const std::size_t panel = table.packed_bytes(s.format, rows, s.k);
    const std::size_t total =
        table.packed_bytes(s.format, s.m, s.k) * static_cast<std::size_t>(s.layers);
    std::uint8_t* data = huge_alloc(total);
    std::vector<std::uint8_t> one(panel);
    table.pack(src, 0, rows, one.data());
    for (std::size_t at = 0; at < total; at += panel)
        std::memcpy(data + at, one.data(), panel);
    return data;
}

volatile std::uint64_t g_sink = 0;

class Bench {
public:
    Bench(const KernelTable& table, const Shape& shape, const std::uint8_t* weights,
          const std::uint8_t* probe_data)
        : table_(table), shape_(shape), weights_(weights), probe_data_(probe_data) {}

    Row run(int threads, std::int64_t n, double secs) {
        prepare(n);
        Team team(threads);
        const std::size_t bytes = table_.packed_bytes(shape_.format, shape_.m, shape_.k);
        const double ops = 2.0 * static_cast<double>(shape_.m) * static_cast<double>(shape_.k) *
                           static_cast<double>(n);
        std::vector<double> rate;
        std::vector<double> read;
        std::vector<double> dot;
        std::vector<double> ratio;
        int dropped = 0;
        const double start = now_s();
        const auto enough = [&] {
            return now_s() - start > secs && (ratio.size() >= 5 || now_s() - start > 8 * secs);
        };
        for (int rep = 0; !enough(); ++rep) {
            const double read_roof = std::max(probe_read(team, threads), probe_read(team, threads));
            const double dot_roof = std::max(probe_dot(team, threads), probe_dot(team, threads));
            const double cpu = cpu_s();
            const double begin = now_s();
            team.run([&](int thread) { forward(team, thread, threads, n, rep % shape_.layers); });
            const double time = now_s() - begin;
            if (rep == 0) continue;
            if (cpu_s() - cpu < kCpuShareMin * threads * time) {
                ++dropped;
                continue;
            }
            rate.push_back(1.0 / time);
            read.push_back(read_roof);
            dot.push_back(dot_roof);
            ratio.push_back(std::max(static_cast<double>(bytes) / read_roof, ops / dot_roof) /
                            time);
        }
        const double per_s = median(rate);
        const double best = ratio.empty() ? 0.0 : *std::max_element(ratio.begin(), ratio.end());
        return {static_cast<double>(bytes) * per_s / 1e9,
                ops * per_s / 1e9,
                median(read) / 1e9,
                median(dot) / 1e9,
                median(ratio),
                best,
                static_cast<int>(ratio.size()),
                dropped};
    }

private:
    void prepare(std::int64_t n) {
        bloom::Rng rng(2);
        const std::int64_t groups = shape_.k / group_size(shape_.format);
        x_.resize(static_cast<std::size_t>(n * shape_.k));
        for (float& v : x_)
            v = static_cast<float>(rng.uniform()) - 0.5F;
        q_.resize(x_.size());
        scale_.resize(static_cast<std::size_t>(n * groups));
        init_.resize(scale_.size());
        sum_.resize(scale_.size());
        y_.resize(static_cast<std::size_t>(n * shape_.m));
        acts_ = {q_.data(), scale_.data(), init_.data(), sum_.data(), shape_.k, groups};
    }

    void forward(Team& team, int thread, int threads, std::int64_t n, int layer) {
        const std::int64_t groups = acts_.group_stride;
        const std::int64_t panels = shape_.m / table_.panel_rows;
        const std::size_t layer_bytes = table_.packed_bytes(shape_.format, shape_.m, shape_.k);
        const std::int64_t t0 = n * thread / threads;
        const std::int64_t t1 = n * (thread + 1) / threads;
        const QuantisedActivations mine{acts_.q + t0 * shape_.k,
                                        acts_.scale + t0 * groups,
                                        acts_.init + t0 * groups,
                                        acts_.sum + t0 * groups,
                                        shape_.k,
                                        groups};
        table_.quantise(shape_.format, x_.data() + t0 * shape_.k, shape_.k, t1 - t0, shape_.k,
                        mine);
        team.barrier();
        const PackedMatrix w{shape_.format, shape_.m, shape_.k,
                             weights_ + static_cast<std::size_t>(layer) * layer_bytes};
        table_.matmul_q8(w, acts_, n, panels * thread / threads * table_.panel_rows,
                         panels * (thread + 1) / threads * table_.panel_rows, y_.data(), shape_.m);
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

    double probe_dot(Team& team, int threads) {
        const Probe& probe = probe_of(table_);
        const double begin = now_s();
        team.run([&](int) { g_sink = probe.dot(kDotRounds); });
        return static_cast<double>(kDotRounds * probe.dot_ops) * threads / (now_s() - begin);
    }

    const KernelTable& table_;
    Shape shape_;
    const std::uint8_t* weights_;
    const std::uint8_t* probe_data_;
    std::size_t probe_at_ = 0;
    std::vector<float> x_;
    std::vector<std::int8_t> q_;
    std::vector<float> scale_;
    std::vector<std::int32_t> init_;
    std::vector<float> sum_;
    std::vector<float> y_;
    QuantisedActivations acts_{};
};

} // namespace

int main(int argc, char** argv) {
    std::map<std::string, std::string> o{
        {"isa", ""},     {"format", "q8_0,affine8_bf16"}, {"k", "5120"},      {"m", "17408"},
        {"layers", "4"}, {"n", "1,4,8,16,32,128,512"},    {"threads", "1,2"}, {"secs", "1.0"},
        {"json", "0"}};
    for (int i = 1; i < argc; ++i) {
        const std::string arg = argv[i];
        const std::size_t eq = arg.find('=');
        if (eq == std::string::npos || !o.contains(arg.substr(0, eq))) {
            std::fprintf(stderr,
                         "unknown argument %s; see the head of bench/micro/kernels_bench.cpp\n",
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
    for (const std::string& name : split(o["format"])) {
        const Shape shape{name == "q8_0" ? WeightFormat::q8_0 : WeightFormat::affine8_bf16,
                          std::atoll(o["k"].c_str()), std::atoll(o["m"].c_str()),
                          std::atoi(o["layers"].c_str())};
        const std::uint8_t* weights = make_weights(*table, shape);
        Bench bench(*table, shape, weights, probe_data);
        for (const std::string& threads : split(o["threads"])) {
            for (const std::string& n : split(o["n"])) {
                const Row r = bench.run(std::atoi(threads.c_str()), std::atoll(n.c_str()),
                                        std::atof(o["secs"].c_str()));
                const char* line =
                    o["json"] == "1"
                        ? "{\"isa\":\"%s\",\"format\":\"%s\",\"k\":%lld,\"m\":%lld,\"threads\":%s,"
                          "\"n\":%s,"
                          "\"gb_per_s\":%.2f,\"gops\":%.1f,\"read_roof_gb_per_s\":%.2f,"
                          "\"dot_roof_gops\":%.1f,\"roof_ratio\":%.3f,\"roof_ratio_best\":%.3f,"
                          "\"kept\":%d,\"dropped\":%d}\n"
                        : "%-10s %-13s k=%-5lld m=%-5lld threads=%s n=%-4s %7.2f GB/s %8.1f GOPS | "
                          "roofs "
                          "%6.2f GB/s %7.1f GOPS | ratio %.3f (best %.3f), %d kept, %d dropped\n";
                std::printf(line, table->isa, name.c_str(), static_cast<long long>(shape.k),
                            static_cast<long long>(shape.m), threads.c_str(), n.c_str(), r.gb_per_s,
                            r.gops, r.read_roof, r.dot_roof, r.ratio, r.best, r.kept, r.dropped);
                std::fflush(stdout);
            }
        }
    }
    return 0;
}
