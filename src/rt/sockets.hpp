#pragma once

#include <string>
#include <vector>

#include <bloom/base/fd.hpp>
#include <bloom/base/result.hpp>
#include <bloom/rt/driver.hpp>

namespace bloom::rt {

// The system calls around sockets that do not wait, as Results.

/// A bound, listening TCP socket. Errors: already_exists (address in use), permission_denied,
/// io_error.
Result<Fd> listen_tcp(const SockAddr& at, const ListenOptions& options);
/// An unconnected TCP socket with NODELAY.
Result<Fd> open_tcp(const SockAddr& peer);
Result<SockAddr> socket_address(int fd, bool peer);
Result<Fd> open_signalfd(const std::vector<int>& signals);
/// Errors: not_found, naming the host and the resolver's reason.
Result<std::vector<SockAddr>> resolve_host(const std::string& host);

} // namespace bloom::rt
