#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "rt/sim/core.hpp"

namespace bloom::rt::sim {

/// Files in memory that remember what a power failure would leave: the state of the last fsync.
class Files {
public:
    explicit Files(Core& core) : core_(core) {}

    Files(const Files&) = delete;
    Files& operator=(const Files&) = delete;

    bool owns(Handle handle) const { return open_.contains(handle); }

    std::size_t n_open() const noexcept { return open_.size(); }

    /// open, read, write, fsync, close.
    void submit(std::size_t shard, Op& op);

    void close_now(Handle handle) { open_.erase(handle); }

    void lose_unsynced();

private:
    struct File {
        Bytes data;
        Bytes synced;
        bool ever_synced = false;
    };

    struct Open {
        std::shared_ptr<File> file;
        int flags = 0;
    };

    std::int32_t open(const char* path, int flags);
    std::int32_t write(const Open& open, const Op& op) const;
    std::int32_t read(const Open& open, const Op& op, Bytes& out) const;

    Core& core_;
    std::map<std::string, std::shared_ptr<File>> files_;
    std::map<Handle, Open> open_;
    std::int32_t next_handle_ = 1'000'000;
};

} // namespace bloom::rt::sim
