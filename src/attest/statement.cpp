#include <bloom/attest/statement.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::attest {
namespace {

constexpr std::string_view kDomain = "darkbloom:response:v1\n";

Result<> take(const json::Object& object, std::string_view name, std::string& out) {
    BLOOM_TRY(const json::Value value, object.at(name));
    const Result<std::string_view> text = value.as_string();
    if (!text) return Error{text.error()}.with_context(name);
    out = std::string(*text);
    return {};
}

Result<> take(const json::Object& object, std::string_view name, std::int64_t& out) {
    BLOOM_TRY(const json::Value value, object.at(name));
    const Result<std::int64_t> number = value.as_int64();
    if (!number) return Error{number.error()}.with_context(name);
    out = *number;
    return {};
}

Result<> take_segment(const json::Object& object, Segment& out) {
    BLOOM_TRY(const json::Value value, object.at("segment"));
    BLOOM_TRY(const json::Object segment, value.as_object());
    BLOOM_OK(take(segment, "index", out.index));
    BLOOM_OK(take(segment, "first_byte", out.first_byte));
    return take(segment, "n_bytes", out.n_bytes);
}

} // namespace

std::string to_json(const Statement& statement) {
    std::string out;
    json::Writer w(out);
    w.begin_object();
    w.key("build").string(statement.build);
    w.key("completion_tokens").integer(statement.completion_tokens);
    w.key("finish_reason").string(statement.finish_reason);
    w.key("manifest_sha256");
    if (statement.manifest_sha256.empty()) {
        w.null();
    } else {
        w.string(statement.manifest_sha256);
    }
    w.key("model").string(statement.model);
    w.key("node_id").string(statement.node_id);
    w.key("prompt_tokens").integer(statement.prompt_tokens);
    w.key("request_hash").string(statement.request_hash);
    w.key("response_hash").string(statement.response_hash);
    w.key("response_id").string(statement.response_id);
    w.key("segment").begin_object();
    w.key("first_byte").integer(statement.segment.first_byte);
    w.key("index").integer(statement.segment.index);
    w.key("n_bytes").integer(statement.segment.n_bytes);
    w.end_object();
    w.key("ts").integer(statement.ts);
    w.key("v").integer(kStatementVersion);
    w.end_object();
    return out;
}

Result<Statement> parse_statement(std::string_view json) {
    json::Parser parser;
    BLOOM_TRY(const json::Value document, parser.parse(json, {.reject_duplicates = true}));
    BLOOM_TRY(const json::Object object, document.as_object());
    std::int64_t version = 0;
    BLOOM_OK(take(object, "v", version));
    if (version != kStatementVersion)
        return Error{Code::unsupported, "a statement of another version"};
    Statement out;
    BLOOM_OK(take(object, "response_id", out.response_id));
    BLOOM_OK(take(object, "request_hash", out.request_hash));
    BLOOM_OK(take(object, "response_hash", out.response_hash));
    BLOOM_OK(take(object, "model", out.model));
    BLOOM_OK(take(object, "build", out.build));
    BLOOM_TRY(const json::Value manifest, object.at("manifest_sha256"));
    if (!manifest.is_null()) BLOOM_OK(take(object, "manifest_sha256", out.manifest_sha256));
    BLOOM_OK(take(object, "prompt_tokens", out.prompt_tokens));
    BLOOM_OK(take(object, "completion_tokens", out.completion_tokens));
    BLOOM_OK(take(object, "finish_reason", out.finish_reason));
    BLOOM_OK(take(object, "node_id", out.node_id));
    BLOOM_OK(take(object, "ts", out.ts));
    BLOOM_OK(take_segment(object, out.segment));
    return out;
}

std::string statement_message(std::string_view json) {
    return std::string(kDomain) + std::string(json);
}

} // namespace bloom::attest
