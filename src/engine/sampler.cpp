#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/kernel_table.hpp"
#include <bloom/base/check.hpp>
#include <bloom/engine/sampler.hpp>

namespace bloom::engine {
namespace {

using Candidate = SamplerScratch::Candidate;

/// Up to this many the kernels keep in a heap; beyond it, buckets of everything are cheaper.
constexpr std::int32_t kHeapTopK = 1024;
/// Buckets by logit: of a few thousand candidates each gets a few dozen.
constexpr std::size_t kBuckets = 256;
/// Share of small tokens that top_p supposes at first, see gather_nucleus, and how many times more
/// it does next. An eighth is right for normally distributed logits whose nucleus has thousands.
constexpr double kSmallShare = 0.125;
constexpr double kMoreSmall = 4;
/// More than the error of a weight whose logarithm is above -104: below that it is zero.
constexpr double kLogSlack = 1e-4;
constexpr std::size_t kFirstRoom = 4096;

std::uint64_t mix(std::uint64_t z) noexcept {
    z += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/// All bits of four floats, by a nibble of a mask.
constexpr auto kNibbles = [] {
    std::array<std::array<std::uint32_t, 4>, 16> out{};
    for (std::size_t nibble = 0; nibble < out.size(); ++nibble) {
        for (std::size_t i = 0; i < 4; ++i)
            out[nibble][i] = ((nibble >> i) & 1) != 0 ? 0xffff'ffffU : 0;
    }
    return out;
}();

/// Four logits, -infinity where their bit is not set. The compiler makes one vector of it.
void forbid_four(float* logits, std::uint64_t bits) noexcept {
    constexpr auto kForbidden =
        std::bit_cast<std::uint32_t>(-std::numeric_limits<float>::infinity());
    const std::array<std::uint32_t, 4>& keep = kNibbles[bits & 15];
    std::uint32_t values[4];
    std::memcpy(values, logits, sizeof values);
    for (std::size_t i = 0; i < 4; ++i)
        values[i] = (values[i] & keep[i]) | (kForbidden & ~keep[i]);
    std::memcpy(logits, values, sizeof values);
}

bool allows(std::span<const std::uint64_t> mask, std::size_t token) noexcept {
    return token / 64 < mask.size() && ((mask[token / 64] >> (token % 64)) & 1) != 0;
}

/// -infinity for everything that the mask leaves out, whatever its logit.
void forbid(std::span<float> logits, std::span<const std::uint64_t> mask) noexcept {
    constexpr float kForbidden = -std::numeric_limits<float>::infinity();
    for (std::size_t first = 0; first < logits.size(); first += 64) {
        const std::span<float> part =
            logits.subspan(first, std::min<std::size_t>(64, logits.size() - first));
        const std::uint64_t bits = first / 64 < mask.size() ? mask[first / 64] : 0;
        if (bits == ~std::uint64_t{0}) continue;
        if (bits == 0) {
            std::ranges::fill(part, kForbidden);
            continue;
        }
        std::size_t i = 0;
        for (; i + 4 <= part.size(); i += 4)
            forbid_four(&part[i], bits >> i);
        for (; i < part.size(); ++i)
            part[i] = ((bits >> i) & 1) != 0 ? part[i] : kForbidden;
    }
}

/// Gives what the likeliest end weighs to the token that stands for it.
void end_otherwise(std::span<float> logits, const Allowed& allowed) noexcept {
    const auto n = static_cast<std::int32_t>(logits.size());
    if (allowed.instead_of_end >= n) return;
    float& logit = logits[static_cast<std::size_t>(allowed.instead_of_end)];
    for (const std::int32_t end : allowed.ends) {
        if (end < n) logit = std::fmax(logit, logits[static_cast<std::size_t>(end)]);
    }
}

/// The first token that a mask allows, -1 for none.
std::int32_t first_allowed(std::span<const std::uint64_t> mask, std::int32_t n_valid) noexcept {
    for (std::size_t w = 0; w < mask.size(); ++w) {
        if (mask[w] == 0) continue;
        const auto token = static_cast<std::int32_t>(64 * w) +
                           static_cast<std::int32_t>(std::countr_zero(mask[w]));
        return token < n_valid ? token : -1;
    }
    return -1;
}

/// One row of logits on its way to a token.
struct Row {
    const kernels::KernelTable& table;
    const float* logits;
    std::int64_t n;
    float largest;
    float scale; ///< 1 / temperature
    SamplerScratch& scratch;
};

template <class T>
void make_room(std::vector<T>& v, std::size_t n) {
    if (v.size() < n) v.resize(std::bit_ceil(n));
}

/// Fills ids and values with every token whose logit is at least `threshold`, by id.
std::size_t gather(const Row& row, float threshold) {
    SamplerScratch& s = row.scratch;
    make_room(s.ids, kFirstRoom);
    make_room(s.values, kFirstRoom);
    for (;;) {
        const std::size_t room = std::min(s.ids.size(), s.values.size());
        const auto found = static_cast<std::size_t>(
            row.table.select_at_least(row.logits, row.n, threshold, static_cast<std::int64_t>(room),
                                      s.ids.data(), s.values.data()));
        if (found <= room) return found;
        make_room(s.ids, found);
        make_room(s.values, found);
    }
}

/// The same with every token whose weight is at least `weight`; perhaps a few more.
std::size_t gather_heavier(const Row& row, double weight) {
    const double log = std::max(std::log(std::min(weight, 1.0)), -105.0) - kLogSlack;
    const double threshold =
        static_cast<double>(row.largest) + log / static_cast<double>(row.scale);
    // Rounding to f32 may not raise it; what lies below every f32 is no token.
    constexpr double kLowest = static_cast<double>(std::numeric_limits<float>::lowest());
    return gather(row, std::nextafterf(static_cast<float>(std::max(threshold, kLowest)),
                                       std::numeric_limits<float>::lowest()));
}

/// Weights of the first n values.
void weigh(const Row& row, std::size_t n) {
    SamplerScratch& s = row.scratch;
    make_room(s.weights, n);
    row.table.softmax_weights(s.values.data(), static_cast<std::int64_t>(n), row.largest, row.scale,
                              s.weights.data());
}

/// Four sums that take weights in turn, so that no addition waits for the one before.
double sum_of(std::span<const float> weights) noexcept {
    double sums[4] = {};
    std::size_t i = 0;
    for (; i + 4 <= weights.size(); i += 4) {
        for (std::size_t j = 0; j < 4; ++j)
            sums[j] += static_cast<double>(weights[i + j]);
    }
    for (; i < weights.size(); ++i)
        sums[0] += static_cast<double>(weights[i]);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// Sums of all weights by block into `sums`; returns their total.
double weigh_all(const Row& row) {
    SamplerScratch& s = row.scratch;
    const auto blocks =
        static_cast<std::size_t>((row.n + kernels::kSoftmaxBlock - 1) / kernels::kSoftmaxBlock);
    s.sums.resize(blocks);
    row.table.softmax_sums(row.logits, row.n, row.largest, row.scale, s.sums.data());
    double total = 0.0;
    for (const double sum : s.sums)
        total += sum;
    return total;
}

/// Index of the weight with which the running sum, `sum` before the first, passes `target`; the
/// last that weighs anything where rounding keeps the sum from it.
std::size_t pick(std::span<const float> weights, double sum, double target) noexcept {
    std::size_t last = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] == 0.0F) continue;
        sum += static_cast<double>(weights[i]);
        last = i;
        if (sum > target) break;
    }
    return last;
}

/// Where a running sum of `sums` passes `target`, and the sum before it; the last that is not zero
/// where rounding keeps the sum from it.
struct Passing {
    std::size_t block = 0;
    double before = 0.0;
};

Passing pass(std::span<const double> sums, double target) noexcept {
    Passing p;
    double sum = 0.0;
    for (std::size_t b = 0; b < sums.size(); ++b) {
        if (sums[b] == 0.0) continue;
        p = {b, sum};
        sum += sums[b];
        if (sum > target) break;
    }
    return p;
}

/// Any token: the sums lead to a block, its weights to the token.
std::int32_t draw_any(const Row& row, double u) {
    SamplerScratch& s = row.scratch;
    const double target = u * weigh_all(row);
    const auto [block, before] = pass(s.sums, target);
    const auto first = static_cast<std::int64_t>(block) * kernels::kSoftmaxBlock;
    const std::int64_t n = std::min<std::int64_t>(row.n - first, kernels::kSoftmaxBlock);
    make_room(s.weights, static_cast<std::size_t>(n));
    row.table.softmax_weights(row.logits + first, n, row.largest, row.scale, s.weights.data());
    const std::span<const float> weights(s.weights.data(), static_cast<std::size_t>(n));
    return static_cast<std::int32_t>(first +
                                     static_cast<std::int64_t>(pick(weights, before, target)));
}

/// One of the tokens that weigh at least min_p.
std::int32_t draw_min_p(const Row& row, float min_p, double u) {
    SamplerScratch& s = row.scratch;
    const std::size_t n = gather_heavier(row, static_cast<double>(min_p));
    weigh(row, n);
    const std::span<float> weights(s.weights.data(), n);
    for (float& w : weights)
        w = w < min_p ? 0.0F : w;
    return s.ids[pick(weights, 0.0, u * sum_of(weights))];
}

/// Candidates in buckets of falling logits. Only buckets in which something is decided are put in
/// order; the others count as a whole.
class Ranking {
public:
    /// The first n of ids, values and weights; sorted already or not.
    Ranking(SamplerScratch& scratch, std::size_t n, float largest, bool sorted);

    void keep_count(std::size_t k);
    /// Keeps the shortest front that weighs at least `wanted`.
    void keep_weight(double wanted);
    double weight() const noexcept;
    std::int32_t draw(float min_p, double u);

private:
    std::span<Candidate> bucket(std::size_t b) const noexcept {
        const std::size_t begin = b == 0 ? 0 : s_.ends[b - 1];
        return std::span(s_.candidates).subspan(begin, s_.ends[b] - begin);
    }

    /// Drops what follows candidate `n_kept` - 1, which bucket b holds.
    void end_in(std::size_t b, std::size_t n_kept);

    static double weight_of(std::span<const Candidate> part) noexcept {
        double sum = 0.0;
        for (const Candidate& c : part)
            sum += static_cast<double>(c.weight);
        return sum;
    }

    static void sort(std::span<Candidate> part) {
        const auto before = [](const Candidate& a, const Candidate& b) {
            return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
        };
        if (!std::is_sorted(part.begin(), part.end(), before))
            std::sort(part.begin(), part.end(), before);
    }

    SamplerScratch& s_; ///< ends and sums: where each bucket ends and what it weighs
};

Ranking::Ranking(SamplerScratch& scratch, std::size_t n, float largest, bool sorted) : s_(scratch) {
    make_room(s_.candidates, n);
    if (sorted) {
        for (std::size_t i = 0; i < n; ++i)
            s_.candidates[i] = {s_.values[i], s_.weights[i], s_.ids[i]};
        s_.ends.assign(1, static_cast<std::uint32_t>(n));
        s_.sums.assign(1, weight_of(std::span(s_.candidates).first(n)));
        return;
    }
    float smallest = largest;
    for (std::size_t i = 0; i < n; ++i)
        smallest = std::min(smallest, s_.values[i]);
    // In f64 no difference of two f32 overflows.
    const double top = static_cast<double>(largest);
    const double range = top - static_cast<double>(smallest);
    const double per_unit = range > 0.0 ? static_cast<double>(kBuckets) / range : 0.0;
    const auto bucket_of = [&](float logit) {
        const auto b = static_cast<std::int32_t>((top - static_cast<double>(logit)) * per_unit);
        return std::min(static_cast<std::size_t>(b), kBuckets - 1);
    };
    s_.ends.assign(kBuckets, 0);
    s_.sums.assign(kBuckets, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t b = bucket_of(s_.values[i]);
        ++s_.ends[b];
        s_.sums[b] += static_cast<double>(s_.weights[i]);
    }
    std::uint32_t begin = 0;
    for (std::uint32_t& end : s_.ends) // for now where the bucket's next candidate goes
        begin += std::exchange(end, begin);
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t at = s_.ends[bucket_of(s_.values[i])]++;
        s_.candidates[at] = {s_.values[i], s_.weights[i], s_.ids[i]};
    }
}

void Ranking::end_in(std::size_t b, std::size_t n_kept) {
    s_.ends.resize(b + 1);
    s_.sums.resize(b + 1);
    s_.ends[b] = static_cast<std::uint32_t>(n_kept);
    s_.sums[b] = weight_of(bucket(b));
}

void Ranking::keep_count(std::size_t k) {
    if (k >= s_.ends.back()) return;
    const auto b = static_cast<std::size_t>(std::upper_bound(s_.ends.begin(), s_.ends.end(), k) -
                                            s_.ends.begin());
    sort(bucket(b));
    end_in(b, k);
}

void Ranking::keep_weight(double wanted) {
    double sum = 0.0;
    for (std::size_t b = 0; b < s_.ends.size(); ++b) {
        const std::span<Candidate> part = bucket(b);
        if (sum + s_.sums[b] < wanted || part.empty()) {
            sum += s_.sums[b];
            continue;
        }
        sort(part);
        auto last = part.begin();
        sum += static_cast<double>(last->weight);
        while (sum < wanted && last + 1 != part.end()) {
            ++last;
            sum += static_cast<double>(last->weight);
        }
        end_in(b, static_cast<std::size_t>(&*last - s_.candidates.data()) + 1);
        return;
    }
}

double Ranking::weight() const noexcept {
    double sum = 0.0;
    for (const double part : s_.sums)
        sum += part;
    return sum;
}

std::int32_t Ranking::draw(float min_p, double u) {
    if (min_p > 0.0F) {
        for (std::size_t b = 0; b < s_.ends.size(); ++b) {
            for (Candidate& c : bucket(b))
                c.weight = c.weight < min_p ? 0.0F : c.weight;
            s_.sums[b] = weight_of(bucket(b));
        }
    }
    const double target = u * weight();
    const Passing passing = pass(s_.sums, target);
    const std::span<Candidate> part = bucket(passing.block);
    sort(part);
    double sum = passing.before;
    std::int32_t token = part.front().token;
    for (const Candidate& c : part) {
        if (c.weight == 0.0F) continue;
        sum += static_cast<double>(c.weight);
        token = c.token;
        if (sum > target) break;
    }
    return token;
}

/// Gathers and weighs enough tokens to hold top_p of the total; `wanted` becomes that much.
std::size_t gather_nucleus(const Row& row, double top_p, double* wanted) {
    const double total = weigh_all(row);
    const double rest = (1.0 - top_p) * total;
    *wanted = top_p * total;
    // Tokens lighter than rest / n hold less than the rest together, however many there are. That
    // takes in thousands that do not matter; so first as if there were few such tokens, and what
    // was found tells whether that was enough.
    const auto most = static_cast<double>(row.n);
    for (double supposed = kSmallShare * most;; supposed *= kMoreSmall) {
        const std::size_t n = gather_heavier(row, rest / std::min(supposed, most));
        weigh(row, n);
        if (supposed >= most || sum_of({row.scratch.weights.data(), n}) >= *wanted) return n;
    }
}

} // namespace

SamplerScratch::SamplerScratch()
    : SamplerScratch(*kernels::select_table(kernels::detect_cpu_features(), nullptr)) {}

double draw_uniform(std::uint64_t seed, std::uint32_t choice, std::uint64_t n) noexcept {
    // Two rounds, so that neighbouring seeds, choices and numbers have nothing in common.
    const std::uint64_t key = mix(mix(seed) ^ (std::uint64_t{choice} + 1) * 0xd1342543de82ef95U);
    return static_cast<double>(mix(key ^ mix(n)) >> 11) * 0x1.0p-53;
}

void TokenCounts::reserve(std::size_t n_tokens) {
    const std::size_t capacity = std::bit_ceil(n_tokens * 2 + 16);
    if (capacity > entries_.size()) grow(capacity);
}

void TokenCounts::grow(std::size_t capacity) {
    std::vector<Entry> old(capacity);
    old.swap(entries_);
    used_ = 0;
    for (const Entry& e : old) {
        if (e.token >= 0) entry(e.token).in_output = e.in_output;
    }
}

TokenCounts::Entry& TokenCounts::entry(std::int32_t token) {
    BLOOM_CHECK(token >= 0);
    if ((used_ + 1) * 2 > entries_.size()) grow(std::max<std::size_t>(entries_.size() * 2, 64));
    const std::size_t mask = entries_.size() - 1;
    std::size_t at = mix(static_cast<std::uint64_t>(token)) & mask;
    while (entries_[at].token >= 0 && entries_[at].token != token)
        at = (at + 1) & mask;
    if (entries_[at].token < 0) {
        entries_[at].token = token;
        ++used_;
    }
    return entries_[at];
}

Sampler::Sampler(const gen::Sampling& options, std::uint64_t seed, std::uint32_t choice)
    : options_(options), seed_(seed), choice_(choice) {
    counts_needed_ = options.presence_penalty != 0.0F || options.frequency_penalty != 0.0F ||
                     options.repetition_penalty != 1.0F;
    plain_greedy_ = options.temperature <= 0.0F && !counts_needed_ && options.logit_bias.empty() &&
                    !options.logprobs;
}

void Sampler::observe_prompt(std::span<const std::int32_t> tokens) {
    if (!counts_needed_) return;
    for (const std::int32_t t : tokens)
        counts_.add_prompt(t);
}

void Sampler::accept(std::int32_t token) {
    ++n_accepted_;
    if (counts_needed_) counts_.add_output(token);
}

void Sampler::adjust(std::span<float> logits) const {
    for (const gen::LogitBias& b : options_.logit_bias) {
        if (b.token >= 0 && static_cast<std::size_t>(b.token) < logits.size()) {
            logits[static_cast<std::size_t>(b.token)] += b.bias;
        }
    }
    if (!counts_needed_) return;
    for (const TokenCounts::Entry& e : counts_.entries()) {
        if (e.token < 0 || static_cast<std::size_t>(e.token) >= logits.size()) continue;
        float& l = logits[static_cast<std::size_t>(e.token)];
        l = l > 0.0F ? l / options_.repetition_penalty : l * options_.repetition_penalty;
        if (e.in_output == 0) continue;
        l -= options_.frequency_penalty * static_cast<float>(e.in_output) +
             options_.presence_penalty;
    }
}

std::int32_t Sampler::sample(std::span<const float> all, std::int32_t n_valid,
                             SamplerScratch& scratch, const Allowed& allowed,
                             DrawnLogprobs* told) const {
    const std::span<const std::uint64_t> mask = allowed.mask;
    BLOOM_CHECK(n_valid > 0);
    BLOOM_CHECK(static_cast<std::size_t>(n_valid) <= all.size());
    std::span<const float> logits = all.first(static_cast<std::size_t>(n_valid));
    if (counts_needed_ || !options_.logit_bias.empty() || !mask.empty()) {
        scratch.logits.assign(logits.begin(), logits.end());
        adjust(scratch.logits);
        if (allowed.instead_of_end >= 0) end_otherwise(scratch.logits, allowed);
        if (!mask.empty()) forbid(scratch.logits, mask);
        logits = scratch.logits;
    }
    std::int32_t token = draw(logits, scratch);
    if (!mask.empty() && !allows(mask, static_cast<std::size_t>(token)))
        token = first_allowed(mask, n_valid);
    if (told != nullptr && options_.logprobs && token >= 0) tell(logits, token, scratch, *told);
    return token;
}

/// The largest logits are the likeliest tokens: the row is ranked as it is.
void Sampler::tell(std::span<const float> logits, std::int32_t token, const SamplerScratch& scratch,
                   DrawnLogprobs& told) const {
    const auto n = static_cast<std::int64_t>(logits.size());
    float largest = 0;
    double sum = 0;
    scratch.table->softmax_stats(logits.data(), n, &largest, &sum);
    const double log_sum = static_cast<double>(largest) + std::log(sum);
    const auto logprob = [&](float logit) {
        const double p = static_cast<double>(logit) - log_sum;
        // Neither bound nor NaN leaves: a row may be anything.
        return p > static_cast<double>(kLeastLogprob) ? static_cast<float>(std::min(p, 0.0))
                                                      : kLeastLogprob;
    };
    told.logprob = logprob(logits[static_cast<std::size_t>(token)]);
    told.n_top = 0;
    const std::int32_t wanted = std::clamp(options_.top_logprobs, 0, kMaxTopLogprobs);
    if (wanted == 0) return;
    std::array<float, kMaxTopLogprobs> values{};
    told.n_top = static_cast<std::int32_t>(scratch.table->top_k(
        logits.data(), n, std::min<std::int64_t>(wanted, n), told.ids.data(), values.data()));
    for (std::size_t i = 0; i < static_cast<std::size_t>(told.n_top); ++i)
        told.logprobs[i] = logprob(values[i]);
}

std::int32_t Sampler::draw(std::span<const float> logits, SamplerScratch& scratch) const {
    const auto n_valid = static_cast<std::int32_t>(logits.size());
    const kernels::KernelTable& table = *scratch.table;
    const std::int64_t best = table.argmax(logits.data(), n_valid);
    const float largest = logits[static_cast<std::size_t>(best)];
    // Nothing to weigh where the largest logit is no number.
    if (options_.temperature <= 0.0F || !std::isfinite(largest) || options_.min_p > 1.0F) {
        return static_cast<std::int32_t>(best);
    }
    const float scale = std::min(1.0F / options_.temperature, std::numeric_limits<float>::max());
    const Row row{table, logits.data(), n_valid, largest, scale, scratch};
    const double u = draw_uniform(seed_, choice_, n_accepted_);
    const bool by_weight = options_.top_p < 1.0F;
    if (options_.top_k <= 0 && !by_weight) {
        return options_.min_p > 0.0F ? draw_min_p(row, options_.min_p, u) : draw_any(row, u);
    }
    const auto top_p = static_cast<double>(options_.top_p);
    if (options_.top_k <= 0) {
        double wanted = 0.0;
        const std::size_t n = gather_nucleus(row, top_p, &wanted);
        Ranking ranking(scratch, n, largest, false);
        ranking.keep_weight(wanted);
        return ranking.draw(options_.min_p, u);
    }
    const std::int32_t k = std::min(options_.top_k, n_valid);
    const bool heap = k <= kHeapTopK;
    std::size_t n = 0;
    if (heap) {
        make_room(scratch.ids, kHeapTopK);
        make_room(scratch.values, kHeapTopK);
        n = static_cast<std::size_t>(
            table.top_k(row.logits, row.n, k, scratch.ids.data(), scratch.values.data()));
    } else {
        n = gather(row, std::numeric_limits<float>::lowest());
    }
    weigh(row, n);
    Ranking ranking(scratch, n, largest, heap);
    ranking.keep_count(static_cast<std::size_t>(k));
    if (by_weight) ranking.keep_weight(top_p * ranking.weight());
    return ranking.draw(options_.min_p, u);
}

} // namespace bloom::engine
