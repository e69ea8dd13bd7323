#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <bloom/attest/response_signer.hpp>
#include <bloom/attest/statement.hpp>
#include <bloom/base/result.hpp>
#include <bloom/crypto/sign.hpp>

namespace bloom::attest {

/// The signed bytes of a response that was received whole.
struct SignedBytes {
    std::string hash; ///< SHA-256 hex
    std::int64_t n_bytes = 0;
    std::optional<Evidence> evidence; ///< streams carry theirs
};

/// All of a body that is not a stream.
SignedBytes signed_bytes_of_body(std::string_view body);

/// Of an event stream: everything up to the signature comment but what servers add, which is
/// blocks of nothing but comments (each line begins with ':' and holds no CR) and exactly the
/// `ping` event of the Anthropic dialect. Behind the comment there may be such blocks and one
/// `data: [DONE]`.
/// Errors: invalid_argument for a stream that is cut, holds more than that, or has no signature.
Result<SignedBytes> signed_bytes_of_stream(std::string_view stream);

/// Checks hash, signature, statement and their agreement. `trusted` is the key that the caller
/// expects; without one the key that came with the response is used, which proves only that the
/// parts fit together. Returns the statement. Errors: invalid_argument saying which check failed.
Result<Statement> verify(const SignedBytes& bytes, const Evidence& evidence,
                         const crypto::VerifyKey* trusted);

} // namespace bloom::attest
