#pragma once

#include <memory>
#include <utility>

#include <bloom/auth/api_key.hpp>
#include <bloom/base/result.hpp>
#include <bloom/gen/event.hpp>
#include <bloom/gen/generation.hpp>
#include <bloom/rt/task.hpp>

namespace bloom::scheduler {

/// What an admission holds behind its back: the reservation of one request.
class Hold {
public:
    virtual ~Hold() = default;
    /// Books what was used; returns after the booking is durable.
    virtual rt::Task<Result<>> settle(gen::Usage used) = 0;
    /// Gives the whole reservation back.
    virtual rt::Task<Result<>> release() = 0;
};

/// A move-only hold on the worst-case cost of one request. Exactly one of settle() and release()
/// must be awaited before it goes; forgetting aborts, since money would hang.
class [[nodiscard]] Admission {
public:
    explicit Admission(std::unique_ptr<Hold> hold) noexcept : hold_(std::move(hold)) {}

    Admission(Admission&&) noexcept = default;
    Admission& operator=(Admission&&) = delete;
    ~Admission();

    rt::Task<Result<>> settle(gen::Usage used);
    rt::Task<Result<>> release();

private:
    std::unique_ptr<Hold> hold_;
};

/// Decides whether an account may run a request. Thread: any shard.
class AdmissionControl {
public:
    virtual ~AdmissionControl() = default;
    /// Errors: insufficient_funds, limit_reached, permission_denied.
    virtual rt::Task<Result<Admission>> admit(const auth::Principal& who,
                                              const gen::Generation& what) = 0;
};

/// Admits everything and books nothing: a node that serves its owner alone.
class PermissiveAdmission final : public AdmissionControl {
public:
    rt::Task<Result<Admission>> admit(const auth::Principal& who,
                                      const gen::Generation& what) override;
};

} // namespace bloom::scheduler
