#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace bloom {

/// The closed list of ways in which something can fail. `api/error_map` alone turns these into
/// HTTP.
enum class Code : std::uint8_t {
    cancelled, ///< asked to stop; the text says why (client gone, deadline, shutdown, overload)
    timeout,   ///< a deadline passed
    closed,    ///< the peer or the channel has ended
    truncated, ///< more input is needed
    protocol_error,   ///< the peer broke the protocol
    invalid_argument, ///< the caller's value is outside what the contract allows
    corrupt,          ///< stored data does not keep its own format
    unsupported,      ///< understood, but not something we do
    not_found,
    already_exists,
    too_large,     ///< a named bound on a size was reached
    limit_reached, ///< a named bound on a count or rate was reached
    unauthenticated,
    permission_denied,
    insufficient_funds,
    id_reused,
    busy,        ///< no capacity now, later perhaps
    unavailable, ///< the thing needed does not run here at present
    out_of_memory,
    io_error,      ///< the operating system said no; errno tells
    machine_lacks, ///< this machine cannot do it (exit code 3)
    internal,      ///< our own fault
};

/// Name of a code as it stands in the enum, for logs and tests.
std::string_view to_string(Code code) noexcept;

/// A failure as a value: what kind, one sentence that names the thing, its value and the next step,
/// and the errno where one exists. Lifetime: owns its text. Messages never contain secrets or
/// prompts.
class [[nodiscard]] Error {
public:
    explicit Error(Code code) : code_(code) {}

    Error(Code code, std::string message, int sys_errno = 0)
        : code_(code), errno_(sys_errno), message_(std::move(message)) {}

    /// From the current errno of a failed system call; `what` names the call and its object.
    static Error from_errno(int sys_errno, std::string_view what);

    Code code() const noexcept { return code_; }

    int sys_errno() const noexcept { return errno_; }

    /// The sentence; the code's name when none was given.
    std::string_view message() const noexcept {
        return message_.empty() ? to_string(code_) : std::string_view(message_);
    }

    /// Puts `prefix: ` in front, where the abstraction changes.
    Error with_context(std::string_view prefix) &&;

    /// `return Error{...}` from any function that returns Result<T>.
    template <class T>
    operator std::expected<T, Error>() && { // NOLINT(google-explicit-constructor)
        return std::unexpected<Error>(std::move(*this));
    }

private:
    Code code_;
    int errno_ = 0;
    std::string message_;
};

} // namespace bloom
