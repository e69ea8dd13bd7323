#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include "compute/cpu/limits.hpp"
#include "support/counts_allocations.hpp"
#include "unit/compute/delta_model.hpp"
#include "unit/compute/small_step.hpp"

#if BLOOM_TEST_COUNTS_ALLOCATIONS
namespace {

std::atomic<bool> g_counting{false};
std::atomic<int> g_allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
    if (g_counting.load(std::memory_order_relaxed))
        g_allocations.fetch_add(1, std::memory_order_relaxed);
    void* const at =
        alignment <= alignof(std::max_align_t)
            ? std::malloc(bytes)
            : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (at == nullptr) throw std::bad_alloc();
    return at;
}

} // namespace

// Every allocation of this program, on whichever thread, passes here.
void* operator new(std::size_t bytes) {
    return counted(std::max<std::size_t>(bytes, 1), 1);
}

void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted(std::max<std::size_t>(bytes, 1), static_cast<std::size_t>(alignment));
}

void operator delete(void* at) noexcept {
    std::free(at);
}

void operator delete(void* at, std::size_t) noexcept {
    std::free(at);
}

void operator delete(void* at, std::align_val_t) noexcept {
    std::free(at);
}

void operator delete(void* at, std::size_t, std::align_val_t) noexcept {
    std::free(at);
}
#endif

namespace bloom::compute {
namespace {

using test::SmallModel;

const kernels::KernelTable& fastest() {
    return *kernels::select_table(kernels::detect_cpu_features(), nullptr);
}

/// All workers in falling order: shows a worker that reads, within a phase, what a lower one
/// writes in it. Counts phases.
class BackwardTeam final : public Team {
public:
    explicit BackwardTeam(int size) : size_(size) {}

    int size() const noexcept override { return size_; }

    void run(FunctionRef<void(int worker)> work) override {
        ++n_runs;
        for (int w = size_; w-- > 0;)
            work(w);
    }

    void run_phases(std::int32_t n_phases,
                    FunctionRef<void(std::int32_t phase, int worker)> work) override {
        phases += n_phases;
        Team::run_phases(n_phases, work);
    }

    std::int32_t phases = 0;
    std::int32_t n_runs = 0;

private:
    int size_;
};

std::vector<float> all_logits(Backend& backend, std::int32_t n) {
    std::vector<float> out;
    for (std::int32_t r = 0; r < n; ++r) {
        const auto row = backend.read_logits(r);
        out.insert(out.end(), row.begin(), row.end());
    }
    return out;
}

/// Logits of a prompt of 7, then of two steps of one row, for `n_seqs` sequences.
std::vector<float> conversation(Team& team, bool fuse, std::int32_t n_seqs) {
    SmallModel model({&fastest(), &team, false, fuse}, {}, n_seqs);
    Backend& backend = model.backend();
    const auto prefill = backend.compile(model.plan({Phase::prefill, n_seqs * 7, n_seqs}));
    const auto decode = backend.compile(model.plan({Phase::decode, n_seqs, n_seqs}));
    EXPECT_TRUE(prefill && decode);
    std::vector<float> out;
    for (const auto& [plan, past, rows] :
         {std::tuple{*prefill, 0, 7}, std::tuple{*decode, 7, 1}, std::tuple{*decode, 8, 1}}) {
        EXPECT_TRUE(model.run(plan, n_seqs, past, rows));
        const auto logits = all_logits(backend, n_seqs);
        out.insert(out.end(), logits.begin(), logits.end());
    }
    return out;
}

TEST(Step, FusionWorkersAndTheirOrderChangeNoBit) {
    for (const std::int32_t n_seqs : {1, 4, 5}) { // around what every worker prepares for itself
        SerialTeam one;
        const auto want = conversation(one, false, n_seqs);
        EXPECT_TRUE(std::ranges::all_of(want, [](float v) { return std::isfinite(v); }));
        for (const int workers : {1, 2, 3, 7}) {
            SerialTeam forward(workers);
            BackwardTeam backward(workers);
            SpinTeam threads(workers);
            EXPECT_EQ(want, conversation(forward, true, n_seqs)) << n_seqs << " " << workers;
            EXPECT_EQ(want, conversation(backward, true, n_seqs)) << n_seqs << " " << workers;
            EXPECT_EQ(want, conversation(backward, false, n_seqs)) << n_seqs << " " << workers;
            EXPECT_EQ(want, conversation(threads, true, n_seqs)) << n_seqs << " " << workers;
        }
    }
}

TEST(Step, DecodeTakesFivePhasesALayerAndOneForTheHead) {
    BackwardTeam team(2);
    SmallModel model({&fastest(), &team, false, true}, {}, 3);
    const auto plan = model.backend().compile(model.plan({Phase::decode, 3, 3}));
    ASSERT_TRUE(plan);
    team.phases = 0;
    ASSERT_TRUE(model.run(*plan, 3, 0, 1));
    EXPECT_EQ(team.phases, 5 * model.shape().n_layers + 1);
}

TEST(Step, AllocatesNothing) {
#if BLOOM_TEST_COUNTS_ALLOCATIONS
    SpinTeam team(3);
    SmallModel model({&fastest(), &team, false, true}, {.vocab = 20'000}, 6);
    Backend& backend = model.backend();
    const auto decode = backend.compile(model.plan({Phase::decode, 6, 6}));
    const auto prefill = backend.compile(model.plan({Phase::prefill, 48, 6}));
    ASSERT_TRUE(decode && prefill);
    const std::vector<std::int32_t> rows{0, 1, 2, 3, 4, 5};
    std::vector<std::int32_t> chosen(6);
    const auto steps = [&] {
        bool fine = true;
        for (const std::int32_t n_seqs : {1, 6}) {
            fine &= model.run(*prefill, n_seqs, 0, 8).has_value();
            fine &= model.run(*decode, n_seqs, 8, 1).has_value();
            const auto n = static_cast<std::size_t>(n_seqs);
            backend.sample(std::span(rows).first(n), 20'000, std::span(chosen).first(n));
        }
        return fine;
    };
    ASSERT_TRUE(steps()); // the model's own lists of inputs grow here
    g_allocations = 0;
    g_counting = true;
    const bool fine = steps();
    g_counting = false;
    EXPECT_TRUE(fine);
    EXPECT_EQ(g_allocations.load(), 0);
    g_counting = true;
    ::operator delete(::operator new(8)); // called by name, so not left out by the compiler
    g_counting = false;
    EXPECT_EQ(g_allocations.load(), 1) << "the counter counts";
#else
    GTEST_SKIP() << "allocations cannot be counted under a sanitizer";
#endif
}

TEST(Step, DeltaRuleAllocatesNothing) {
#if BLOOM_TEST_COUNTS_ALLOCATIONS
    SpinTeam team(3);
    test::DeltaModel model({&fastest(), &team, false, true}, {}, 4);
    const auto plan = model.backend().compile(model.plan(24));
    ASSERT_TRUE(plan);
    std::vector<test::DeltaPart> parts(3);
    for (std::int32_t i = 0; i < 3; ++i) {
        auto& part = parts[static_cast<std::size_t>(i)];
        part.tokens = {1, 2, 3, 4, 5, 6};
        part.in.slot = i;
        part.in.fresh = true;
        part.in.n_certain = 3;
    }
    parts[0].in.snapshot_slot = 3;
    parts[0].in.snapshot_rows = 2;
    const auto steps = [&] {
        bool fine = true;
        for (const bool fresh : {true, false}) {
            for (auto& part : parts) {
                part.in.fresh = fresh;
                part.in.n_confirmed = fresh ? 0 : 2;
            }
            fine &= model.run(*plan, parts).has_value();
        }
        model.backend().settle_state(0, 3);
        model.backend().copy_state(0, 3);
        return fine;
    };
    ASSERT_TRUE(steps()); // the model's own lists of inputs grow here
    g_allocations = 0;
    g_counting = true;
    const bool fine = steps();
    g_counting = false;
    EXPECT_TRUE(fine);
    EXPECT_EQ(g_allocations.load(), 0);
#else
    GTEST_SKIP() << "allocations cannot be counted under a sanitizer";
#endif
}

TEST(Step, ResultsStayWhileOtherPlansAreMade) {
    SerialTeam team;
    SmallModel model({&fastest(), &team, false, true}, {}, 3);
    Backend& backend = model.backend();
    const auto plan = backend.compile(model.plan({Phase::decode, 3, 3}));
    ASSERT_TRUE(plan);
    ASSERT_TRUE(model.run(*plan, 3, 0, 1));
    const std::vector<std::int32_t> rows{0, 1, 2};
    std::vector<std::int32_t> before(3), after(3);
    backend.sample(rows, 300, before);
    for (int i = 0; i < 40; ++i)
        ASSERT_TRUE(backend.compile(model.plan({Phase::decode, 3, 3})));
    backend.sample(rows, 300, after);
    EXPECT_EQ(after, before);
}

/// Rows of logits that a plan only looks up.
std::vector<std::int32_t> sample_of(Team& team, std::int64_t vocab, std::int32_t n_valid,
                                    std::vector<std::vector<float>> wanted,
                                    std::span<const std::int32_t> rows) {
    std::vector<float> table;
    for (const auto& row : wanted)
        table.insert(table.end(), row.begin(), row.end());
    const auto backend = make_cpu_backend({&fastest(), &team, false, true});
    const auto n = static_cast<std::int32_t>(wanted.size());
    const auto weights = backend->upload_matrix(
        {kernels::WeightFormat::f32, n, vocab, reinterpret_cast<const std::uint8_t*>(table.data()),
         nullptr, nullptr});
    EXPECT_TRUE(weights);
    Plan p({Phase::prefill, n, n});
    const TensorId all = p.tensor(vocab);
    const TensorId logits = p.tensor(vocab, RowKind::logits);
    p.add(EmbedOp{*weights, all});
    p.add(GatherRowsOp{all, logits});
    p.add(LogitsOp{logits});
    const auto plan = backend->compile(p);
    EXPECT_TRUE(plan);
    std::vector<std::int32_t> ids(wanted.size()), zeros(wanted.size(), 0);
    std::iota(ids.begin(), ids.end(), 0);
    EXPECT_TRUE(backend->run(*plan, {ids, ids, zeros, ids, 1, 0, {}}));
    std::vector<std::int32_t> out(rows.size());
    backend->sample(rows, n_valid, out);
    return out;
}

TEST(Sample, WorkersShareTheVocabularyAndAgreeWithOne) {
    constexpr std::int64_t kVocab = 30'011;
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    constexpr float kInf = std::numeric_limits<float>::infinity();
    std::vector<std::vector<float>> logits(6, std::vector<float>(kVocab, -1.0F));
    logits[0][29'000] = 2; // the first of three equals, two in other workers' parts
    logits[0][29'001] = 2;
    logits[0][30'000] = 2;
    logits[1][5] = 1;
    logits[1][20'000] = 1;
    std::ranges::fill(logits[2], kNan);
    logits[2][15'000] = -kInf;
    std::ranges::fill(logits[3], kNan);
    logits[4][30'010] = 9; // beyond the valid ids
    logits[4][30'000] = kNan;
    std::ranges::fill(logits[5], -kInf);
    const std::vector<std::int32_t> rows{0, 1, 2, 3, 4, 5, 0, 2};
    const std::vector<std::int32_t> want{29'000, 5, 15'000, 0, 0, 0, 29'000, 15'000};
    for (const int workers : {1, 2, 3, 16}) {
        SerialTeam team(workers);
        EXPECT_EQ(sample_of(team, kVocab, 30'005, logits, rows), want) << workers;
        EXPECT_EQ(sample_of(team, kVocab, 30'005, logits, std::span(rows).first(1)),
                  std::vector<std::int32_t>{29'000});
    }
}

TEST(PartOf, CoversEveryUnitOnceAndBalancesBytes) {
    struct Product {
        std::int64_t n;
        std::int64_t unit_bytes;
    };

    const std::vector<std::vector<Product>> cases{{{8, 100}, {4, 100}, {4, 100}},
                                                  {{8, 100}, {3, 380}, {1, 100}},
                                                  {{1, 5}},
                                                  {{7, 3}, {0, 9}},
                                                  {{64, 34}, {8, 128}, {8, 34}}};
    for (const auto& products : cases) {
        std::int64_t total = 0;
        std::int64_t largest = 0;
        for (const Product& p : products) {
            total += p.n * p.unit_bytes;
            largest = std::max(largest, p.unit_bytes);
        }
        for (const int workers : {1, 2, 3, 5, 16, 64}) {
            std::vector<std::int64_t> bytes(static_cast<std::size_t>(workers), 0);
            std::int64_t first = 0;
            for (const Product& p : products) {
                std::int64_t at = 0;
                for (int w = 0; w < workers; ++w) {
                    const Range r = cpu::part_of(first, p.n, p.unit_bytes, total, w, workers);
                    ASSERT_EQ(r.begin, at);
                    ASSERT_LE(r.begin, r.end);
                    at = r.end;
                    bytes[static_cast<std::size_t>(w)] += (r.end - r.begin) * p.unit_bytes;
                }
                ASSERT_EQ(at, p.n);
                first += p.n * p.unit_bytes;
            }
            for (const std::int64_t b : bytes)
                EXPECT_LE(b, total / workers + largest + 1) << workers;
        }
    }
}

} // namespace
} // namespace bloom::compute
