#include <sys/resource.h>
#include <unistd.h>

#include <bloom/base/thread.hpp>

namespace bloom {

void become_compute_thread() noexcept {
    constexpr int kNice = 5;
    // On Linux a thread has a nice value of its own, by its thread id.
    const auto self = static_cast<id_t>(::gettid());
    if (::getpriority(PRIO_PROCESS, self) < kNice) {
        static_cast<void>(::setpriority(PRIO_PROCESS, self, kNice));
    }
}

} // namespace bloom
