#include <unistd.h>

#include <bloom/base/fd.hpp>

namespace bloom {

void Fd::reset() noexcept {
    // close() frees the number even when it reports EINTR on Linux, so it is never repeated.
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

} // namespace bloom
