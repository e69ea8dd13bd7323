#include <algorithm>

#include <fmt/format.h>

#include <bloom/attest/saved_response.hpp>
#include <bloom/base/text.hpp>

namespace bloom::attest {
namespace {

/// Takes one line off the text, its line end dropped.
std::string_view take_line(std::string_view& text) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

void take_field(std::string_view line, SavedResponse& out) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    std::string name(line.substr(0, colon));
    std::ranges::transform(name, name.begin(), to_lower_ascii);
    std::string_view value = line.substr(colon + 1);
    const std::size_t begin = std::min(value.find_first_not_of(" \t"), value.size());
    value.remove_prefix(begin);
    value = value.substr(0, value.find_last_not_of(" \t") + 1);
    out.headers[std::move(name)] = std::string(value);
}

/// Takes the heads off the text; what is left begins with the body. The last one counts: others
/// are interim, a proxy's, or a redirect's.
Result<SavedResponse> take_heads(std::string_view& text) {
    if (!text.starts_with("HTTP/")) {
        return Error{Code::invalid_argument,
                     "no response head: expected it to begin with HTTP/, as curl -i writes it"};
    }
    SavedResponse out;
    while (text.starts_with("HTTP/")) {
        out.headers.clear();
        take_line(text);
        for (std::string_view line = take_line(text); !line.empty(); line = take_line(text))
            take_field(line, out);
    }
    return out;
}

/// Whether a line can be one of the node's trailers and nothing else. Readers of event streams take
/// lines with CRLF as well, so any other line, or a CR within one, could bring them an event.
bool is_trailer(std::string_view line) noexcept {
    const bool named = line.starts_with("x-") || line.starts_with("X-");
    return (named || line.empty()) && line.find('\r') == std::string_view::npos;
}

/// Cuts the trailers off a stream that ends in `name: value` lines with CRLF, where the head
/// announces some. The node's events end with LF alone, so the two do not mix; what is not all
/// trailers stays part of the body.
void cut_trailers(SavedResponse& response) {
    const auto announced = response.headers.find("trailer");
    if (announced == response.headers.end()) return;
    const std::size_t end = response.body.rfind("\n\n");
    if (end == std::string::npos) return;
    std::string_view rest = std::string_view(response.body).substr(end + 2);
    if (rest.empty() || !rest.ends_with("\r\n")) return;
    for (std::string_view lines = rest; !lines.empty();) {
        if (!is_trailer(take_line(lines))) return;
    }
    while (!rest.empty())
        take_field(take_line(rest), response);
    response.body.resize(end + 2);
}

Result<std::string> header(const SavedResponse& response, std::string_view name) {
    const auto found = response.headers.find(name);
    if (found != response.headers.end() && !found->second.empty()) return found->second;
    return Error{Code::invalid_argument,
                 fmt::format("the response has no {} header: give its head, too (--headers, or a "
                             "dump of curl -i), unless it was not signed",
                             name)};
}

Result<Evidence> evidence_of_headers(const SavedResponse& response) {
    Evidence out;
    BLOOM_TRY(out.response_hash, header(response, "x-response-hash"));
    BLOOM_TRY(out.se_signature, header(response, "x-se-signature"));
    BLOOM_TRY(out.statement, header(response, "x-response-statement"));
    BLOOM_TRY(out.statement_signature, header(response, "x-response-statement-signature"));
    const auto key = response.headers.find("x-attestation-se-public-key");
    if (key != response.headers.end()) out.public_key = key->second;
    return out;
}

} // namespace

Result<SavedResponse> read_saved_head(std::string_view text) {
    BLOOM_TRY(SavedResponse out, take_heads(text));
    for (std::string_view line = take_line(text); !line.empty(); line = take_line(text))
        take_field(line, out);
    return out;
}

Result<SavedResponse> read_saved_dump(std::string_view text) {
    BLOOM_TRY(SavedResponse out, take_heads(text));
    out.body = std::string(text);
    if (is_stream(out)) cut_trailers(out);
    return out;
}

bool is_stream(const SavedResponse& response) {
    const auto type = response.headers.find("content-type");
    if (type != response.headers.end()) return type->second.starts_with("text/event-stream");
    const std::string_view body = response.body;
    return body.starts_with("data:") || body.starts_with("event:") || body.starts_with(":");
}

Result<SignedBytes> signed_bytes_of(const SavedResponse& response) {
    if (!is_stream(response)) {
        SignedBytes out = signed_bytes_of_body(response.body);
        BLOOM_TRY(out.evidence, evidence_of_headers(response));
        return out;
    }
    BLOOM_TRY(SignedBytes out, signed_bytes_of_stream(response.body));
    // What head and trailers say besides must be the same.
    const std::pair<const char*, const std::string&> twice[] = {
        {"x-response-hash", out.evidence->response_hash},
        {"x-se-signature", out.evidence->se_signature},
        {"x-attestation-se-public-key", out.evidence->public_key}};
    for (const auto& [name, value] : twice) {
        const auto found = response.headers.find(name);
        if (found != response.headers.end() && found->second != value) {
            return Error{Code::invalid_argument,
                         fmt::format("{} and the stream's own signature differ", name)};
        }
    }
    return out;
}

} // namespace bloom::attest
