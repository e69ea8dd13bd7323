#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/base/result.hpp>

namespace bloom::attest {

/// Which bytes of the response a statement is about: all of it, unless a stream was continued by
/// another node.
struct Segment {
    std::int64_t index = 0;
    std::int64_t first_byte = 0; ///< among the signed bytes
    std::int64_t n_bytes = 0;

    friend bool operator==(const Segment&, const Segment&) = default;
};

/// What a node says about a response that it made (provider network section 2.8): binds the answer
/// to the question, the model's build and the counts.
struct Statement {
    std::string response_id;
    std::string request_hash;    ///< SHA-256 hex of the request's body
    std::string response_hash;   ///< SHA-256 hex of the signed bytes
    std::string model;           ///< as the client wrote it
    std::string build;           ///< what the node ran
    std::string manifest_sha256; ///< of the build's files; empty: not known
    std::int64_t prompt_tokens = 0;
    std::int64_t completion_tokens = 0;
    std::string finish_reason; ///< of the choices in order, commas between
    std::string node_id;
    std::int64_t ts = 0; ///< Unix seconds of the signature
    Segment segment;

    friend bool operator==(const Statement&, const Statement&) = default;
};

/// The version that is written and read.
inline constexpr std::int64_t kStatementVersion = 1;

/// Canonical JSON: members sorted by name, no white space.
std::string to_json(const Statement& statement);

/// Reads what to_json writes; unknown members are ignored, so that later versions may add some.
/// Errors: invalid_argument naming the member.
Result<Statement> parse_statement(std::string_view json);

/// What is signed: the domain, then the exact bytes of the JSON. The domain keeps a signature over
/// one kind of text from passing for one over another.
std::string statement_message(std::string_view json);

} // namespace bloom::attest
