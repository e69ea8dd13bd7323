#include <cerrno>
#include <sys/socket.h>
#include <unistd.h>

#include <bloom/base/fd.hpp>
#include <bloom/net/port.hpp>

namespace bloom::net {

Result<> check_port_free(const Address& at) {
    if (at.port() == 0) return {}; // the kernel picks one that is
    const Fd probe(::socket(at.is_v6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!probe) return {};
    // Connections of an earlier node that linger in TIME_WAIT do not count.
    const int on = 1;
    ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(probe.get(), &at.raw().raw.base, at.raw().size()) == 0 || errno != EADDRINUSE)
        return {};
    return Error{Code::already_exists,
                 "listen on " + at.to_string() +
                     ": the address is in use; stop the program there or choose another with "
                     "--listen"};
}

} // namespace bloom::net
