#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>
#include <bloom/rt/driver.hpp>

namespace bloom::net {

/// An IP address with a port. Plain value.
class Address {
public:
    /// 0.0.0.0:0
    Address() noexcept;

    explicit Address(const rt::SockAddr& raw) noexcept : raw_(raw) {}

    /// "127.0.0.1:8080", "[::1]:80", ":8080" (all IPv4 interfaces), "localhost:80". The port is
    /// required and may be 0. Errors: invalid_argument, quoting the text and saying what was
    /// expected.
    static Result<Address> parse(std::string_view text);
    /// "127.0.0.1" or "::1", without brackets, and a port. Errors: invalid_argument for anything
    /// else.
    static Result<Address> from_ip(std::string_view ip, std::uint16_t port);
    static Address loopback(std::uint16_t port) noexcept;

    std::uint16_t port() const noexcept { return raw_.port(); }

    Address with_port(std::uint16_t port) const noexcept;

    bool is_v6() const noexcept { return raw_.is_v6(); }

    bool is_loopback() const noexcept;
    /// 0.0.0.0 or [::]
    bool is_any() const noexcept;

    /// "127.0.0.1:8080" or "[::1]:8080"
    std::string to_string() const;
    /// Without the port and without brackets.
    std::string ip() const;

    const rt::SockAddr& raw() const noexcept { return raw_; }

    bool operator==(const Address& other) const noexcept;

private:
    rt::SockAddr raw_;
};

} // namespace bloom::net
