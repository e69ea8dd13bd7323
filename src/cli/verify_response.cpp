#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <optional>

#include <fmt/format.h>

#include <bloom/attest/saved_response.hpp>
#include <bloom/base/calendar.hpp>
#include <bloom/base/text.hpp>
#include <bloom/cli/verbs.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>

#include "cli/common.hpp"
#include "cli/fetch.hpp"

namespace bloom::cli {
namespace {

constexpr std::string_view kProves =
    "The holder of this key made exactly these bytes for the request with this hash. That the "
    "named\nmodel computed them is the node's word, not proven.\n";

/// What was found out, for both kinds of output.
struct Verdict {
    attest::SignedBytes bytes;
    attest::Statement statement;
    std::string public_key;
    std::string key_from; ///< "given", "url" or "response"
    bool request_checked = false;
};

/// All bytes of a stream. By read(), which reports what a stream buffer throws: folders open well.
Result<std::string> read_all(std::istream& in, const std::string& name) {
    std::string out;
    std::array<char, std::size_t{16} << 10> piece;
    do {
        in.read(piece.data(), piece.size());
        out.append(piece.data(), static_cast<std::size_t>(in.gcount()));
    } while (in);
    if (in.bad()) return Error{Code::io_error, name + ": cannot be read"};
    return out;
}

/// A file's bytes; `-` is the standard input.
Result<std::string> read_input(const std::string& path) {
    if (path == "-") return read_all(std::cin, "standard input");
    std::ifstream file(path, std::ios::binary);
    if (!file) return Error::from_errno(errno, path);
    return read_all(file, path);
}

Result<attest::SavedResponse> read_response(const VerifyArguments& a) {
    if (!a.dump.empty()) {
        BLOOM_TRY(const std::string text, read_input(a.dump));
        if (text.starts_with("HTTP/")) return attest::read_saved_dump(text);
        attest::SavedResponse bare;
        bare.body = text;
        return bare;
    }
    attest::SavedResponse out;
    if (!a.headers.empty()) {
        BLOOM_TRY(const std::string head, read_input(a.headers));
        BLOOM_TRY(out, attest::read_saved_head(head));
    }
    BLOOM_TRY(out.body, read_input(a.body));
    return out;
}

Result<std::string> text_at(const json::Object& object, std::string_view name) {
    BLOOM_TRY(const json::Value value, object.at(name));
    BLOOM_TRY(const std::string_view text, value.as_string());
    return std::string(text);
}

/// The key of that node among those that the URL tells of.
Result<crypto::VerifyKey> key_at(std::string url, const std::string& node_id) {
    while (url.ends_with('/'))
        url.pop_back();
    BLOOM_TRY(const std::string body, fetch(url + "/v1/providers/attestation"));
    json::Parser parser;
    BLOOM_TRY(const json::Value document, parser.parse(body));
    BLOOM_TRY(const json::Object object, document.as_object());
    BLOOM_TRY(const json::Value list, object.at("providers"));
    BLOOM_TRY(const json::Array providers, list.as_array());
    for (const json::Value element : providers) {
        BLOOM_TRY(const json::Object provider, element.as_object());
        BLOOM_TRY(const std::string id, text_at(provider, "provider_id"));
        if (id != node_id) continue;
        BLOOM_TRY(const std::string key, text_at(provider, "identity_public_key"));
        return crypto::VerifyKey::from_base64(key);
    }
    return Error{Code::not_found, fmt::format("{} knows no machine {}", url, quoted(node_id))};
}

using MaybeKey = std::optional<crypto::VerifyKey>;

Result<MaybeKey> given_key(const VerifyArguments& a) {
    if (a.key.empty()) return MaybeKey();
    auto key = crypto::VerifyKey::from_base64(a.key);
    if (!key) return std::unexpected(std::move(key).error().with_context("--key"));
    return MaybeKey(std::move(*key));
}

/// The key that the response has to be checked with, if the caller has one.
Result<MaybeKey> expected_key(const VerifyArguments& a, const MaybeKey& given,
                              const attest::Evidence& evidence) {
    if (given || a.url.empty()) return given;
    BLOOM_TRY(const crypto::VerifyKey own, crypto::VerifyKey::from_base64(evidence.public_key));
    BLOOM_TRY(crypto::VerifyKey key, key_at(a.url, attest::node_id_of(own)));
    return MaybeKey(std::move(key));
}

Result<Verdict> check(const VerifyArguments& a, const MaybeKey& given,
                      const attest::SavedResponse& response) {
    Verdict out;
    BLOOM_TRY(out.bytes, attest::signed_bytes_of(response));
    const attest::Evidence& evidence = *out.bytes.evidence;
    BLOOM_TRY(const MaybeKey key, expected_key(a, given, evidence));
    BLOOM_TRY(out.statement, attest::verify(out.bytes, evidence, key ? &*key : nullptr));
    out.public_key = key ? key->spki_base64() : evidence.public_key;
    out.key_from = given ? "given" : !a.url.empty() ? "url" : "response";
    if (!a.request.empty()) {
        BLOOM_TRY(const std::string request, read_input(a.request));
        const std::string hash = crypto::sha256_hex(request);
        if (hash != out.statement.request_hash) {
            return Error{Code::invalid_argument,
                         fmt::format("the statement is about the request {}, {} has the hash {}",
                                     out.statement.request_hash, a.request, hash)};
        }
        out.request_checked = true;
    }
    return out;
}

std::string as_json(const Verdict& verdict) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("verified").boolean(true);
    w.key("response_hash").string(verdict.bytes.hash);
    w.key("n_bytes").integer(verdict.bytes.n_bytes);
    w.key("node_id").string(verdict.statement.node_id);
    w.key("public_key").string(verdict.public_key);
    w.key("key_from").string(verdict.key_from);
    w.key("request_checked").boolean(verdict.request_checked);
    w.key("statement").raw(attest::to_json(verdict.statement)).end_object();
    out += '\n';
    return out;
}

std::string as_text(const Verdict& verdict) {
    const attest::Statement& s = verdict.statement;
    std::string out = fmt::format("verified: signed by node {}\n", s.node_id);
    out += fmt::format("  bytes      {}, SHA-256 {}\n", verdict.bytes.n_bytes, verdict.bytes.hash);
    out += fmt::format("  key        {}\n", verdict.public_key);
    out +=
        fmt::format("             {}\n",
                    verdict.key_from == "given" ? "as given"
                    : verdict.key_from == "url"
                        ? "as the URL tells it"
                        : "came with the response: compare it with one you trust (--key, --url)");
    out += fmt::format("  response   {}\n", quoted(s.response_id, 200));
    out += fmt::format("  model      {}, build {}\n", quoted(s.model, 200), quoted(s.build, 200));
    out += fmt::format("  tokens     {} in, {} out, finished by {}\n", s.prompt_tokens,
                       s.completion_tokens, quoted(s.finish_reason, 200));
    out += fmt::format("  request    SHA-256 {}{}\n", quoted(s.request_hash, 200),
                       verdict.request_checked ? ", as given" : " (not compared: --request)");
    out += fmt::format("  signed at  {}\n", rfc3339(s.ts));
    out += kProves;
    return out;
}

} // namespace

int run_verify_response(const Arguments& arguments) {
    const VerifyArguments& a = arguments.verify;
    const Result<MaybeKey> given = given_key(a);
    if (!given) return report(given.error()); // a fault of the command line, not of the response
    const Result<attest::SavedResponse> response = read_response(a);
    if (!response) return report(response.error());
    const Result<Verdict> verdict = check(a, *given, *response);
    if (!verdict) {
        std::fprintf(stderr, "not verified: %s\n", std::string(verdict.error().message()).c_str());
        return 1;
    }
    print(arguments.json ? as_json(*verdict) : as_text(*verdict));
    return 0;
}

} // namespace bloom::cli
