#include <algorithm>
#include <chrono>

#include <bloom/base/check.hpp>
#include <bloom/measure/timed_team.hpp>

namespace bloom::measure {
namespace {

double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

} // namespace

TimedTeam::TimedTeam(std::unique_ptr<compute::Team> inner) : inner_(std::move(inner)) {
    BLOOM_CHECK(inner_ != nullptr);
    busy_.resize(static_cast<std::size_t>(inner_->size()));
}

void TimedTeam::start() {
    times_ = {};
    counting_ = true;
}

TeamTimes TimedTeam::stop() {
    counting_ = false;
    return times_;
}

void TimedTeam::run(FunctionRef<void(int worker)> work) {
    if (!counting_) {
        inner_->run(work);
        return;
    }
    run_phases(1, [&](std::int32_t, int worker) { work(worker); });
}

void TimedTeam::run_phases(std::int32_t n_phases,
                           FunctionRef<void(std::int32_t phase, int worker)> work) {
    if (!counting_) {
        inner_->run_phases(n_phases, work);
        return;
    }
    const auto n = static_cast<std::size_t>(std::max(n_phases, 0));
    for (std::vector<double>& of_worker : busy_)
        of_worker.assign(n, 0.0);
    inner_->run_phases(n_phases, [&](std::int32_t phase, int worker) {
        const double begin = now_s();
        work(phase, worker);
        busy_[static_cast<std::size_t>(worker)][static_cast<std::size_t>(phase)] = now_s() - begin;
    });
    for (std::size_t p = 0; p < n; ++p) {
        double longest = 0;
        double sum = 0;
        for (const std::vector<double>& of_worker : busy_) {
            longest = std::max(longest, of_worker[p]);
            sum += of_worker[p];
        }
        times_.longest_s += longest;
        times_.mean_s += sum / static_cast<double>(busy_.size());
    }
    times_.n_phases += n_phases;
}

} // namespace bloom::measure
