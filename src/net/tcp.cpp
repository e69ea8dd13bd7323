#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/net/tcp.hpp>

namespace bloom::net {

Result<Listener> Listener::listen(const Address& at, const rt::ListenOptions& options) {
    rt::Driver& driver = rt::Shard::current().driver();
    Result<rt::Handle> socket = driver.listen(at.raw(), options);
    if (!socket) return std::move(socket).error().with_context("listen on " + at.to_string());
    Result<rt::SockAddr> local = driver.local_address(*socket);
    if (!local) {
        driver.close_now(*socket);
        return std::move(local).error().with_context("listen on " + at.to_string());
    }
    return Listener(std::make_unique<Core>(driver, *socket), Address(*local));
}

Listener::Listener(std::unique_ptr<Core> core, const Address& local) noexcept
    : core_(std::move(core)), local_(local) {}

Listener::~Listener() {
    if (core_ != nullptr && core_->socket != rt::Handle::none && !core_->source.armed()) {
        core_->driver.close_now(core_->socket);
    }
}

rt::Task<void> Listener::close() {
    if (core_ == nullptr || core_->socket == rt::Handle::none) co_return;
    co_await core_->source.stop();
    static_cast<void>(co_await rt::close(std::exchange(core_->socket, rt::Handle::none)));
}

rt::Task<Result<Stream>> connect(Address peer, rt::StopToken stop) {
    rt::Driver& driver = rt::Shard::current().driver();
    Result<rt::Handle> socket = driver.open_socket(peer.raw());
    if (!socket) co_return std::move(socket).error().with_context("connect to " + peer.to_string());
    Result<> connected = co_await rt::connect(*socket, peer.raw(), stop);
    if (!connected) {
        static_cast<void>(co_await rt::close(*socket));
        co_return std::move(connected).error().with_context("connect to " + peer.to_string());
    }
    co_return Stream(*socket);
}

rt::Task<Result<std::vector<Address>>> resolve(std::string host, std::uint16_t port) {
    if (Result<Address> literal = Address::from_ip(host, port)) co_return std::vector{*literal};
    rt::Driver* driver = &rt::Shard::current().driver();
    BLOOM_CO_TRY(const std::vector<rt::SockAddr> found,
                 co_await rt::run_blocking([driver, host] { return driver->resolve(host); }));
    std::vector<Address> addresses;
    for (const rt::SockAddr& raw : found)
        addresses.push_back(Address(raw).with_port(port));
    co_return addresses;
}

rt::Task<Result<Stream>> connect_host(std::string host, std::uint16_t port, rt::StopToken stop) {
    BLOOM_CO_TRY(const std::vector<Address> addresses, co_await resolve(host, port));
    Error last(Code::not_found, "host " + host + ": no address");
    for (const Address& address : addresses) {
        Result<Stream> stream = co_await connect(address, stop);
        if (stream) co_return stream;
        last = std::move(stream).error();
        if (stop.stop_requested()) break;
    }
    co_return std::move(last);
}

} // namespace bloom::net
