#include "dialect/render.hpp"

#include <fmt/format.h>

#include <bloom/base/bytes.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::dialect {

PublicFailure public_failure(gen::Failure failure) noexcept {
    switch (failure) {
    case gen::Failure::timeout:
        return {"timeout", "The response took too long and was stopped."};
    case gen::Failure::overloaded:
        return {"provider_error", "The machine ran out of capacity while answering."};
    case gen::Failure::cancelled:
        return {"provider_error", "The request was cancelled."};
    default:
        return {"provider_error", "The machine that was answering failed. Please try again."};
    }
}

std::string_view finish_name(gen::Finish finish) noexcept {
    switch (finish) {
    case gen::Finish::length:
        return "length";
    case gen::Finish::tool_calls:
        return "tool_calls";
    case gen::Finish::stop:
    case gen::Finish::cancelled:
    case gen::Finish::none:
        return "stop";
    }
    return "stop";
}

std::string derived_id(const gen::RenderSpec& spec, std::string_view prefix, std::int32_t choice,
                       std::int32_t index) {
    constexpr std::size_t kDigits = 24;
    constexpr std::string_view kAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "abcdefghijklmnopqrstuvwxyz";
    const std::string name = fmt::format("{}:{}:{}:{}", spec.response_id, prefix, choice, index);
    const crypto::Sha256 digest = crypto::sha256(as_bytes(name));
    std::string id(prefix);
    // The remainder's bias does not matter: an id has to differ from others, not to be secret.
    for (std::size_t i = 0; i < kDigits; ++i)
        id += kAlphabet[digest[i] % kAlphabet.size()];
    return id;
}

} // namespace bloom::dialect
