#pragma once

#include <utility>

namespace bloom {

/// An owned file descriptor: closed on destruction, moved not copied. -1 is none.
class Fd {
public:
    Fd() noexcept = default;

    explicit Fd(int fd) noexcept : fd_(fd) {}

    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }

    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;

    ~Fd() { reset(); }

    int get() const noexcept { return fd_; }

    explicit operator bool() const noexcept { return fd_ >= 0; }

    /// Hands the descriptor over; this object no longer closes it.
    int release() noexcept { return std::exchange(fd_, -1); }

    void reset() noexcept;

private:
    int fd_ = -1;
};

} // namespace bloom
