// Edge cases of ECDSA (points, ranges, DER) against the wrapper that the node calls.
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include <bloom/base/text.hpp>
#include <bloom/crypto/sign.hpp>
#include <bloom/json/reader.hpp>

#include "support/test_data.hpp"

namespace bloom::crypto {
namespace {

std::vector<std::uint8_t> hex(std::string_view text) {
    auto bytes = from_hex(text);
    EXPECT_TRUE(bytes.has_value()) << text;
    return bytes.value_or(std::vector<std::uint8_t>{});
}

std::string text_of(const json::Object& object, std::string_view name) {
    return std::string(object.at(name).value().as_string().value());
}

TEST(Ecdsa, WycheproofP256Sha256) {
    BLOOM_REQUIRE_DATA("wycheproof/ecdsa_secp256r1_sha256_test.json");
    std::ifstream file(test::data_dir() / "wycheproof/ecdsa_secp256r1_sha256_test.json");
    std::ostringstream text;
    text << file.rdbuf();
    json::Parser parser;
    const auto document = parser.parse(text.str());
    ASSERT_TRUE(document.has_value());
    int n_valid = 0;
    int n_invalid = 0;
    for (const json::Value element :
         document->as_object()->at("testGroups").value().as_array().value()) {
        const json::Object group = element.as_object().value();
        const auto key = VerifyKey::from_spki(hex(text_of(group, "publicKeyDer")));
        ASSERT_TRUE(key.has_value());
        const json::Object point = group.at("publicKey").value().as_object().value();
        EXPECT_EQ(to_hex(key->point()), text_of(point, "uncompressed"));
        for (const json::Value each : group.at("tests").value().as_array().value()) {
            const json::Object test = each.as_object().value();
            const bool fine = key->verify(hex(text_of(test, "msg")), hex(text_of(test, "sig")));
            const bool valid = text_of(test, "result") == "valid";
            EXPECT_EQ(fine, valid)
                << test.at("tcId").value().as_int64().value() << ": " << text_of(test, "comment");
            ++(valid ? n_valid : n_invalid);
        }
    }
    EXPECT_EQ(n_valid, 174);
    EXPECT_EQ(n_invalid, 310);
}

} // namespace
} // namespace bloom::crypto
