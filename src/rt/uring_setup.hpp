#pragma once

#include <liburing.h>

#include <bloom/base/result.hpp>
#include <bloom/rt/uring_driver.hpp>

namespace bloom::rt {

/// A ring, closed on destruction. Made disabled: the thread that will use it enables it.
class Ring {
public:
    Ring() = default;
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    ~Ring() { close(); }

    /// Tries the levels from options.level downwards. Errors: machine_lacks.
    Result<UringLevel> open(const UringOptions& options);

    /// Makes the calling thread the one that submits. Errors: as open().
    Result<> enable();

    void close() noexcept {
        if (open_) io_uring_queue_exit(&raw);
        open_ = false;
    }

    io_uring raw{};

private:
    bool open_ = false;
};

} // namespace bloom::rt
