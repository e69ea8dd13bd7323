#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <bloom/base/check.hpp>
#include <bloom/engine/sampler.hpp>

namespace bloom::engine {
namespace {

using Candidate = SamplerScratch::Candidate;

/// Order of candidates: larger logit first, lower id among equals.
bool before(const Candidate& a, const Candidate& b) noexcept {
    return a.z != b.z ? a.z > b.z : a.token < b.token;
}

std::uint64_t mix(std::uint64_t z) noexcept {
    z += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

std::int32_t argmax(std::span<const float> logits) noexcept {
    std::size_t best = 0;
    float top = -std::numeric_limits<float>::infinity();
    for (std::size_t i = 0; i < logits.size(); ++i) {
        if (logits[i] > top) {
            top = logits[i];
            best = i;
        }
    }
    return static_cast<std::int32_t>(best);
}

} // namespace

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
    plain_greedy_ = options.temperature <= 0.0F && !counts_needed_ && options.logit_bias.empty();
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

void Sampler::keep_top_k(std::vector<Candidate>& candidates) const {
    const auto k = static_cast<std::size_t>(options_.top_k);
    if (options_.top_k <= 0 || k >= candidates.size()) return;
    std::nth_element(candidates.begin(), candidates.begin() + options_.top_k - 1, candidates.end(),
                     before);
    candidates.resize(k);
}

/// Sorts as many of the largest as it takes to reach top_p of the total, and keeps those.
void Sampler::keep_top_p(SamplerScratch& scratch, double max, double total) const {
    auto& all = scratch.candidates;
    const double wanted = static_cast<double>(options_.top_p) * total;
    std::size_t sorted = 0;
    double sum = 0.0;
    // A few hundred hold nearly everything as a rule; each further round costs four times more.
    for (std::size_t size = 256;; size *= 4) {
        const std::size_t upto = std::min(size, all.size());
        const auto from = all.begin() + static_cast<std::ptrdiff_t>(sorted);
        const auto to = all.begin() + static_cast<std::ptrdiff_t>(upto);
        if (upto < all.size()) std::nth_element(from, to, all.end(), before);
        std::sort(from, to, before);
        for (; sorted < upto; ++sorted) {
            sum += std::exp(all[sorted].z - max);
            if (sum >= wanted) {
                all.resize(sorted + 1);
                return;
            }
        }
        if (upto == all.size()) return;
    }
}

std::int32_t Sampler::sample(std::span<const float> all, std::int32_t n_valid,
                             SamplerScratch& scratch) const {
    BLOOM_CHECK(n_valid > 0);
    BLOOM_CHECK(static_cast<std::size_t>(n_valid) <= all.size());
    std::span<const float> logits = all.first(static_cast<std::size_t>(n_valid));
    if (counts_needed_ || !options_.logit_bias.empty()) {
        scratch.logits.assign(logits.begin(), logits.end());
        adjust(scratch.logits);
        logits = scratch.logits;
    }
    const std::int32_t best = argmax(logits);
    const auto top = static_cast<double>(logits[static_cast<std::size_t>(best)]);
    // Nothing to weigh where the largest logit is no number.
    if (options_.temperature <= 0.0F || !std::isfinite(top)) return best;

    const double scale = 1.0 / static_cast<double>(options_.temperature);
    auto& kept = scratch.candidates;
    kept.clear();
    for (std::int32_t i = 0; i < n_valid; ++i) {
        const auto z = static_cast<double>(logits[static_cast<std::size_t>(i)]) * scale;
        if (z > -std::numeric_limits<double>::infinity()) kept.push_back({z, i}); // no NaN either
    }
    const double max = top * scale;
    const bool cut = options_.top_k > 0 || options_.top_p < 1.0F;
    keep_top_k(kept);
    if (options_.top_p < 1.0F) {
        if (options_.top_k > 0) std::sort(kept.begin(), kept.end(), before);
        double total = 0.0;
        for (const Candidate& c : kept)
            total += std::exp(c.z - max);
        keep_top_p(scratch, max, total);
    } else if (cut) {
        std::sort(kept.begin(), kept.end(), before);
    }
    auto& weights = scratch.weights;
    weights.clear();
    double total = 0.0;
    for (const Candidate& c : kept) {
        double w = std::exp(c.z - max); // the largest weighs 1
        if (w < static_cast<double>(options_.min_p)) w = 0.0;
        total += w;
        weights.push_back(w);
    }
    const double target = draw_uniform(seed_, choice_, n_accepted_) * total;
    double sum = 0.0;
    std::int32_t last = best;
    for (std::size_t i = 0; i < kept.size(); ++i) {
        if (weights[i] == 0.0) continue;
        sum += weights[i];
        last = kept[i].token;
        if (sum > target) break;
    }
    return last;
}

} // namespace bloom::engine
