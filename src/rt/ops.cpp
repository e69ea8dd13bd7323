#include <cerrno>
#include <utility>

#include <bloom/rt/ops.hpp>
#include <bloom/rt/shard.hpp>

namespace bloom::rt {
namespace {

Code code_of_errno(int sys_errno) noexcept {
    switch (sys_errno) {
    case ECANCELED:
        return Code::cancelled;
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
    case ESHUTDOWN:
    case ECONNREFUSED:
        return Code::closed;
    case ETIMEDOUT:
        return Code::timeout;
    case ENOENT:
        return Code::not_found;
    case EEXIST:
        return Code::already_exists;
    case EACCES:
    case EPERM:
        return Code::permission_denied;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
        return Code::limit_reached;
    case ENOMEM:
        return Code::out_of_memory;
    default:
        return Code::io_error;
    }
}

} // namespace

Error io_error(int sys_errno, std::string_view what, const StopToken& stop) {
    if (sys_errno == ECANCELED && stop.stop_requested()) return stop.error();
    const Error plain = Error::from_errno(sys_errno, what);
    return Error(code_of_errno(sys_errno), std::string(plain.message()), sys_errno);
}

IoAwaiter::IoAwaiter(OpCode op_code, Handle on, StopToken stop, Complete done) noexcept
    : Op(op_code, on, done), StopNode(&stopped), driver_(&Shard::current().driver()), stop_(stop) {}

Result<> StatusAwaiter::await_resume() const {
    if (result_ >= 0) return {};
    switch (code) {
    case OpCode::connect:
        return failure("connect");
    case OpCode::shutdown:
        return failure("shutdown");
    case OpCode::close:
        return failure("close");
    default:
        return failure("fsync");
    }
}

Result<Handle> OpenAwaiter::await_resume() const {
    if (result_ < 0) return failure(std::string("open ") + static_cast<const char*>(data));
    return static_cast<Handle>(result_);
}

void WriteAllAwaiter::completed_part(Op& op, const Completion& completion) noexcept {
    auto& self = static_cast<WriteAllAwaiter&>(op);
    if (completion.result > 0) {
        const auto n = static_cast<std::size_t>(completion.result);
        BLOOM_CHECK(n <= self.size);
        self.data = static_cast<std::uint8_t*>(self.data) + n;
        self.size -= n;
        self.offset += n;
        if (self.size > 0 && !self.stop_.stop_requested()) {
            self.driver_->submit(self);
            return;
        }
        self.finish(self.size == 0 ? 0 : -ECANCELED);
        return;
    }
    // Nothing was taken although there is something to write: never repeat that blindly.
    self.finish(completion.result == 0 ? -EIO : completion.result);
}

void SendVecAwaiter::skip(std::size_t n) noexcept {
    while (message_.msg_iovlen > 0) {
        iovec& first = *message_.msg_iov;
        if (n < first.iov_len) {
            first.iov_base = static_cast<std::uint8_t*>(first.iov_base) + n;
            first.iov_len -= n;
            return;
        }
        n -= first.iov_len;
        ++message_.msg_iov;
        --message_.msg_iovlen;
    }
}

void SendVecAwaiter::completed_part(Op& op, const Completion& completion) noexcept {
    auto& self = static_cast<SendVecAwaiter&>(op);
    if (completion.result <= 0) {
        self.finish(completion.result == 0 ? -EIO : completion.result);
        return;
    }
    self.skip(static_cast<std::size_t>(completion.result));
    if (self.message_.msg_iovlen > 0 && !self.stop_.stop_requested()) {
        self.driver_->submit(self);
        return;
    }
    self.finish(self.message_.msg_iovlen == 0 ? 0 : -ECANCELED);
}

// --- RecvSource
// -----------------------------------------------------------------------------------------------

void RecvSource::notify_gone(StopSource* source, bool on_end) noexcept {
    gone_ = source;
    gone_on_end_ = on_end;
    if (gone_ == nullptr) return;
    if (ended_ && (errno_ != 0 || gone_on_end_)) {
        gone_->request_stop(StopReason::client_gone);
        return;
    }
    if (!ended_ && queue_.n_chunks() < kMaxQueuedChunks) arm(); // or nobody would notice
}

void RecvSource::completed(Op& op, const Completion& completion) noexcept {
    auto& self = static_cast<RecvSource&>(op);
    if (completion.chunk != nullptr && !completion.chunk->empty()) {
        self.queue_.push(std::move(*completion.chunk));
    } else if (completion.result == 0) {
        self.ended_ = true;
    } else if (completion.result < 0 && completion.result != -ECANCELED) {
        self.ended_ = true;
        self.errno_ = -completion.result;
    }
    if (self.closing_) {
        if (!completion.more) self.wake_stopper();
        return;
    }
    if (self.ended_ && self.gone_ != nullptr && (self.errno_ != 0 || self.gone_on_end_)) {
        self.gone_->request_stop(StopReason::client_gone);
    }
    if (self.has_result()) {
        self.wake_waiter();
    }
    // The kernel ended a multishot, or the pause is over: stay armed, so that leaving is noticed.
    if (!completion.more && !self.ended_ && self.queue_.empty()) self.arm();
    if (self.queue_.n_chunks() >= kMaxQueuedChunks && completion.more) self.pause();
}

Result<Chunk> RecvSource::take() {
    if (!queue_.empty()) {
        Chunk chunk = queue_.pop();
        // Armed again early, so that the peer's leaving is noticed while nobody receives.
        if (queue_.empty() && !ended_) arm();
        return chunk;
    }
    if (errno_ != 0) return io_error(errno_, "recv", {});
    return Chunk();
}

// --- AcceptSource
// ---------------------------------------------------------------------------------------------

AcceptSource::~AcceptSource() {
    for (const Handle handle : queue_)
        driver_->close_now(handle);
}

void AcceptSource::completed(Op& op, const Completion& completion) noexcept {
    auto& self = static_cast<AcceptSource&>(op);
    if (completion.result >= 0) {
        self.queue_.push_back(static_cast<Handle>(completion.result));
    } else if (completion.result != -ECANCELED && completion.result != -ECONNABORTED &&
               completion.result != -EAGAIN && completion.result != -EINTR) {
        self.errno_ = -completion.result;
    }
    if (self.closing_) {
        if (!completion.more) self.wake_stopper();
        return;
    }
    if (self.has_result()) {
        self.wake_waiter();
    } else if (!completion.more && self.waiter_ != nullptr) {
        self.arm();
    }
    if (self.queue_.size() >= kMaxQueued && completion.more) self.pause();
}

Result<Handle> AcceptSource::take() {
    if (!queue_.empty()) {
        const Handle handle = queue_.front();
        queue_.pop_front();
        return handle;
    }
    return io_error(std::exchange(errno_, 0), "accept", {});
}

} // namespace bloom::rt
