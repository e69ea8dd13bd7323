#include <gtest/gtest.h>

#include <bloom/attest/saved_response.hpp>

namespace bloom::attest {
namespace {

const IdentityKey& identity() {
    static const Result<IdentityKey> key = IdentityKey::generate();
    return key.value();
}

Evidence sign(std::string_view bytes) {
    ResponseSigner signer(identity());
    signer.update(bytes);
    return signer.finish({}).value();
}

std::string head_of(const Evidence& evidence) {
    return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Response-Hash: " +
           evidence.response_hash + "\r\nx-se-signature: " + evidence.se_signature +
           "\r\nx-response-statement: " + evidence.statement +
           "\r\nx-response-statement-signature: " + evidence.statement_signature +
           "\r\nx-attestation-se-public-key: " + evidence.public_key + "\r\n\r\n";
}

bool is_intact(const Result<SavedResponse>& response) {
    if (!response) return false;
    const auto bytes = signed_bytes_of(*response);
    return bytes && verify(*bytes, *bytes->evidence, &identity().verify_key()).has_value();
}

constexpr std::string_view kBody = "{\"a\":\r\n\r\n1}";
constexpr std::string_view kEvents = "data: {}\n\n";
constexpr std::string_view kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    "Trailer: x-response-hash, x-se-signature\r\n\r\n";

TEST(SavedResponse, DumpOfABody) {
    const std::string dump = head_of(sign(kBody)) + std::string(kBody);
    EXPECT_TRUE(is_intact(read_saved_dump(dump)));
    EXPECT_TRUE(is_intact(read_saved_dump("HTTP/1.1 100 Continue\r\n\r\n" + dump)));
    EXPECT_TRUE(is_intact(read_saved_dump(
        "HTTP/1.1 200 Connection established\r\nx-response-hash: 1\r\n\r\n" + dump)));
    EXPECT_FALSE(is_intact(read_saved_dump(dump + "\n"))) << "an editor's line end is a change";
    EXPECT_FALSE(read_saved_dump(kBody).has_value());
    EXPECT_FALSE(read_saved_dump("").has_value());
}

TEST(SavedResponse, OneFlippedByteOfADumpsBodyFails) {
    const std::string head = head_of(sign(kBody));
    std::string dump = head + std::string(kBody);
    for (std::size_t i = head.size(); i < dump.size(); ++i) {
        dump[i] = static_cast<char>(dump[i] ^ 4);
        EXPECT_FALSE(is_intact(read_saved_dump(dump))) << i;
        dump[i] = static_cast<char>(dump[i] ^ 4);
    }
    EXPECT_TRUE(is_intact(read_saved_dump(dump)));
}

TEST(SavedResponse, HeadAndBodyApart) {
    auto response = read_saved_head(head_of(sign(kBody)));
    ASSERT_TRUE(response.has_value());
    response->body = std::string(kBody);
    EXPECT_TRUE(is_intact(response));
    for (const char* name : {"x-response-hash", "x-se-signature", "x-response-statement",
                             "x-response-statement-signature"}) {
        SavedResponse without = *response;
        ASSERT_EQ(without.headers.erase(name), 1U);
        const auto bytes = signed_bytes_of(without);
        ASSERT_FALSE(bytes.has_value());
        EXPECT_NE(bytes.error().message().find(name), std::string_view::npos);
    }
}

TEST(SavedResponse, StreamsWithTheirTrailers) {
    const Evidence evidence = sign(kEvents);
    const std::string stream =
        std::string(kEvents) + signature_comment(evidence) + "data: [DONE]\n\n";
    const std::string trailers = "x-response-hash: " + evidence.response_hash +
                                 "\r\nx-se-signature: " + evidence.se_signature + "\r\n";
    const std::string head(kStreamHead);
    EXPECT_TRUE(is_intact(read_saved_dump(head + stream)));
    EXPECT_TRUE(is_intact(read_saved_dump(head + stream + trailers)));
    EXPECT_TRUE(is_intact(read_saved_dump(head + stream + trailers + "\r\n")));
    std::string wrong = trailers;
    wrong[wrong.find(": ") + 2] ^= 1;
    EXPECT_FALSE(is_intact(read_saved_dump(head + stream + wrong)));
    // Readers of event streams would take these for events.
    for (const char* hidden : {"data: {}\r\n\r\n", "x-a: b\rdata: {}\r\r\n", "event: ping\r\n"}) {
        EXPECT_FALSE(is_intact(read_saved_dump(head + stream + hidden))) << hidden;
        EXPECT_FALSE(is_intact(read_saved_dump(head + stream + trailers + hidden))) << hidden;
    }
    // Without a head, and with a head of its own that has the trailers, too.
    EXPECT_TRUE(is_intact(SavedResponse{{}, stream}));
    auto apart = read_saved_head(head + trailers);
    ASSERT_TRUE(apart.has_value());
    EXPECT_EQ(apart->headers["x-response-hash"], evidence.response_hash);
    apart->body = stream;
    EXPECT_TRUE(is_intact(apart));
    apart->headers["x-attestation-se-public-key"] = "another";
    EXPECT_FALSE(is_intact(apart));
}

TEST(SavedResponse, KindByHeadOrByBeginning) {
    EXPECT_TRUE(is_stream({{{"content-type", "text/event-stream"}}, "{}"}));
    EXPECT_FALSE(is_stream({{{"content-type", "application/json"}}, "data: x\n\n"}));
    EXPECT_TRUE(is_stream({{}, ": keep-alive\n\n"}));
    EXPECT_TRUE(is_stream({{}, "event: message_start\n"}));
    EXPECT_FALSE(is_stream({{}, "{\"data\":1}"}));
    EXPECT_FALSE(is_stream({{}, ""}));
}

} // namespace
} // namespace bloom::attest
