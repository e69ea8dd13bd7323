#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include <bloom/base/result.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::rt {

/// A long-lived job that advances by steps, such as an engine. It knows nothing of the runtime;
/// results leave through whatever its owner gave it (usually Shard::post). Thread: step() is always
/// called on the job's own thread (in simulation: on the one thread there is).
class StepJob {
public:
    virtual ~StepJob() = default;

    /// Does a bounded piece of work. True: there is more to do now; false: sleep until wake().
    /// May throw nothing but what should end the process.
    virtual bool step() = 0;
};

/// A job that runs. Destroying the handle ends the job after its current step (and waits for that).
class StepHandle {
public:
    virtual ~StepHandle() = default;

    /// There is something to do: step() will be called at least once after this. Thread: any; cheap
    /// when the job is running already.
    virtual void wake() noexcept = 0;
    /// Ends the job after its current step and waits, without blocking the shard. To be awaited on
    /// a shard. No step() runs after it; wake() is then without effect.
    virtual Task<void> stop() = 0;
};

/// Where step jobs live: a thread each for real, seeded turns in simulation. Outlives its jobs.
class ComputePool {
public:
    virtual ~ComputePool() = default;

    /// Starts a job, asleep until the first wake(). `job` must live until the handle is gone or
    /// stop() has returned. `name` (15 bytes are kept) is what the thread is called. Errors:
    /// unavailable when no thread could be made. Thread: any.
    virtual Result<std::unique_ptr<StepHandle>> start(StepJob& job, const std::string& name) = 0;
};

/// One thread per job, parked on a futex between steps.
class ThreadComputePool final : public ComputePool {
public:
    Result<std::unique_ptr<StepHandle>> start(StepJob& job, const std::string& name) override;
};

} // namespace bloom::rt
