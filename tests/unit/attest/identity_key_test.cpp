#include <filesystem>
#include <fstream>
#include <set>
#include <sys/stat.h>
#include <thread>

#include <gtest/gtest.h>

#include <bloom/attest/identity_key.hpp>
#include <bloom/base/text.hpp>

#include "support/temp_dir.hpp"

namespace bloom::attest {
namespace {

namespace fs = std::filesystem;

fs::path key_file(const test::TempDir& dir) {
    return dir.path() / std::string(kKeyFile);
}

mode_t mode_of(const fs::path& path) {
    struct stat facts{};
    EXPECT_EQ(::stat(path.c_str(), &facts), 0);
    return facts.st_mode & 07777;
}

TEST(IdentityKey, IsMadeOnceAndKept) {
    const test::TempDir dir;
    const auto first = IdentityKey::open(dir.path().string());
    ASSERT_TRUE(first.has_value()) << first.error().message();
    EXPECT_EQ(mode_of(key_file(dir)), 0600U);
    const auto second = IdentityKey::open(dir.path().string());
    ASSERT_TRUE(second.has_value()) << second.error().message();
    EXPECT_EQ(second->public_key(), first->public_key());
    EXPECT_EQ(second->node_id(), first->node_id());
    // Nothing else is left behind.
    EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()), 1);
}

TEST(IdentityKey, NamesDeriveFromTheKey) {
    const auto key = IdentityKey::generate();
    ASSERT_TRUE(key.has_value());
    EXPECT_EQ(key->node_id().size(), 16U);
    EXPECT_EQ(key->serial(), "db1-" + key->node_id());
    const auto read = crypto::VerifyKey::from_base64(key->public_key());
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(node_id_of(*read), key->node_id());
    EXPECT_EQ(*read, key->verify_key());
}

// RFC 6979 A.2.5's key; `openssl pkey -pubin -outform DER | sha256sum` and base32 say the same.
TEST(IdentityKey, NodeIdOfAKnownKey) {
    const auto point = from_hex("0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
                                "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299");
    const auto key = crypto::VerifyKey::from_point(*point);
    ASSERT_TRUE(key.has_value());
    EXPECT_EQ(node_id_of(*key), "lj5hrtfeud2cbwn4");
}

TEST(IdentityKey, FilesThatOthersCanReadAreRefused) {
    const test::TempDir dir;
    ASSERT_TRUE(IdentityKey::open(dir.path().string()).has_value());
    for (const mode_t mode : {0644U, 0640U, 0660U, 0602U}) {
        ASSERT_EQ(::chmod(key_file(dir).c_str(), mode), 0);
        const auto key = IdentityKey::open(dir.path().string());
        ASSERT_FALSE(key.has_value()) << mode;
        EXPECT_EQ(key.error().code(), Code::permission_denied);
        EXPECT_NE(key.error().message().find(key_file(dir).string()), std::string_view::npos);
    }
    ASSERT_EQ(::chmod(key_file(dir).c_str(), 0400), 0);
    EXPECT_TRUE(IdentityKey::open(dir.path().string()).has_value());
}

TEST(IdentityKey, DamagedFilesAreNamedAndNeverReplaced) {
    const test::TempDir dir;
    ASSERT_TRUE(IdentityKey::open(dir.path().string()).has_value());
    std::ifstream in(key_file(dir));
    std::string good((std::istreambuf_iterator<char>(in)), {});
    ASSERT_GT(good.size(), 200U);
    std::string flipped = good;
    flipped[80] = flipped[80] == 'A' ? 'B' : 'A'; // within the private number
    for (const std::string& text :
         {std::string(), good.substr(0, good.size() / 2), flipped, std::string(100'000, 'x'),
          std::string("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")}) {
        std::ofstream(key_file(dir), std::ios::trunc) << text;
        const auto key = IdentityKey::open(dir.path().string());
        ASSERT_FALSE(key.has_value()) << text.size();
        EXPECT_EQ(key.error().code(), Code::corrupt);
        EXPECT_NE(key.error().message().find("delete it"), std::string_view::npos);
        EXPECT_EQ(fs::file_size(key_file(dir)), text.size());
    }
    fs::remove(key_file(dir));
    fs::create_directory(key_file(dir));
    EXPECT_FALSE(IdentityKey::open(dir.path().string()).has_value());
}

TEST(IdentityKey, AMissingDirectoryIsAnError) {
    const test::TempDir dir;
    const auto key = IdentityKey::open((dir.path() / "nowhere").string());
    ASSERT_FALSE(key.has_value());
    EXPECT_EQ(key.error().code(), Code::io_error);
}

TEST(IdentityKey, ManyThatStartTogetherAgree) {
    constexpr int kStarters = 8;
    const test::TempDir dir;
    std::array<std::string, kStarters> keys;
    std::vector<std::thread> threads;
    for (std::string& out : keys) {
        threads.emplace_back([&out, path = dir.path().string()] {
            const auto key = IdentityKey::open(path);
            out = key ? key->public_key() : std::string(key.error().message());
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), 1U);
    EXPECT_EQ(keys[0].size(), 124U);
}

TEST(IdentityKey, SignaturesVerifyWithThePublicKey) {
    const auto key = IdentityKey::generate();
    ASSERT_TRUE(key.has_value());
    const auto signature = key->sign("message");
    ASSERT_TRUE(signature.has_value());
    const auto bytes = from_base64(*signature);
    ASSERT_TRUE(bytes.has_value());
    EXPECT_TRUE(key->verify_key().verify(as_bytes("message"), *bytes));
    EXPECT_FALSE(key->verify_key().verify(as_bytes("massage"), *bytes));
}

} // namespace
} // namespace bloom::attest
