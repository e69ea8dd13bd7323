#include <bloom/base/check.hpp>
#include <bloom/scheduler/admission.hpp>

namespace bloom::scheduler {
namespace {

class FreeHold final : public Hold {
public:
    rt::Task<Result<>> settle(gen::Usage /*used*/) override { co_return Result<>{}; }

    rt::Task<Result<>> release() override { co_return Result<>{}; }
};

} // namespace

Admission::~Admission() {
    BLOOM_CHECK(hold_ == nullptr);
}

rt::Task<Result<>> Admission::settle(gen::Usage used) {
    BLOOM_CHECK(hold_ != nullptr);
    const std::unique_ptr<Hold> hold = std::move(hold_);
    co_return co_await hold->settle(used);
}

rt::Task<Result<>> Admission::release() {
    BLOOM_CHECK(hold_ != nullptr);
    const std::unique_ptr<Hold> hold = std::move(hold_);
    co_return co_await hold->release();
}

rt::Task<Result<Admission>> PermissiveAdmission::admit(const auth::Principal& /*who*/,
                                                       const gen::Generation& /*what*/) {
    co_return Admission(std::make_unique<FreeHold>());
}

} // namespace bloom::scheduler
