#include <bloom/attest/response_signer.hpp>
#include <bloom/base/text.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::attest {

std::string signature_comment(const Evidence& evidence) {
    std::string out = ": ";
    out += kCommentTag;
    json::Writer w(out);
    w.begin_object();
    w.key("response_hash").string(evidence.response_hash);
    w.key("se_signature").string(evidence.se_signature);
    w.key("statement").string(evidence.statement);
    w.key("statement_signature").string(evidence.statement_signature);
    w.key("public_key").string(evidence.public_key);
    w.end_object();
    out += "\n\n";
    return out;
}

Result<Evidence> parse_signature_comment(std::string_view json) {
    json::Parser parser;
    BLOOM_TRY(const json::Value document, parser.parse(json));
    BLOOM_TRY(const json::Object object, document.as_object());
    Evidence out;
    for (const json::Member member : object) {
        std::string* const at = member.key == "response_hash"         ? &out.response_hash
                                : member.key == "se_signature"        ? &out.se_signature
                                : member.key == "statement"           ? &out.statement
                                : member.key == "statement_signature" ? &out.statement_signature
                                : member.key == "public_key"          ? &out.public_key
                                                                      : nullptr;
        if (at == nullptr) continue; // the comparison below refuses it
        BLOOM_TRY(const std::string_view text, member.value.as_string());
        *at = std::string(text);
    }
    const std::string written = signature_comment(out);
    const std::size_t head = 2 + kCommentTag.size(); // behind the colon and a space
    if (std::string_view(written).substr(head, written.size() - head - 2) != json)
        return Error{Code::invalid_argument, "not a signature comment as nodes write it"};
    return out;
}

void ResponseSigner::update(std::string_view bytes) noexcept {
    hash_.update(as_bytes(bytes));
    n_bytes_ += static_cast<std::int64_t>(bytes.size());
}

Result<Evidence> ResponseSigner::finish(Statement statement) {
    Evidence out;
    out.response_hash = to_hex(hash_.finish());
    BLOOM_TRY(out.se_signature, key_.sign(out.response_hash));
    statement.response_hash = out.response_hash;
    statement.node_id = key_.node_id();
    statement.segment = {0, 0, n_bytes_};
    const std::string json = to_json(statement);
    out.statement = to_base64url(as_bytes(json));
    BLOOM_TRY(out.statement_signature, key_.sign(statement_message(json)));
    out.public_key = key_.public_key();
    return out;
}

} // namespace bloom::attest
