#pragma once

#include <bloom/base/result.hpp>
#include <bloom/net/address.hpp>

namespace bloom::net {

/// Whether somebody listens at the address already. Listeners share their port among the shards of
/// a process (SO_REUSEPORT), and the kernel would share it with another process of the same user
/// just as well: a second node would take half of the first one's connections in silence.
/// Errors: already_exists. What else could be wrong with the address shows when listening.
/// Thread: any; blocks for a moment.
Result<> check_port_free(const Address& at);

} // namespace bloom::net
