#pragma once

#include <array>
#include <cstdint>

namespace bloom::engine {

/// What a step consists of, as far as its time depends on it.
struct StepLoad {
    std::int32_t decode_rows = 0;  ///< of running streams, drafts included
    std::int32_t prefill_rows = 0; ///< of prompts
    std::int64_t context = 0;      ///< positions attended to, summed over all rows

    /// Rows at positions [begin, end) of one sequence.
    void add_rows(std::int32_t begin, std::int32_t end, bool prefill) noexcept;
};

/// Learns online how long steps take:
///   time = a + b * decode rows + c * prompt rows + d * context, none of them negative.
/// Least squares of relative errors over a window that fades. Steps with and without prompt rows
/// fade on their own, so that long times without prompts do not forget what prompts cost. A
/// measurement far from the prediction counts as less far, so that single hiccups move little;
/// several in a row mean that the machine has changed, and the past is forgotten.
/// Time comes from the caller; the same observations give the same model.
/// Thread: one. Cost: an observation is a few hundred operations; no allocation.
class CostModel {
public:
    /// A step of this load took so long. Times of 0 or less say nothing.
    void observe(const StepLoad& load, std::int64_t elapsed_us) noexcept;

    /// Whether both kinds of steps have been seen often enough.
    bool ready() const noexcept;

    /// Whether steps of streams alone have been. What rows cost shows once their number varies;
    /// until then they seem to cost nothing.
    bool knows_streams() const noexcept;

    double predict_us(const StepLoad& load) const noexcept;

    /// What 99 of 100 steps with prompt rows stay under.
    double cautious_us(const StepLoad& load) const noexcept { return margin_ * predict_us(load); }

    /// What one more row of a running stream costs.
    double decode_row_us() const noexcept;

    double margin() const noexcept { return margin_; }

private:
    static constexpr std::size_t kTerms = 4;
    using Terms = std::array<double, kTerms>;

    /// Fading sums of the normal equations.
    struct Sums {
        std::array<Terms, kTerms> xx{};
        Terms xt{};
        std::int64_t n = 0;

        void add(const Terms& x, double t, double weight) noexcept;
        void fade(double keep) noexcept;
    };

    static Terms terms_of(const StepLoad& load) noexcept;
    double dot(const Terms& x) const noexcept;
    void solve() noexcept;

    Sums decode_;  ///< steps without prompt rows
    Sums prefill_; ///< steps with them
    Terms cost_{};
    double margin_ = 1.15;
    int n_surprises_ = 0; ///< steps in a row far from what was expected, all on one side
};

} // namespace bloom::engine
