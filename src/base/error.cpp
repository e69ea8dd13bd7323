#include <array>
#include <cstring>

#include <bloom/base/error.hpp>

namespace bloom {

std::string_view to_string(Code code) noexcept {
    static constexpr std::array kNames{
        "cancelled",
        "timeout",
        "closed",
        "truncated",
        "protocol_error",
        "invalid_argument",
        "corrupt",
        "unsupported",
        "not_found",
        "already_exists",
        "too_large",
        "limit_reached",
        "unauthenticated",
        "permission_denied",
        "insufficient_funds",
        "id_reused",
        "busy",
        "unavailable",
        "out_of_memory",
        "io_error",
        "machine_lacks",
        "internal",
    };
    static_assert(kNames.size() == static_cast<std::size_t>(Code::internal) + 1);
    return kNames[static_cast<std::size_t>(code)];
}

Error Error::from_errno(int sys_errno, std::string_view what) {
    std::array<char, 128> buffer{};
    // The GNU form returns the text, which need not be the buffer.
    const char* text = strerror_r(sys_errno, buffer.data(), buffer.size());
    std::string message(what);
    message += ": ";
    message += text;
    return {Code::io_error, std::move(message), sys_errno};
}

Error Error::with_context(std::string_view prefix) && {
    std::string message(prefix);
    message += ": ";
    message += this->message();
    message_ = std::move(message);
    return std::move(*this);
}

} // namespace bloom
