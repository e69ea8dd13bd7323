#include <fmt/format.h>

#include <bloom/attest/verify.hpp>
#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::attest {
namespace {

constexpr std::string_view kDone = "data: [DONE]\n\n";

/// Clients hand events of type `ping` on, so nothing else may hide behind that name.
constexpr std::string_view kPing = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

Error failed(std::string message) {
    return Error{Code::invalid_argument, std::move(message)};
}

/// A block of nothing but comments. A CR would end the comment for readers of event streams.
bool is_comment(std::string_view block) noexcept {
    block.remove_suffix(1);
    while (!block.empty()) {
        const std::string_view line = block.substr(0, block.find('\n'));
        if (!line.starts_with(':') || line.find('\r') != std::string_view::npos) return false;
        block.remove_prefix(line.size() + 1);
    }
    return true;
}

/// What servers add: outside the signed bytes.
bool is_outside(std::string_view block) noexcept {
    return block == kPing || is_comment(block);
}

/// The text of a signature comment, or nothing.
std::optional<std::string_view> signature_text(std::string_view block) noexcept {
    std::string head = ": ";
    head += kCommentTag;
    if (!block.starts_with(head)) return std::nullopt;
    block.remove_prefix(head.size());
    block.remove_suffix(2);
    return block;
}

Result<std::string> decode_signature(std::string_view name, const std::string& text) {
    const auto bytes = from_base64(text);
    if (!bytes || bytes->empty()) return failed(fmt::format("{}: not base64", name));
    return std::string(as_text(*bytes));
}

} // namespace

SignedBytes signed_bytes_of_body(std::string_view body) {
    return {crypto::sha256_hex(body), static_cast<std::int64_t>(body.size()), std::nullopt};
}

Result<SignedBytes> signed_bytes_of_stream(std::string_view stream) {
    crypto::Sha256Stream hash;
    SignedBytes out;
    bool done = false;
    while (!stream.empty()) {
        const std::size_t end = stream.find("\n\n");
        if (end == std::string_view::npos) return failed("the stream ends within an event");
        const std::string_view block = stream.substr(0, end + 2);
        stream.remove_prefix(block.size());
        if (const auto text = signature_text(block)) {
            if (out.evidence) return failed("the stream has two signatures");
            BLOOM_TRY(out.evidence, parse_signature_comment(*text));
        } else if (is_outside(block)) {
            continue;
        } else if (out.evidence) {
            if (done || block != kDone) return failed("something follows the signature");
            done = true;
        } else {
            hash.update(as_bytes(block));
            out.n_bytes += static_cast<std::int64_t>(block.size());
        }
    }
    if (!out.evidence) return failed("the stream has no signature; was it cut or did it fail?");
    out.hash = to_hex(hash.finish());
    return out;
}

Result<Statement> verify(const SignedBytes& bytes, const Evidence& evidence,
                         const crypto::VerifyKey* trusted) {
    if (bytes.hash != evidence.response_hash) {
        return failed(fmt::format("the hash of the {} bytes is {}, the response names {}",
                                  bytes.n_bytes, bytes.hash, quoted(evidence.response_hash)));
    }
    std::optional<crypto::VerifyKey> own;
    if (!evidence.public_key.empty()) {
        BLOOM_TRY(own, crypto::VerifyKey::from_base64(evidence.public_key));
    }
    if (trusted == nullptr && !own) return failed("there is no key to check the signature with");
    if (trusted != nullptr && own && !(*own == *trusted))
        return failed("the response names another key than the one that was expected");
    const crypto::VerifyKey& key = trusted != nullptr ? *trusted : *own;

    BLOOM_TRY(const std::string signature,
              decode_signature("signature of the hash", evidence.se_signature));
    if (!key.verify(as_bytes(evidence.response_hash), as_bytes(signature)))
        return failed("the signature of the hash is not this key's");

    const auto json = from_base64url(evidence.statement);
    if (!json) return failed("the statement is not base64url");
    BLOOM_TRY(const std::string statement_signature,
              decode_signature("signature of the statement", evidence.statement_signature));
    if (!key.verify(as_bytes(statement_message(as_text(*json))), as_bytes(statement_signature)))
        return failed("the signature of the statement is not this key's");
    Result<Statement> statement = parse_statement(as_text(*json));
    if (!statement) return std::move(statement).error().with_context("statement");
    if (statement->response_hash != bytes.hash)
        return failed("the statement is about another response");
    if (statement->node_id != node_id_of(key))
        return failed("the statement names a node that the key does not belong to");
    if (statement->segment != Segment{0, 0, bytes.n_bytes})
        return failed("the statement is about a part of the response only");
    return statement;
}

} // namespace bloom::attest
