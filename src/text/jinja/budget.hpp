#pragma once

#include <cstdint>

#include <bloom/text/jinja.hpp>

namespace bloom::text::jinja {

/// Counts what a render uses. Steps are never given back, so they bound memory as well: every 64
/// bytes built and every item held cost one.
class Budget {
public:
    explicit Budget(const RenderLimits& limits) : limits_(limits) {}

    Result<> spend(std::uint64_t steps) {
        spent_ += steps;
        if (spent_ > limits_.max_steps) [[unlikely]] {
            return Error{Code::limit_reached, "the chat template took too many steps"};
        }
        if (spent_ >= next_question_) [[unlikely]] {
            next_question_ = spent_ + kStepsPerQuestion;
            if (limits_.keep_going && !limits_.keep_going()) {
                return Error{Code::timeout, "the chat template took too long"};
            }
        }
        return {};
    }

    /// Accounts for `more` bytes about to be added to a text of `have`.
    Result<> grow(std::uint64_t have, std::uint64_t more) {
        if (have + more > limits_.max_output_bytes) [[unlikely]] {
            return Error{Code::too_large, "the chat template's output is too large"};
        }
        return spend(1 + more / kBytesPerStep);
    }

    /// Accounts for a text about to exist.
    Result<> spend_bytes(std::uint64_t bytes) { return grow(0, bytes); }

    const RenderLimits& limits() const noexcept { return limits_; }

private:
    static constexpr std::uint64_t kStepsPerQuestion = 4096;
    static constexpr std::uint64_t kBytesPerStep = 64;

    const RenderLimits& limits_;
    std::uint64_t spent_ = 0;
    std::uint64_t next_question_ = kStepsPerQuestion;
};

} // namespace bloom::text::jinja
