#include "rt/sim/network.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <bloom/base/check.hpp>

namespace bloom::rt::sim {
namespace {

bool same_ip(const SockAddr& a, const SockAddr& b) noexcept {
    if (a.is_v6() != b.is_v6()) return false;
    if (a.is_v6())
        return std::memcmp(&a.raw.v6.sin6_addr, &b.raw.v6.sin6_addr, sizeof(in6_addr)) == 0;
    return a.raw.v4.sin_addr.s_addr == b.raw.v4.sin_addr.s_addr;
}

bool is_any(const SockAddr& a) noexcept {
    if (a.is_v6()) return IN6_IS_ADDR_UNSPECIFIED(&a.raw.v6.sin6_addr) != 0;
    return a.raw.v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

/// What the operation wants to send, up to `max` bytes.
Bytes gather(const Op& op, std::size_t max) {
    Bytes out;
    const auto append = [&](const void* at, std::size_t size) {
        const auto* from = static_cast<const std::uint8_t*>(at);
        out.insert(out.end(), from, from + std::min(size, max - out.size()));
    };
    if (op.code == OpCode::send) {
        append(op.data, op.size);
    } else {
        const auto* message = static_cast<const msghdr*>(op.data);
        for (std::size_t i = 0; i < message->msg_iovlen; ++i) {
            append(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
        }
    }
    return out;
}

} // namespace

Handle Network::add(Socket socket) {
    const auto handle = static_cast<Handle>(next_handle_++);
    sockets_.emplace(handle, std::move(socket));
    return handle;
}

Network::Socket* Network::find(Handle handle) {
    const auto at = sockets_.find(handle);
    return at == sockets_.end() ? nullptr : &at->second;
}

Network::Socket& Network::get(Handle handle) {
    Socket* socket = find(handle);
    BLOOM_CHECK(socket != nullptr); // used after close
    return *socket;
}

Result<Handle> Network::listen(std::size_t shard, const SockAddr& at,
                               const ListenOptions& options) {
    SockAddr local = at;
    if (local.port() == 0) local.set_port(next_listen_port_++);
    for (const auto& [handle, other] : sockets_) {
        if (!other.listening || other.local.port() != local.port()) continue;
        const bool overlap = same_ip(other.local, local) || is_any(other.local) || is_any(local);
        if (overlap && !(other.reuse_port && options.reuse_port)) {
            return Error(Code::already_exists, "bind: address already in use", EADDRINUSE);
        }
    }
    Socket socket;
    socket.shard = shard;
    socket.local = local;
    socket.listening = true;
    socket.reuse_port = options.reuse_port;
    socket.backlog = static_cast<std::size_t>(options.backlog);
    return add(std::move(socket));
}

Handle Network::open_socket(std::size_t shard) {
    Socket socket;
    socket.shard = shard;
    return add(std::move(socket));
}

Result<SockAddr> Network::local_address(Handle handle) const {
    const auto at = sockets_.find(handle);
    if (at == sockets_.end()) return Error(Code::io_error, "getsockname: bad handle", EBADF);
    return at->second.local;
}

Result<SockAddr> Network::peer_address(Handle handle) const {
    const auto at = sockets_.find(handle);
    if (at == sockets_.end()) return Error(Code::io_error, "getpeername: bad handle", EBADF);
    if (at->second.connection == nullptr) {
        return Error(Code::closed, "getpeername: not connected", ENOTCONN);
    }
    return at->second.peer;
}

void Network::submit(std::size_t shard, Op& op) {
    Socket& socket = get(op.handle);
    op.driver_state = op_parked;
    switch (op.code) {
    case OpCode::accept_multi:
        BLOOM_CHECK(socket.listening && socket.acceptor == nullptr);
        socket.acceptor = &op;
        serve_acceptor(socket);
        return;
    case OpCode::recv:
    case OpCode::recv_multi:
        if (socket.connection == nullptr) return core_.finish(shard, op, -ENOTCONN);
        BLOOM_CHECK(socket.reader == nullptr);
        socket.reader = &op;
        serve_reader(socket);
        return;
    case OpCode::send:
    case OpCode::sendmsg:
        return start_send(shard, op, socket);
    case OpCode::connect:
        return start_connect(shard, op, socket);
    case OpCode::shutdown:
        if (socket.connection == nullptr) return core_.finish(shard, op, -ENOTCONN);
        if (op.flags != SHUT_RD) transmit_fin(socket.connection, socket.side);
        return core_.finish(shard, op, 0);
    case OpCode::close:
        close(op.handle);
        return core_.finish(shard, op, 0);
    default:
        return core_.finish(shard, op, -EOPNOTSUPP);
    }
}

void Network::unpark(Op& op) noexcept {
    Socket& socket = get(op.handle);
    for (Op** place : {&socket.reader, &socket.writer, &socket.connecting, &socket.acceptor}) {
        if (*place == &op) *place = nullptr;
    }
}

// --- connecting
// -----------------------------------------------------------------------------------------------

void Network::start_connect(std::size_t shard, Op& op, Socket& socket) {
    if (socket.connection != nullptr) return core_.finish(shard, op, -EISCONN);
    const SockAddr peer = *static_cast<const SockAddr*>(op.data);
    socket.connecting = &op;
    socket.local = peer;
    socket.local.set_port(next_client_port_++);
    core_.schedule(core_.latency_ns(),
                   [this, client = op.handle, peer] { arrive_at_listener(client, peer); });
}

void Network::arrive_at_listener(Handle client_handle, const SockAddr& peer) {
    Socket* client = find(client_handle);
    if (client == nullptr || client->connecting == nullptr) return; // given up meanwhile
    std::vector<Socket*> candidates;
    for (auto& [handle, socket] : sockets_) {
        if (!socket.listening || socket.local.port() != peer.port()) continue;
        if (same_ip(socket.local, peer) || is_any(socket.local)) candidates.push_back(&socket);
    }
    const std::uint64_t back_ns = core_.latency_ns();
    Op& op = *std::exchange(client->connecting, nullptr);
    Socket* listener =
        candidates.empty() ? nullptr : candidates[core_.rng.below(candidates.size())];
    if (listener == nullptr || listener->pending.size() >= listener->backlog ||
        core_.chance(core_.faults.p_refuse)) {
        return core_.finish(client->shard, op, -ECONNREFUSED, false, {}, back_ns);
    }
    auto connection = std::make_shared<Connection>();
    client->connection = connection;
    client->side = 0;
    client->peer = peer;
    Socket server;
    server.shard = listener->shard;
    server.local = peer;
    server.peer = client->local;
    server.connection = connection;
    server.side = 1;
    core_.finish(client->shard, op, 0, false, {}, back_ns);
    connection->ends[0] = client_handle;
    connection->ends[1] = add(std::move(server)); // the map keeps `listener` where it is
    listener->pending.push_back(connection->ends[1]);
    serve_acceptor(*listener);
}

void Network::serve_acceptor(Socket& socket) {
    while (socket.acceptor != nullptr && !socket.pending.empty()) {
        Op& op = *socket.acceptor;
        const Handle accepted = socket.pending.front();
        socket.pending.pop_front();
        // Now and then the kernel ends a multishot although nothing is wrong.
        const bool more = !core_.chance(core_.faults.p_fragment / 8);
        if (!more) socket.acceptor = nullptr;
        core_.finish(socket.shard, op, static_cast<std::int32_t>(accepted), more);
    }
}

// --- sending
// --------------------------------------------------------------------------------------------------

void Network::start_send(std::size_t shard, Op& op, Socket& socket) {
    if (socket.connection == nullptr) return core_.finish(shard, op, -ENOTCONN);
    Connection& connection = *socket.connection;
    Pipe& pipe = connection.pipes[socket.side];
    if (connection.reset) return core_.finish(shard, op, -ECONNRESET);
    if (pipe.fin_sent) return core_.finish(shard, op, -EPIPE);
    const std::size_t room =
        core_.faults.pipe_bytes - std::min(core_.faults.pipe_bytes, pipe.n_inside);
    if (room == 0) {
        BLOOM_CHECK(socket.writer == nullptr); // two senders at once
        socket.writer = &op;
        return;
    }
    std::size_t n = room;
    if (core_.chance(core_.faults.p_fragment))
        n = core_.between(1, std::min<std::size_t>(room, 3000));
    Bytes bytes = gather(op, n);
    n = bytes.size();
    transmit(socket.connection, socket.side, std::move(bytes));
    core_.finish(shard, op, static_cast<std::int32_t>(n));
}

void Network::transmit(const std::shared_ptr<Connection>& connection, std::size_t side,
                       Bytes bytes) {
    Pipe& pipe = connection->pipes[side];
    pipe.n_inside += bytes.size();
    pipe.last_arrival_ns = std::max(core_.now_ns + core_.latency_ns(), pipe.last_arrival_ns + 1);
    if (connection->ends[1 - side] == Handle::none || core_.chance(core_.faults.p_reset)) {
        // Nobody there any more, or the path breaks: the answer is a reset.
        core_.schedule_at(pipe.last_arrival_ns, [this, connection] { reset(connection); });
        return;
    }
    core_.schedule_at(pipe.last_arrival_ns, [this, connection, side, data = std::move(bytes)] {
        Pipe& to = connection->pipes[side];
        if (connection->reset) return;
        if (connection->ends[1 - side] == Handle::none) return reset(connection);
        to.arrived.insert(to.arrived.end(), data.begin(), data.end());
        serve_side(*connection, 1 - side);
    });
}

void Network::transmit_fin(const std::shared_ptr<Connection>& connection, std::size_t side) {
    Pipe& pipe = connection->pipes[side];
    if (std::exchange(pipe.fin_sent, true)) return;
    pipe.last_arrival_ns = std::max(core_.now_ns + core_.latency_ns(), pipe.last_arrival_ns + 1);
    core_.schedule_at(pipe.last_arrival_ns, [this, connection, side] {
        connection->pipes[side].fin_arrived = true;
        serve_side(*connection, 1 - side);
    });
}

void Network::reset(const std::shared_ptr<Connection>& connection) {
    if (std::exchange(connection->reset, true)) return;
    for (std::size_t side = 0; side < 2; ++side) {
        Socket* socket = find(connection->ends[side]);
        if (socket == nullptr) continue;
        if (socket->writer != nullptr) {
            core_.finish(socket->shard, *std::exchange(socket->writer, nullptr), -ECONNRESET);
        }
        serve_reader(*socket);
    }
}

// --- receiving
// ------------------------------------------------------------------------------------------------

void Network::serve_side(const Connection& connection, std::size_t side) {
    if (Socket* socket = find(connection.ends[side])) serve_reader(*socket);
}

void Network::serve_reader(Socket& socket) {
    Connection& connection = *socket.connection;
    Pipe& pipe = connection.pipes[1 - socket.side];
    while (socket.reader != nullptr) {
        Op& op = *socket.reader;
        if (pipe.arrived.empty()) {
            if (!connection.reset && !pipe.fin_arrived) return;
            socket.reader = nullptr;
            return core_.finish(socket.shard, op, connection.reset ? -ECONNRESET : 0);
        }
        const bool multi = op.code == OpCode::recv_multi;
        std::size_t n = std::min(pipe.arrived.size(), multi ? HeapChunks::kChunkBytes : op.size);
        if (core_.chance(core_.faults.p_fragment)) n = core_.between(1, n);
        const auto end = pipe.arrived.begin() + static_cast<std::ptrdiff_t>(n);
        Bytes bytes(pipe.arrived.begin(), end);
        pipe.arrived.erase(pipe.arrived.begin(), end);
        pipe.n_inside -= n;
        const bool more = multi && !core_.chance(core_.faults.p_fragment / 8);
        if (!more) socket.reader = nullptr;
        core_.finish(socket.shard, op, static_cast<std::int32_t>(n), more, std::move(bytes));
        // There is room again for whoever sends from the other end.
        Socket* sender = find(connection.ends[1 - socket.side]);
        if (sender != nullptr && sender->writer != nullptr) {
            start_send(sender->shard, *std::exchange(sender->writer, nullptr), *sender);
        }
    }
}

// --- closing
// --------------------------------------------------------------------------------------------------

void Network::close_now(Handle handle) {
    close(handle);
}

void Network::close(Handle handle) {
    Socket& socket = get(handle);
    // An operation on a closed descriptor would be the kernel's business no longer.
    BLOOM_CHECK(socket.reader == nullptr && socket.writer == nullptr);
    BLOOM_CHECK(socket.acceptor == nullptr && socket.connecting == nullptr);
    const std::deque<Handle> never_accepted = std::move(socket.pending);
    if (const std::shared_ptr<Connection> connection = socket.connection) {
        const std::size_t side = socket.side;
        connection->ends[side] = Handle::none;
        if (connection->pipes[1 - side].n_inside > 0) {
            core_.schedule(core_.latency_ns(), [this, connection] { reset(connection); });
        } else {
            transmit_fin(connection, side);
        }
    }
    sockets_.erase(handle);
    for (const Handle pending : never_accepted)
        close(pending);
}

} // namespace bloom::rt::sim
