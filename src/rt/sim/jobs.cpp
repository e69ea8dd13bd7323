#include "rt/sim/jobs.hpp"

#include <bloom/rt/shard.hpp>

namespace bloom::rt::sim {
namespace {

/// What outlives the handle: an event may still point at it.
struct StepState {
    StepJob* job = nullptr; ///< null once stopped
    bool scheduled = false;
    bool woken = false; ///< again, while a step was running
};

void schedule_step(Core& core, std::shared_ptr<StepState> state) {
    if (state->job == nullptr) return;
    if (state->scheduled) {
        state->woken = true;
        return;
    }
    state->scheduled = true;
    core.schedule(core.between(0, core.faults.job_ns_max), [&core, state] {
        if (state->job == nullptr) return;
        state->woken = false;
        const bool more = state->job->step();
        state->scheduled = false;
        core.trace(0x57, more ? 1 : 0, 0);
        if (more || state->woken) schedule_step(core, state);
    });
}

class SimStepHandle final : public StepHandle {
public:
    SimStepHandle(Core& core, StepJob& job) : core_(core), state_(std::make_shared<StepState>()) {
        state_->job = &job;
    }

    ~SimStepHandle() override { state_->job = nullptr; }

    void wake() noexcept override { schedule_step(core_, state_); }

    Task<void> stop() override {
        state_->job = nullptr;
        co_await yield();
    }

private:
    Core& core_;
    std::shared_ptr<StepState> state_;
};

} // namespace

Result<> Jobs::start_blocking(BlockingJob& job) {
    if (n_blocking_ == kMaxBlocking) return Error(Code::busy, "the pool for blocking work is full");
    ++n_blocking_;
    core_.schedule(core_.between(0, core_.faults.job_ns_max), [this, &job] {
        --n_blocking_;
        core_.trace(0xb1, 0, 0);
        job.work(job);
        job.shard->post(job.home);
    });
    return {};
}

Result<std::unique_ptr<StepHandle>> Jobs::start(StepJob& job, const std::string&) {
    return std::make_unique<SimStepHandle>(core_, job);
}

} // namespace bloom::rt::sim
