#include <sys/socket.h>

#include <bloom/base/check.hpp>
#include <bloom/net/stream.hpp>
#include <bloom/rt/shard.hpp>

namespace bloom::net {

Stream::Stream(rt::Handle socket)
    : core_(std::make_unique<Core>(rt::Shard::current().driver(), socket)) {}

Stream& Stream::operator=(Stream&& other) noexcept {
    Stream old(std::move(*this));
    core_ = std::move(other.core_);
    return *this;
}

Stream::~Stream() {
    // Nothing was ever armed: closing here is safe. Otherwise the source's own check aborts.
    if (core_ != nullptr && core_->socket != rt::Handle::none && !core_->source.armed()) {
        core_->driver.close_now(core_->socket);
    }
}

Stream::RecvAwaiter Stream::recv(rt::StopToken stop) {
    if (!core_->unread.empty()) return RecvAwaiter(std::move(core_->unread));
    if (core_->layer == nullptr) return RecvAwaiter(core_->source.recv(stop));
    return RecvAwaiter(core_->layer->recv(stop).operator co_await());
}

void Stream::unread(rt::Chunk chunk) noexcept {
    BLOOM_CHECK(core_->unread.empty());
    core_->unread = std::move(chunk);
}

namespace {

rt::Task<Result<>> send_one(StreamLayer& layer, ByteSpan bytes, rt::StopToken stop) {
    const iovec part{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
    co_return co_await layer.send_all(std::span(&part, 1), stop);
}

} // namespace

Stream::SendAwaiter Stream::send_all(ByteSpan bytes, rt::StopToken stop) {
    if (core_->layer == nullptr) return SendAwaiter(rt::send_all(core_->socket, bytes, stop));
    return SendAwaiter(send_one(*core_->layer, bytes, stop).operator co_await());
}

Stream::SendAwaiter Stream::send_all(std::span<iovec> parts, rt::StopToken stop) {
    if (core_->layer == nullptr) return SendAwaiter(rt::send_all(core_->socket, parts, stop));
    return SendAwaiter(core_->layer->send_all(parts, stop).operator co_await());
}

rt::Task<Result<>> Stream::shutdown_send(rt::StopToken stop) {
    if (core_->layer != nullptr) BLOOM_CO_OK(co_await core_->layer->finish(stop));
    co_return co_await rt::shutdown(core_->socket, SHUT_WR);
}

rt::Task<void> Stream::close() {
    if (core_ == nullptr || core_->socket == rt::Handle::none) co_return;
    core_->source.notify_gone(nullptr, false);
    co_await core_->source.stop();
    // The result says nothing one could act on: the descriptor is gone either way.
    static_cast<void>(co_await rt::close(std::exchange(core_->socket, rt::Handle::none)));
    core_.reset();
}

void Stream::notify_gone(rt::StopSource* source, bool on_end) noexcept {
    core_->source.notify_gone(source, on_end);
}

Address Stream::peer() const {
    Result<rt::SockAddr> address = core_->driver.peer_address(core_->socket);
    return address ? Address(*address) : Address();
}

Address Stream::local() const {
    Result<rt::SockAddr> address = core_->driver.local_address(core_->socket);
    return address ? Address(*address) : Address();
}

bool Stream::is_tls() const noexcept {
    return core_->layer != nullptr;
}

std::string_view Stream::alpn() const noexcept {
    return core_->layer == nullptr ? std::string_view() : core_->layer->alpn();
}

rt::RecvSource& Stream::raw_source() noexcept {
    return core_->source;
}

rt::Handle Stream::raw_handle() const noexcept {
    return core_->socket;
}

void Stream::set_layer(std::unique_ptr<StreamLayer> layer) noexcept {
    core_->layer = std::move(layer);
}

} // namespace bloom::net
