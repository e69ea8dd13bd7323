#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>

namespace bloom::http {

/// The methods that are served; any other token is answered with 501.
enum class Method : std::uint8_t { get, head, post, put, patch, del, options };

inline constexpr std::size_t kMethodCount = 7;

std::string_view to_string(Method method) noexcept;
/// Case-sensitive, RFC 9110 9.1.
std::optional<Method> parse_method(std::string_view token) noexcept;

enum class Version : std::uint8_t { http_1_0, http_1_1 };

/// One field of a head. Views into the buffer that holds the head.
struct Header {
    std::string_view name;
    std::string_view value;
};

/// The fields of one head in order of arrival: a view over offsets into the head's bytes.
/// Lifetime: that of the Exchange (or client response) that handed it out.
class Headers {
public:
    struct Offsets {
        std::uint32_t name = 0;
        std::uint32_t value = 0;
        std::uint32_t value_bytes = 0;
        std::uint16_t name_bytes = 0;
    };

    Headers() noexcept = default;

    Headers(const char* base, std::span<const Offsets> fields) noexcept
        : base_(base), fields_(fields) {}

    std::size_t size() const noexcept { return fields_.size(); }

    Header operator[](std::size_t i) const noexcept {
        const Offsets& f = fields_[i];
        return {{base_ + f.name, f.name_bytes}, {base_ + f.value, f.value_bytes}};
    }

    /// Value of the first field of that name (ASCII case ignored), blanks around it removed.
    std::optional<std::string_view> find(std::string_view name) const noexcept;
    std::size_t count(std::string_view name) const noexcept;
    /// Whether a comma-separated list field (all its lines together) has `token`, case ignored.
    bool has_token(std::string_view name, std::string_view token) const noexcept;

private:
    const char* base_ = nullptr;
    std::span<const Offsets> fields_;
};

enum class BodyKind : std::uint8_t { none, length, chunked };

/// A request head that passed every check. All text is a view; see Headers for the lifetime.
struct RequestHead {
    Method method = Method::get;
    Version version = Version::http_1_1;
    BodyKind body = BodyKind::none;
    bool keep_alive =
        false; ///< what the client asked for, RFC 9112 9.3; false beside an upgrade offer
    bool expect_continue = false;     ///< waits for 100 (Continue) before it sends the body
    bool upgrade = false;             ///< Connection names upgrade and an Upgrade field is there
    std::uint64_t content_length = 0; ///< for BodyKind::length
    std::string_view target;          ///< as sent
    std::string_view path;            ///< begins with '/', still percent-encoded; "*" for OPTIONS *
    std::string_view query;           ///< behind the '?', without it
    std::string_view host;            ///< authority of an absolute target, else the Host field
    Headers headers;
};

/// Decodes %XX in a path segment or query value ('+' stays '+').
/// Errors: invalid_argument for a bad escape, for a decoded NUL and for text that is not UTF-8.
Result<std::string> percent_decode(std::string_view text);

/// Raw value of the first `name=value` pair of a query; empty for a bare name; nothing if absent.
std::optional<std::string_view> query_value(std::string_view query, std::string_view name) noexcept;

} // namespace bloom::http
