#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/base/check.hpp>

namespace bloom::json {

/// Appends the text as a JSON string with quotes. Escaped are quote, backslash and the control
/// bytes below 0x20 (short forms where JSON has them); everything else stays as it is. Ill-formed
/// UTF-8 becomes U+FFFD per maximal subpart, so the output is valid whatever comes in.
void append_string(std::string& out, std::string_view text);
/// The same without the quotes, for strings built in pieces. Pieces must end on whole characters.
void append_escaped(std::string& out, std::string_view text);
void append_int(std::string& out, std::int64_t value);
void append_uint(std::string& out, std::uint64_t value);
/// Shortest text that reads back as the same double, with ".0" when it would look like an integer.
/// NaN and infinities, which JSON lacks, become null. Independent of the locale.
void append_double(std::string& out, double value);

/// Writes one JSON text into the caller's string and places commas and colons.
/// Contract: inside objects every value follows key(); scopes are closed in order (checked).
/// Lifetime: keeps a reference to the string. Thread: one.
class Writer {
public:
    /// Scopes inside one another; our own shapes stay far below.
    static constexpr unsigned kMaxScopes = 64;

    explicit Writer(std::string& out) noexcept : out_(out) {}

    Writer& begin_object() { return open('{'); }

    Writer& end_object() { return close('}'); }

    Writer& begin_array() { return open('['); }

    Writer& end_array() { return close(']'); }

    Writer& key(std::string_view name);

    Writer& string(std::string_view text);
    Writer& boolean(bool value);
    Writer& null();
    Writer& number(double value);

    template <std::integral T>
        requires(!std::same_as<T, bool>)
    Writer& integer(T value) {
        comma();
        if constexpr (std::signed_integral<T>) {
            append_int(out_, value);
        } else {
            append_uint(out_, value);
        }
        return *this;
    }

    /// A text that already is JSON, put in unchanged.
    Writer& raw(std::string_view json);

    /// Whether every scope is closed.
    bool complete() const noexcept { return depth_ == 0; }

private:
    Writer& open(char bracket);
    Writer& close(char bracket);
    /// Puts the comma that the next value or key needs.
    void comma();

    std::string& out_;
    std::uint64_t has_items_ = 0; ///< bit d: scope d already holds something
    unsigned depth_ = 0;
    bool after_key_ = false;
};

} // namespace bloom::json
