#include <gtest/gtest.h>

#include <bloom/base/text.hpp>
#include <bloom/crypto/sign.hpp>

namespace bloom::crypto {
namespace {

using Bytes = std::vector<std::uint8_t>;

// RFC 6979 appendix A.2.5: a key and its signature over "sample" with SHA-256.
constexpr std::string_view kPrivate =
    "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
constexpr std::string_view kPoint =
    "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
constexpr std::string_view kSampleSignature =
    "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    "022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";

Bytes hex(std::string_view text) {
    auto bytes = from_hex(text);
    EXPECT_TRUE(bytes.has_value()) << text;
    return bytes.value_or(Bytes{});
}

/// PKCS#8 of a private number and a point (RFC 5958 around RFC 5915).
std::string pem_of(std::string_view secret, std::string_view point) {
    const Bytes der =
        hex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420" +
            std::string(secret) + "a144034200" + std::string(point));
    return "-----BEGIN PRIVATE KEY-----\n" + to_base64(der) + "\n-----END PRIVATE KEY-----\n";
}

TEST(Sign, PublishedSignatureVerifies) {
    const auto key = VerifyKey::from_point(hex(kPoint));
    ASSERT_TRUE(key.has_value());
    EXPECT_TRUE(key->verify(as_bytes("sample"), hex(kSampleSignature)));
    EXPECT_FALSE(key->verify(as_bytes("sampla"), hex(kSampleSignature)));
}

TEST(Sign, EveryFlippedBitOfASignatureFails) {
    const auto key = VerifyKey::from_point(hex(kPoint));
    ASSERT_TRUE(key.has_value());
    Bytes signature = hex(kSampleSignature);
    for (std::size_t i = 0; i < signature.size() * 8; ++i) {
        signature[i / 8] ^= static_cast<std::uint8_t>(1U << i % 8);
        EXPECT_FALSE(key->verify(as_bytes("sample"), signature)) << i;
        signature[i / 8] ^= static_cast<std::uint8_t>(1U << i % 8);
    }
    EXPECT_FALSE(key->verify(as_bytes("sample"), {}));
    signature.push_back(0);
    EXPECT_FALSE(key->verify(as_bytes("sample"), signature));
}

TEST(Sign, PublishedKeyIsRead) {
    const auto key = SigningKey::from_pem(pem_of(kPrivate, kPoint));
    ASSERT_TRUE(key.has_value()) << key.error().message();
    EXPECT_EQ(to_hex(key->public_key().point()), kPoint);
    const auto signature = key->sign(as_bytes("sample"));
    ASSERT_TRUE(signature.has_value());
    EXPECT_TRUE(key->public_key().verify(as_bytes("sample"), *signature));
}

TEST(Sign, GeneratedKeyGoesThroughPem) {
    const auto key = SigningKey::generate();
    ASSERT_TRUE(key.has_value());
    auto pem = key->to_pem();
    ASSERT_TRUE(pem.has_value());
    EXPECT_TRUE(pem->starts_with("-----BEGIN PRIVATE KEY-----\n"));
    const auto again = SigningKey::from_pem(*pem);
    ASSERT_TRUE(again.has_value()) << again.error().message();
    EXPECT_EQ(again->public_key(), key->public_key());
    const auto signature = again->sign(as_bytes("text"));
    ASSERT_TRUE(signature.has_value());
    EXPECT_TRUE(key->public_key().verify(as_bytes("text"), *signature));
    EXPECT_FALSE(key->public_key().verify(as_bytes("test"), *signature));
    const auto other = SigningKey::generate();
    ASSERT_TRUE(other.has_value());
    EXPECT_FALSE(other->public_key() == key->public_key());
    EXPECT_FALSE(other->public_key().verify(as_bytes("text"), *signature));
    wipe(*pem);
    EXPECT_TRUE(pem->empty());
}

TEST(Sign, PublicKeysInBothForms) {
    const auto key = VerifyKey::from_point(hex(kPoint));
    ASSERT_TRUE(key.has_value());
    const Bytes spki = key->spki();
    EXPECT_EQ(to_hex(spki),
              "3059301306072a8648ce3d020106082a8648ce3d030107034200" + std::string(kPoint));
    for (const std::string& text : {to_base64(spki), to_base64(key->point())}) {
        const auto read = VerifyKey::from_base64(text);
        ASSERT_TRUE(read.has_value()) << text;
        EXPECT_EQ(*read, *key);
    }
    EXPECT_EQ(key->spki_base64(), to_base64(spki));
}

TEST(Sign, WrongPublicKeysAreRefused) {
    Bytes point = hex(kPoint);
    point.back() ^= 1; // off the curve
    EXPECT_FALSE(VerifyKey::from_point(point).has_value());
    point = hex(kPoint);
    point[0] = 6; // the hybrid form
    EXPECT_FALSE(VerifyKey::from_point(point).has_value());
    EXPECT_FALSE(VerifyKey::from_point(hex("00")).has_value());
    EXPECT_FALSE(VerifyKey::from_point({}).has_value());
    EXPECT_FALSE(VerifyKey::from_point(hex(kPoint.substr(0, 66))).has_value());
    Bytes spki = hex("3059301306072a8648ce3d020106082a8648ce3d030107034200" + std::string(kPoint));
    spki[22] = 6; // another curve
    EXPECT_FALSE(VerifyKey::from_spki(spki).has_value());
    EXPECT_FALSE(VerifyKey::from_base64("no base64").has_value());
    EXPECT_FALSE(VerifyKey::from_base64("").has_value());
}

TEST(Sign, DamagedPrivateKeysAreRefused) {
    EXPECT_FALSE(SigningKey::from_pem("").has_value());
    EXPECT_FALSE(SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\n").has_value());
    std::string pem = pem_of(kPrivate, kPoint);
    EXPECT_FALSE(SigningKey::from_pem(std::string_view(pem).substr(0, 120)).has_value());
    // A public half that is a point, but another key's.
    const auto other = SigningKey::generate();
    ASSERT_TRUE(other.has_value());
    const auto mixed = SigningKey::from_pem(pem_of(kPrivate, to_hex(other->public_key().point())));
    ASSERT_FALSE(mixed.has_value());
    EXPECT_EQ(mixed.error().code(), Code::corrupt);
    // Numbers outside the group: zero and its order.
    EXPECT_FALSE(SigningKey::from_pem(pem_of(std::string(64, '0'), kPoint)).has_value());
    EXPECT_FALSE(
        SigningKey::from_pem(
            pem_of("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", kPoint))
            .has_value());
}

// Ed25519, RFC 8410 section 10.3: a good file of another kind.
TEST(Sign, KeysOfOtherKindsAreNamedSo) {
    const auto key =
        SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\n"
                             "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
                             "-----END PRIVATE KEY-----\n");
    ASSERT_FALSE(key.has_value());
    EXPECT_EQ(key.error().code(), Code::unsupported);
}

} // namespace
} // namespace bloom::crypto
