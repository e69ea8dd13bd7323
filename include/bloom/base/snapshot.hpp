#pragma once

#include <memory>
#include <mutex>
#include <utility>

namespace bloom {

/// A value that is replaced as a whole and read from many threads: readers keep the version they
/// got. The lock is held for the copy of one pointer; what libstdc++'s atomic shared_ptr does with
/// a bit of the pointer, in a form that the thread sanitizer understands. Thread: any.
template <class T>
class Snapshot {
public:
    explicit Snapshot(std::shared_ptr<const T> value) : value_(std::move(value)) {}

    std::shared_ptr<const T> get() const {
        const std::lock_guard lock(mutex_);
        return value_;
    }

    void set(std::shared_ptr<const T> value) {
        const std::lock_guard lock(mutex_);
        value_.swap(value); // the old one goes after the lock
    }

private:
    mutable std::mutex mutex_;
    std::shared_ptr<const T> value_;
};

} // namespace bloom
