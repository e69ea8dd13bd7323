#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>

#include <bloom/base/text.hpp>
#include <bloom/net/address.hpp>

namespace bloom::net {
namespace {

Error bad_address(std::string_view text, std::string_view why) {
    return Error(Code::invalid_argument,
                 "address " + quoted(text) + ": " + std::string(why) +
                     "; expected ADDR:PORT such as 127.0.0.1:8080, [::1]:8080 or :8080");
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const char* end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, port);
    if (error != std::errc{} || at != end || text.empty()) return std::nullopt;
    return port;
}

} // namespace

Address::Address() noexcept {
    raw_.raw.v4.sin_family = AF_INET;
}

Result<Address> Address::from_ip(std::string_view ip, std::uint16_t port) {
    const std::string text(ip);
    Address address;
    if (::inet_pton(AF_INET, text.c_str(), &address.raw_.raw.v4.sin_addr) == 1) {
        return address.with_port(port);
    }
    address.raw_ = {};
    address.raw_.raw.v6.sin6_family = AF_INET6;
    if (::inet_pton(AF_INET6, text.c_str(), &address.raw_.raw.v6.sin6_addr) == 1) {
        return address.with_port(port);
    }
    return Error(Code::invalid_argument, quoted(ip) + " is not an IPv4 or IPv6 address");
}

Result<Address> Address::parse(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return bad_address(text, "no port");
    std::string_view host = text.substr(0, colon);
    const std::optional<std::uint16_t> port = parse_port(text.substr(colon + 1));
    if (!port) return bad_address(text, "the port is not a number from 0 to 65535");
    if (host.empty()) return Address().with_port(*port);
    if (host == "localhost") return loopback(*port);
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    const bool v6 = host.find(':') != std::string_view::npos;
    if (v6 && !bracketed) return bad_address(text, "IPv6 needs brackets");
    if (bracketed && !v6) return bad_address(text, "brackets are for IPv6");
    Result<Address> address = from_ip(host, *port);
    if (!address) return bad_address(text, quoted(host) + " is not an IP address");
    return address;
}

Address Address::loopback(std::uint16_t port) noexcept {
    Address address;
    address.raw_.raw.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.raw_.set_port(port);
    return address;
}

Address Address::with_port(std::uint16_t port) const noexcept {
    Address changed = *this;
    changed.raw_.set_port(port);
    return changed;
}

bool Address::is_loopback() const noexcept {
    if (is_v6()) return IN6_IS_ADDR_LOOPBACK(&raw_.raw.v6.sin6_addr) != 0;
    return (ntohl(raw_.raw.v4.sin_addr.s_addr) >> 24) == 127;
}

bool Address::is_any() const noexcept {
    if (is_v6()) return IN6_IS_ADDR_UNSPECIFIED(&raw_.raw.v6.sin6_addr) != 0;
    return raw_.raw.v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

std::string Address::ip() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* from = is_v6() ? static_cast<const void*>(&raw_.raw.v6.sin6_addr)
                               : static_cast<const void*>(&raw_.raw.v4.sin_addr);
    ::inet_ntop(is_v6() ? AF_INET6 : AF_INET, from, text.data(), text.size());
    return text.data();
}

std::string Address::to_string() const {
    const std::string port_text = std::to_string(port());
    return is_v6() ? "[" + ip() + "]:" + port_text : ip() + ":" + port_text;
}

bool Address::operator==(const Address& other) const noexcept {
    if (is_v6() != other.is_v6() || port() != other.port()) return false;
    if (!is_v6()) return raw_.raw.v4.sin_addr.s_addr == other.raw_.raw.v4.sin_addr.s_addr;
    return std::memcmp(&raw_.raw.v6.sin6_addr, &other.raw_.raw.v6.sin6_addr, sizeof(in6_addr)) == 0;
}

} // namespace bloom::net
