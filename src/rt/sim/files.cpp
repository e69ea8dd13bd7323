#include "rt/sim/files.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>

#include <bloom/base/check.hpp>

namespace bloom::rt::sim {

std::int32_t Files::open(const char* path, int flags) {
    auto at = files_.find(path);
    if (at == files_.end()) {
        if ((flags & O_CREAT) == 0) return -ENOENT;
        at = files_.emplace(path, std::make_shared<File>()).first;
    } else if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) {
        return -EEXIST;
    }
    if ((flags & O_TRUNC) != 0) at->second->data.clear();
    const std::int32_t handle = next_handle_++;
    open_.emplace(static_cast<Handle>(handle), Open{at->second, flags});
    return handle;
}

std::int32_t Files::read(const Open& open, const Op& op, Bytes& out) const {
    if ((open.flags & O_ACCMODE) == O_WRONLY) return -EBADF;
    const Bytes& data = open.file->data;
    if (op.offset >= data.size()) return 0;
    std::size_t n = std::min<std::size_t>(op.size, data.size() - op.offset);
    if (core_.chance(core_.faults.p_fragment)) n = core_.between(1, n);
    const auto from = data.begin() + static_cast<std::ptrdiff_t>(op.offset);
    out.assign(from, from + static_cast<std::ptrdiff_t>(n));
    return static_cast<std::int32_t>(n);
}

std::int32_t Files::write(const Open& open, const Op& op) const {
    if ((open.flags & O_ACCMODE) == O_RDONLY) return -EBADF;
    Bytes& data = open.file->data;
    std::size_t n = op.size;
    if (n > 1 && core_.chance(core_.faults.p_fragment)) n = core_.between(1, n);
    const std::size_t offset = (open.flags & O_APPEND) != 0 ? data.size() : op.offset;
    if (data.size() < offset + n) data.resize(offset + n);
    std::memcpy(data.data() + offset, op.data, n);
    return static_cast<std::int32_t>(n);
}

void Files::submit(std::size_t shard, Op& op) {
    op.driver_state = op_parked;
    const std::uint64_t delay_ns = core_.between(0, core_.faults.disk_ns_max);
    if (op.code != OpCode::close && core_.chance(core_.faults.p_disk_error)) {
        return core_.finish(shard, op, -EIO, false, {}, delay_ns);
    }
    if (op.code == OpCode::open) {
        const std::int32_t handle =
            open(static_cast<const char*>(op.data), static_cast<int>(op.flags));
        return core_.finish(shard, op, handle, false, {}, delay_ns);
    }
    const auto at = open_.find(op.handle);
    BLOOM_CHECK(at != open_.end());
    Bytes out;
    std::int32_t result = 0;
    switch (op.code) {
    case OpCode::read:
        result = read(at->second, op, out);
        break;
    case OpCode::write:
        result = write(at->second, op);
        break;
    case OpCode::fsync:
        at->second.file->synced = at->second.file->data;
        at->second.file->ever_synced = true;
        break;
    case OpCode::close:
        open_.erase(at);
        break;
    default:
        result = -EOPNOTSUPP;
        break;
    }
    core_.finish(shard, op, result, false, std::move(out), delay_ns);
}

void Files::lose_unsynced() {
    for (auto at = files_.begin(); at != files_.end();) {
        File& file = *at->second;
        file.data = file.synced;
        at = file.ever_synced ? std::next(at) : files_.erase(at);
    }
}

} // namespace bloom::rt::sim
