#include <algorithm>

#include <bloom/engine/cost_model.hpp>

namespace bloom::engine {
namespace {

/// Units of the terms, so that all of them are about 1 in a common step.
constexpr double kDecodeRows = 8;
constexpr double kPrefillRows = 64;
constexpr double kContext = 65536;

/// What is left of the weight of older steps after one more: windows of about 50 and 10 steps.
constexpr double kKeepDecode = 0.98;
constexpr double kKeepPrefill = 0.9;

constexpr std::int64_t kReadySteps = 8;
constexpr std::int64_t kReadyPrefills = 2;

/// Times further from the prediction than by this factor count as that far; so many in a row on one
/// side leave little of what was learnt.
constexpr double kFar = 2;
constexpr int kChange = 4;
constexpr double kForget = 0.02;

/// Sweeps per observation; the next one goes on where this one stopped.
constexpr int kSweeps = 16;

// The margin follows the 0.99 quantile of measured / predicted: one step above raises it as much as
// 99 steps below lower it.
constexpr double kQuantile = 0.99;
constexpr double kMarginStep = 0.05;
constexpr double kMarginMax = 3.0;

} // namespace

void StepLoad::add_rows(std::int32_t begin, std::int32_t end, bool prefill) noexcept {
    const std::int64_t n = end - begin;
    (prefill ? prefill_rows : decode_rows) += end - begin;
    context += n * begin + n * (n + 1) / 2;
}

void CostModel::Sums::add(const Terms& x, double t, double weight) noexcept {
    for (std::size_t i = 0; i < kTerms; ++i) {
        for (std::size_t j = 0; j < kTerms; ++j)
            xx[i][j] += weight * x[i] * x[j];
        xt[i] += weight * x[i] * t;
    }
    ++n;
}

void CostModel::Sums::fade(double keep) noexcept {
    for (std::size_t i = 0; i < kTerms; ++i) {
        for (double& v : xx[i])
            v *= keep;
        xt[i] *= keep;
    }
}

CostModel::Terms CostModel::terms_of(const StepLoad& load) noexcept {
    return {1.0, load.decode_rows / kDecodeRows, load.prefill_rows / kPrefillRows,
            static_cast<double>(load.context) / kContext};
}

double CostModel::dot(const Terms& x) const noexcept {
    double sum = 0;
    for (std::size_t i = 0; i < kTerms; ++i)
        sum += cost_[i] * x[i];
    return sum;
}

double CostModel::predict_us(const StepLoad& load) const noexcept {
    return dot(terms_of(load));
}

double CostModel::decode_row_us() const noexcept {
    return cost_[1] / kDecodeRows;
}

bool CostModel::ready() const noexcept {
    return decode_.n + prefill_.n >= kReadySteps && prefill_.n >= kReadyPrefills;
}

bool CostModel::knows_streams() const noexcept {
    return decode_.n >= kReadySteps;
}

/// Coordinate descent from the last solution, which keeps what the data do not determine.
void CostModel::solve() noexcept {
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
        for (std::size_t i = 0; i < kTerms; ++i) {
            const double own = decode_.xx[i][i] + prefill_.xx[i][i];
            if (own <= 0) continue;
            double rest = decode_.xt[i] + prefill_.xt[i];
            for (std::size_t j = 0; j < kTerms; ++j) {
                if (j != i) rest -= (decode_.xx[i][j] + prefill_.xx[i][j]) * cost_[j];
            }
            cost_[i] = std::max(rest / own, 0.0);
        }
    }
}

void CostModel::observe(const StepLoad& load, std::int64_t elapsed_us) noexcept {
    if (elapsed_us <= 0) return;
    const bool prefill = load.prefill_rows > 0;
    const Terms x = terms_of(load);
    auto t = static_cast<double>(elapsed_us);
    double typical = t; // errors are relative: short steps matter as much as long ones
    if (const double expected = dot(x); ready() && expected > 0) {
        typical = expected;
        if (prefill) {
            margin_ += kMarginStep * (t > margin_ * expected ? kQuantile : kQuantile - 1.0);
            margin_ = std::clamp(margin_, 1.0, kMarginMax);
        }
        const double near = std::clamp(t, expected / kFar, expected * kFar);
        const int side = t > near ? 1 : t < near ? -1 : 0;
        n_surprises_ = side == 0 ? 0 : side * n_surprises_ > 0 ? n_surprises_ + side : side;
        if (n_surprises_ * side >= kChange) {
            decode_.fade(kForget);
            prefill_.fade(kForget);
            typical = t;
            n_surprises_ = 0;
        } else {
            t = near;
        }
    }
    Sums& sums = prefill ? prefill_ : decode_;
    sums.fade(prefill ? kKeepPrefill : kKeepDecode);
    sums.add(x, t, 1.0 / (typical * typical));
    solve();
}

} // namespace bloom::engine
