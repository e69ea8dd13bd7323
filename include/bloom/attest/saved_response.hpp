#pragma once

#include <map>
#include <string>
#include <string_view>

#include <bloom/attest/verify.hpp>
#include <bloom/base/result.hpp>

namespace bloom::attest {

/// A response as somebody saved it.
struct SavedResponse {
    std::map<std::string, std::string, std::less<>> headers; ///< names in lower case; may be empty
    std::string body;
};

/// Reads the file that `curl -D` writes: the head of the final response (interim ones, proxies' and
/// redirects' before it are passed over), and trailers behind it.
/// Errors: invalid_argument for what holds no head.
Result<SavedResponse> read_saved_head(std::string_view text);

/// Reads what `curl -i` writes: heads, the body as it was framed, trailers behind a stream.
/// Errors: as above.
Result<SavedResponse> read_saved_dump(std::string_view text);

/// Whether the response is an event stream, by its head or, where there is none, by how it begins.
bool is_stream(const SavedResponse& response);

/// The bytes and the evidence of a saved response of either kind.
/// Errors: invalid_argument naming the header that lacks or what is wrong with the stream.
Result<SignedBytes> signed_bytes_of(const SavedResponse& response);

} // namespace bloom::attest
