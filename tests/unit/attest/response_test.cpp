#include <gtest/gtest.h>

#include <bloom/attest/response_signer.hpp>
#include <bloom/attest/statement.hpp>
#include <bloom/attest/verify.hpp>
#include <bloom/base/text.hpp>

namespace bloom::attest {
namespace {

constexpr std::string_view kBody = R"({"id":"chatcmpl-1","object":"chat.completion"})";
// Provider network section 2.8.
constexpr std::string_view kBodyHash =
    "da160a687883e58a8fbaf2c650464ea9af65d0df3a57cb12a54fc9cd3690e29f";

constexpr std::string_view kEvents = "data: {\"id\":\"a\",\"n\":1}\n\n"
                                     "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

const IdentityKey& identity() {
    static const Result<IdentityKey> key = IdentityKey::generate();
    return key.value();
}

Statement facts() {
    Statement out;
    out.response_id = "chatcmpl-1";
    out.request_hash = std::string(64, 'a');
    out.model = "m \"quoted\"";
    out.build = "m-8bit";
    out.prompt_tokens = 12;
    out.completion_tokens = 3;
    out.finish_reason = "stop";
    out.ts = 1'700'000'000;
    return out;
}

Evidence signed_body(std::string_view body) {
    ResponseSigner signer(identity());
    signer.update(body);
    return signer.finish(facts()).value();
}

std::string signed_stream(std::string_view events) {
    ResponseSigner signer(identity());
    signer.update(events);
    return std::string(events) + signature_comment(signer.finish(facts()).value());
}

bool is_intact(std::string_view stream, const crypto::VerifyKey* trusted) {
    const auto bytes = signed_bytes_of_stream(stream);
    return bytes && verify(*bytes, *bytes->evidence, trusted).has_value();
}

TEST(Statement, CanonicalJson) {
    Statement statement = facts();
    statement.response_hash = std::string(kBodyHash);
    statement.node_id = "abcdefghijklmnop";
    statement.segment = {0, 0, 46};
    EXPECT_EQ(to_json(statement),
              R"({"build":"m-8bit","completion_tokens":3,"finish_reason":"stop",)"
              R"("manifest_sha256":null,"model":"m \"quoted\"","node_id":"abcdefghijklmnop",)"
              R"("prompt_tokens":12,"request_hash":")" +
                  std::string(64, 'a') + R"(","response_hash":")" + std::string(kBodyHash) +
                  R"(","response_id":"chatcmpl-1","segment":{"first_byte":0,"index":0,)"
                  R"("n_bytes":46},"ts":1700000000,"v":1})");
    const auto back = parse_statement(to_json(statement));
    ASSERT_TRUE(back.has_value()) << back.error().message();
    EXPECT_EQ(*back, statement);
    statement.manifest_sha256 = std::string(64, 'b');
    EXPECT_EQ(parse_statement(to_json(statement)).value(), statement);
}

TEST(Statement, WhatIsNotOneIsRefused) {
    const std::string good = to_json(facts());
    EXPECT_FALSE(parse_statement("").has_value());
    EXPECT_FALSE(parse_statement("{}").has_value());
    EXPECT_FALSE(parse_statement("[" + good + "]").has_value());
    std::string other = good;
    other.replace(other.find("\"v\":1"), 5, "\"v\":2");
    EXPECT_FALSE(parse_statement(other).has_value());
    std::string twice = good;
    twice.insert(1, "\"v\":1,");
    EXPECT_FALSE(parse_statement(twice).has_value());
    for (const char* member : {"build", "completion_tokens", "finish_reason", "manifest_sha256",
                               "model", "node_id", "request_hash", "segment", "ts"}) {
        std::string without = good;
        without[without.find(std::string("\"") + member + "\"") + 1] = 'x';
        EXPECT_FALSE(parse_statement(without).has_value()) << member;
    }
}

TEST(Response, ABodyVerifies) {
    const Evidence evidence = signed_body(kBody);
    EXPECT_EQ(evidence.response_hash, kBodyHash);
    const auto statement = verify(signed_bytes_of_body(kBody), evidence, &identity().verify_key());
    ASSERT_TRUE(statement.has_value()) << statement.error().message();
    EXPECT_EQ(statement->node_id, identity().node_id());
    EXPECT_EQ(statement->segment.n_bytes, static_cast<std::int64_t>(kBody.size()));
    EXPECT_EQ(statement->model, "m \"quoted\"");
    EXPECT_TRUE(verify(signed_bytes_of_body(kBody), evidence, nullptr).has_value());
}

TEST(Response, OneFlippedByteOfABodyFails) {
    const Evidence evidence = signed_body(kBody);
    std::string body(kBody);
    for (std::size_t i = 0; i < body.size(); ++i) {
        body[i] = static_cast<char>(body[i] ^ 1);
        EXPECT_FALSE(verify(signed_bytes_of_body(body), evidence, nullptr).has_value()) << i;
        body[i] = static_cast<char>(body[i] ^ 1);
    }
    EXPECT_FALSE(verify(signed_bytes_of_body(body + " "), evidence, nullptr).has_value());
    EXPECT_FALSE(verify(signed_bytes_of_body(""), evidence, nullptr).has_value());
}

TEST(Response, OneFlippedByteOfTheEvidenceFails) {
    const Evidence good = signed_body(kBody);
    const SignedBytes bytes = signed_bytes_of_body(kBody);
    for (std::string Evidence::* const member :
         {&Evidence::response_hash, &Evidence::se_signature, &Evidence::statement,
          &Evidence::statement_signature, &Evidence::public_key}) {
        for (std::size_t i = 0; i < (good.*member).size(); ++i) {
            Evidence bad = good;
            (bad.*member)[i] = static_cast<char>((bad.*member)[i] ^ 1);
            EXPECT_FALSE(verify(bytes, bad, &identity().verify_key()).has_value()) << i;
            EXPECT_FALSE(verify(bytes, bad, nullptr).has_value()) << i;
        }
    }
}

TEST(Response, AnotherNodesKeyIsNotTrusted) {
    const auto other = IdentityKey::generate();
    ASSERT_TRUE(other.has_value());
    ResponseSigner signer(*other);
    signer.update(kBody);
    const Evidence evidence = signer.finish(facts()).value();
    const SignedBytes bytes = signed_bytes_of_body(kBody);
    EXPECT_TRUE(verify(bytes, evidence, nullptr).has_value());
    EXPECT_FALSE(verify(bytes, evidence, &identity().verify_key()).has_value());
    Evidence anonymous = evidence;
    anonymous.public_key.clear();
    EXPECT_TRUE(verify(bytes, anonymous, &other->verify_key()).has_value());
    EXPECT_FALSE(verify(bytes, anonymous, nullptr).has_value());
}

TEST(Response, PartsOfTwoResponsesDoNotMix) {
    const Evidence a = signed_body(kBody);
    const Evidence b = signed_body("another body");
    Evidence mixed = a;
    mixed.statement = b.statement;
    mixed.statement_signature = b.statement_signature;
    EXPECT_FALSE(verify(signed_bytes_of_body(kBody), mixed, nullptr).has_value());
    // A signature over the hash is none over a statement, nor the other way round.
    Evidence swapped = a;
    std::swap(swapped.se_signature, swapped.statement_signature);
    EXPECT_FALSE(verify(signed_bytes_of_body(kBody), swapped, nullptr).has_value());
}

TEST(Stream, VerifiesWithAndWithoutDone) {
    const std::string stream = signed_stream(kEvents);
    EXPECT_TRUE(is_intact(stream, &identity().verify_key()));
    EXPECT_TRUE(is_intact(stream + "data: [DONE]\n\n", &identity().verify_key()));
    const auto bytes = signed_bytes_of_stream(stream);
    EXPECT_EQ(bytes->n_bytes, static_cast<std::int64_t>(kEvents.size()));
    EXPECT_EQ(bytes->hash, signed_bytes_of_body(kEvents).hash);
}

TEST(Stream, WhatServersAddIsOutside) {
    const std::string stream = signed_stream(kEvents);
    const std::size_t middle = kEvents.find("event:");
    for (const std::string_view added : {": keep-alive\n\n", ":\n\n", ": two\n: lines\n\n",
                                         "event: ping\ndata: {\"type\":\"ping\"}\n\n"}) {
        std::string more = stream;
        more.insert(middle, added);
        more.insert(0, added);
        EXPECT_TRUE(is_intact(more + std::string(added), nullptr)) << added;
    }
}

TEST(Stream, NothingHidesInWhatIsOutside) {
    const std::string stream = signed_stream(kEvents);
    const std::size_t middle = kEvents.find("event:");
    for (const std::string_view hidden :
         {": note\ndata: {\"evil\":1}\n\n", ": note\rdata: {\"evil\":1}\n\n",
          ": note\r\ndata: {\"evil\":1}\r\n\r\n\n\n", "event: ping\ndata: {\"evil\":1}\n\n",
          "event: ping\ndata: {\"type\":\"ping\"}\ndata: x\n\n", "data: [DONE]\n\n", "\n\n",
          "event: ping\n\n", "event: ping\ndata: {\"type\": \"ping\"}\n\n", " : x\n\n"}) {
        std::string more = stream;
        more.insert(middle, hidden);
        EXPECT_FALSE(is_intact(more, nullptr)) << hidden;
        EXPECT_FALSE(is_intact(stream + "data: [DONE]\n\n" + std::string(hidden), nullptr))
            << hidden;
    }
    EXPECT_FALSE(is_intact(stream + stream, nullptr));
    EXPECT_FALSE(is_intact(stream + "data: [DONE]\n\ndata: [DONE]\n\n", nullptr));
    EXPECT_FALSE(is_intact(stream + "data: {}\n\n", nullptr));
}

TEST(Stream, OneFlippedByteAnywhereFails) {
    const std::string good = signed_stream(kEvents) + "data: [DONE]\n\n";
    ASSERT_TRUE(is_intact(good, nullptr));
    for (std::size_t i = 0; i < good.size(); ++i) {
        for (const int bit : {1, 0x20}) {
            std::string bad = good;
            bad[i] = static_cast<char>(bad[i] ^ bit);
            EXPECT_FALSE(is_intact(bad, nullptr)) << i << ' ' << bad.substr(i, 20);
        }
    }
}

TEST(Stream, CutOnesFail) {
    const std::string stream = signed_stream(kEvents);
    for (std::size_t n = 0; n < stream.size(); ++n)
        EXPECT_FALSE(is_intact(stream.substr(0, n), nullptr)) << n;
}

TEST(Comment, OnlyItsOwnBytesAreRead) {
    const Evidence evidence = signed_body(kBody);
    const std::string comment = signature_comment(evidence);
    const std::string head = ": " + std::string(kCommentTag);
    ASSERT_TRUE(comment.starts_with(head));
    ASSERT_TRUE(comment.ends_with("}\n\n"));
    const std::string json = comment.substr(head.size(), comment.size() - head.size() - 2);
    const auto back = parse_signature_comment(json);
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(*back, evidence);
    EXPECT_FALSE(parse_signature_comment(" " + json).has_value());
    EXPECT_FALSE(parse_signature_comment(json + " ").has_value());
    EXPECT_FALSE(parse_signature_comment("{}").has_value());
    EXPECT_FALSE(parse_signature_comment("[]").has_value());
    EXPECT_FALSE(parse_signature_comment("").has_value());
}

} // namespace
} // namespace bloom::attest
