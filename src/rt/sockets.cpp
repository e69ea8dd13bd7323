#include "rt/sockets.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/signalfd.h>
#include <utility>

namespace bloom::rt {
namespace {

Error socket_error(const char* what) {
    const int sys_errno = errno;
    const Error plain = Error::from_errno(sys_errno, what);
    Code code = Code::io_error;
    if (sys_errno == EADDRINUSE) code = Code::already_exists;
    if (sys_errno == EACCES || sys_errno == EPERM) code = Code::permission_denied;
    if (sys_errno == EMFILE || sys_errno == ENFILE) code = Code::limit_reached;
    if (sys_errno == EADDRNOTAVAIL || sys_errno == EAFNOSUPPORT) code = Code::unavailable;
    return Error(code, std::string(plain.message()), sys_errno);
}

Result<> set_flag(int fd, int level, int option, const char* what) {
    const int on = 1;
    if (::setsockopt(fd, level, option, &on, sizeof on) != 0) return socket_error(what);
    return {};
}

Result<Fd> tcp_socket(const SockAddr& address) {
    // Blocking on purpose: the ring waits for readiness itself, a non-blocking socket would give
    // EAGAIN.
    Fd fd(::socket(address.raw.base.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return socket_error("socket");
    BLOOM_OK(set_flag(fd.get(), IPPROTO_TCP, TCP_NODELAY, "setsockopt TCP_NODELAY"));
    return fd;
}

} // namespace

Result<Fd> listen_tcp(const SockAddr& at, const ListenOptions& options) {
    // Accepted sockets inherit TCP_NODELAY from the listener on Linux.
    BLOOM_TRY(Fd fd, tcp_socket(at));
    BLOOM_OK(set_flag(fd.get(), SOL_SOCKET, SO_REUSEADDR, "setsockopt SO_REUSEADDR"));
    if (options.reuse_port) {
        BLOOM_OK(set_flag(fd.get(), SOL_SOCKET, SO_REUSEPORT, "setsockopt SO_REUSEPORT"));
    }
    if (::bind(fd.get(), &at.raw.base, at.size()) != 0) return socket_error("bind");
    if (::listen(fd.get(), options.backlog) != 0) return socket_error("listen");
    return fd;
}

Result<Fd> open_tcp(const SockAddr& peer) {
    return tcp_socket(peer);
}

Result<SockAddr> socket_address(int fd, bool peer) {
    SockAddr address;
    socklen_t size = sizeof address.raw;
    const int rc = peer ? ::getpeername(fd, &address.raw.base, &size)
                        : ::getsockname(fd, &address.raw.base, &size);
    if (rc != 0) return socket_error(peer ? "getpeername" : "getsockname");
    return address;
}

Result<Fd> open_signalfd(const std::vector<int>& signals) {
    sigset_t mask;
    sigemptyset(&mask);
    for (const int signo : signals)
        sigaddset(&mask, signo);
    Fd fd(::signalfd(-1, &mask, SFD_CLOEXEC));
    if (!fd) return socket_error("signalfd");
    return fd;
}

Result<std::vector<SockAddr>> resolve_host(const std::string& host) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* list = nullptr;
    const int rc = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
    if (rc != 0) return Error(Code::not_found, "host " + host + ": " + ::gai_strerror(rc));
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, &::freeaddrinfo);
    std::vector<SockAddr> found;
    for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
        SockAddr address;
        if (at->ai_addrlen > sizeof address.raw) continue;
        std::memcpy(&address.raw, at->ai_addr, at->ai_addrlen);
        found.push_back(address);
    }
    if (found.empty()) return Error(Code::not_found, "host " + host + ": no IPv4 or IPv6 address");
    return found;
}

} // namespace bloom::rt
