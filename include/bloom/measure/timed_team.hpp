#pragma once

#include <memory>
#include <vector>

#include <bloom/compute/team.hpp>

namespace bloom::measure {

/// What a team did between start() and stop().
struct TeamTimes {
    double longest_s = 0; ///< sum over phases of the time its slowest worker worked
    double mean_s = 0;    ///< sum over phases of the workers' mean
    std::int64_t n_phases = 0;
};

/// A team that can time its work phase by phase: what a step takes beyond `longest_s` is barriers,
/// waking and the caller's own doing. Costs two looks at the clock per phase and worker while it
/// counts, and nothing otherwise.  Thread: the team's caller.
class TimedTeam final : public compute::Team {
public:
    explicit TimedTeam(std::unique_ptr<compute::Team> inner);

    void start();
    TeamTimes stop();

    int size() const noexcept override { return inner_->size(); }

    void run(FunctionRef<void(int worker)> work) override;
    void run_phases(std::int32_t n_phases,
                    FunctionRef<void(std::int32_t phase, int worker)> work) override;

    void begin_step() override { inner_->begin_step(); }

    void end_step() override { inner_->end_step(); }

    void pin_caller() override { inner_->pin_caller(); }

private:
    std::unique_ptr<compute::Team> inner_;
    bool counting_ = false;
    TeamTimes times_;
    std::vector<std::vector<double>> busy_; ///< [worker][phase] seconds
};

} // namespace bloom::measure
