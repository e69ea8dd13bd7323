#include <exception>
#include <utility>

#include <bloom/base/log.hpp>
#include <bloom/rt/scope.hpp>

namespace bloom::rt {
namespace {

[[noreturn]] void die_of_exception(const std::exception_ptr& exception) noexcept {
    try {
        std::rethrow_exception(exception);
    } catch (const std::exception& e) {
        log::error("a spawned task ended with an exception: {}", e.what());
    } catch (...) {
        log::error("a spawned task ended with an exception of unknown type");
    }
    std::terminate();
}

} // namespace

std::coroutine_handle<> Scope::child_done(void* context, std::coroutine_handle<> self) noexcept {
    Scope& scope = *static_cast<Scope*>(context);
    auto child = Task<void>::Handle::from_address(self.address());
    if (child.promise().exception) die_of_exception(child.promise().exception);
    // First the frame, then the count: what the frame owns may still refer to what the scope's
    // owner owns.
    child.destroy();
    if (--scope.n_children_ == 0 && scope.waiter_ != nullptr) {
        ReadyQueue::current().push(*std::exchange(scope.waiter_, nullptr));
    }
    return std::noop_coroutine();
}

} // namespace bloom::rt
