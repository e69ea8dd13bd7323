#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>

#include <bloom/base/result.hpp>

#include "rt/sim/core.hpp"

namespace bloom::rt::sim {

/// TCP in memory: listeners, connections of two bounded pipes, and everything that can go wrong
/// between them. What a program can see follows Linux: data before errors, reset on close with
/// unread bytes, half-close.
class Network {
public:
    explicit Network(Core& core) : core_(core) {}

    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    Result<Handle> listen(std::size_t shard, const SockAddr& at, const ListenOptions& options);
    Handle open_socket(std::size_t shard);
    Result<SockAddr> local_address(Handle handle) const;
    Result<SockAddr> peer_address(Handle handle) const;

    bool owns(Handle handle) const { return sockets_.contains(handle); }

    std::size_t n_open() const noexcept { return sockets_.size(); }

    /// accept_multi, recv, recv_multi, send, sendmsg, connect, shutdown, close.
    void submit(std::size_t shard, Op& op);
    /// Takes a parked operation out of where it waits.
    void unpark(Op& op) noexcept;
    void close_now(Handle handle);

private:
    /// One direction of a connection.
    struct Pipe {
        std::deque<std::uint8_t> arrived;
        std::size_t n_inside = 0; ///< bytes on the way and arrived
        std::uint64_t last_arrival_ns = 0;
        bool fin_sent = false;
        bool fin_arrived = false;
    };

    /// Side s writes into pipes[s] and reads from pipes[1 - s].
    struct Connection {
        std::array<Pipe, 2> pipes;
        std::array<Handle, 2> ends{Handle::none, Handle::none}; ///< none: closed
        bool reset = false;
    };

    struct Socket {
        std::size_t shard = 0;
        SockAddr local;
        SockAddr peer;
        // a connected one
        std::shared_ptr<Connection> connection;
        std::size_t side = 0;
        Op* reader = nullptr;
        Op* writer = nullptr;
        Op* connecting = nullptr;
        // a listening one
        bool listening = false;
        bool reuse_port = false;
        std::size_t backlog = 0;
        std::deque<Handle> pending;
        Op* acceptor = nullptr;
    };

    Handle add(Socket socket);
    Socket& get(Handle handle);
    Socket* find(Handle handle);

    void start_connect(std::size_t shard, Op& op, Socket& socket);
    void arrive_at_listener(Handle client, const SockAddr& peer);
    void start_send(std::size_t shard, Op& op, Socket& socket);
    void transmit(const std::shared_ptr<Connection>& connection, std::size_t side, Bytes bytes);
    void transmit_fin(const std::shared_ptr<Connection>& connection, std::size_t side);
    void reset(const std::shared_ptr<Connection>& connection);
    void serve_reader(Socket& socket);
    void serve_side(const Connection& connection, std::size_t side);
    void serve_acceptor(Socket& socket);
    void close(Handle handle);

    Core& core_;
    std::map<Handle, Socket> sockets_; // ordered: the trace depends on nothing but the seed
    std::int32_t next_handle_ = 1000;
    std::uint16_t next_listen_port_ = 20000;
    std::uint16_t next_client_port_ = 40000;
};

} // namespace bloom::rt::sim
