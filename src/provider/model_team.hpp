#pragma once

#include <memory>

#include <bloom/compute/team.hpp>

namespace bloom::provider {

/// The workers of one model. While it is being loaded on a thread of its own it has helpers of its
/// own, since the others' steps go on; then it takes turns with them on the shared team. Helpers
/// sit where the shared workers do: who packs rows is near them, as who reads them later is.
/// Thread: the loading one until join() has returned, then the engine's.
class ModelTeam final : public compute::Team {
public:
    /// `shared` outlives this. `helpers`: whether loading may use as many threads as computing,
    /// because nobody else computes.
    ModelTeam(compute::Team& shared, bool helpers) : size_(shared.size()), shared_(shared) {
        if (helpers) {
            own_ = std::make_unique<compute::SpinTeam>(size_, shared.cpus());
        } else {
            own_ = std::make_unique<compute::SerialTeam>(size_);
        }
        current_ = own_.get();
    }

    /// The model is loaded.
    void join() noexcept {
        current_ = &shared_;
        own_.reset();
    }

    int size() const noexcept override { return size_; }

    void run(FunctionRef<void(int worker)> work) override { current_->run(work); }

    void run_phases(std::int32_t n_phases,
                    FunctionRef<void(std::int32_t phase, int worker)> work) override {
        current_->run_phases(n_phases, work);
    }

    void begin_step() override { current_->begin_step(); }

    void end_step() override { current_->end_step(); }

private:
    int size_;
    compute::Team& shared_;
    std::unique_ptr<compute::Team> own_;
    compute::Team* current_ = nullptr;
};

} // namespace bloom::provider
