#include <set>

#include <gtest/gtest.h>

#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::crypto {
namespace {

// FIPS 180-4 example values.
TEST(Digest, Sha256Vectors) {
    EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256_hex("abc"),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// RFC 4231, cases 2 and 6 (a key longer than a block).
TEST(Digest, HmacSha256Vectors) {
    EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?"))),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    const std::string key(131, '\xaa');
    EXPECT_EQ(to_hex(hmac_sha256(as_bytes(key), as_bytes("Test Using Larger Than Block-Size Key - "
                                                         "Hash Key First"))),
              "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    EXPECT_EQ(to_hex(hmac_sha256({}, {})),
              "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(Digest, Sha256StreamInAnyPieces) {
    const std::string text(300, 'x');
    for (const std::size_t piece : {1U, 7U, 64U, 300U}) {
        Sha256Stream stream;
        for (std::size_t at = 0; at < text.size(); at += piece)
            stream.update(as_bytes(std::string_view(text).substr(at, piece)));
        EXPECT_EQ(stream.finish(), sha256(as_bytes(text))) << piece;
    }
    EXPECT_EQ(Sha256Stream().finish(), sha256({}));
}

TEST(Digest, ConstantTimeEqual) {
    EXPECT_TRUE(constant_time_equal(as_bytes("same"), as_bytes("same")));
    EXPECT_FALSE(constant_time_equal(as_bytes("same"), as_bytes("sama")));
    EXPECT_FALSE(constant_time_equal(as_bytes("same"), as_bytes("sam")));
    EXPECT_TRUE(constant_time_equal({}, {}));
}

TEST(Digest, RandomTextsDifferAndHaveTheirShape) {
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) {
        const std::string id = uuid_v4();
        ASSERT_EQ(id.size(), 36U);
        EXPECT_EQ(id[14], '4');
        EXPECT_NE(std::string("89ab").find(id[19]), std::string::npos);
        EXPECT_TRUE(seen.insert(id).second);
        EXPECT_TRUE(seen.insert(random_hex(32)).second);
        EXPECT_TRUE(seen.insert(random_alphanumeric(24)).second);
    }
    EXPECT_EQ(random_hex(32).size(), 64U);
}

} // namespace
} // namespace bloom::crypto
