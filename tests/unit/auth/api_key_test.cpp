#include <gtest/gtest.h>

#include <bloom/auth/api_key.hpp>

namespace bloom::auth {
namespace {

struct Fixture {
    store::Database db = *store::Database::open(":memory:");
    store::KeyStore keys{db};

    Fixture() { EXPECT_TRUE(store::migrate(db).has_value()); }
};

TEST(ApiKey, FirstStartPrintsAKeyThatOpensTheOwnerAccount) {
    Fixture f;
    const auto made = ensure_owner(f.keys, "", 1);
    ASSERT_TRUE(made->created);
    EXPECT_EQ(made->key.size(), 6U + 64U);
    EXPECT_EQ(made->key.substr(0, 6), "sk-db-");
    const auto table = KeyTable::load(f.keys);
    const auto who = (*table)->authenticate("Bearer " + made->key, "");
    ASSERT_TRUE(who.has_value());
    EXPECT_EQ((*who)->role, "owner");
    EXPECT_FALSE(ensure_owner(f.keys, "", 2)->created);
    EXPECT_EQ(f.keys.keys()->front().key_hash.find("sk-db"), std::string::npos);
}

TEST(ApiKey, OwnerKeyFromTheEnvironmentIsAddedOnce) {
    Fixture f;
    ASSERT_TRUE(ensure_owner(f.keys, "", 1)->created);
    const std::string given = "sk-db-given-by-environment";
    EXPECT_TRUE(ensure_owner(f.keys, given, 2).has_value());
    EXPECT_TRUE(ensure_owner(f.keys, given, 3).has_value());
    EXPECT_EQ(f.keys.keys()->size(), 2U);
    EXPECT_EQ(ensure_owner(f.keys, "short", 3).error().code(), Code::invalid_argument);
}

TEST(ApiKey, HeaderForms) {
    Fixture f;
    const std::string key = "eigeninference-0123456789abcdef";
    ASSERT_TRUE(ensure_owner(f.keys, key, 1).has_value());
    const auto table = *KeyTable::load(f.keys);
    EXPECT_TRUE(table->authenticate("bearer  " + key + " ", "").has_value());
    EXPECT_TRUE(table->authenticate("", key).has_value());
    EXPECT_FALSE(table->authenticate("Bearer wrong", key).has_value()) << "Authorization wins";
    for (const std::string& bad :
         {std::string("Basic ") + key, std::string("Bearer"), std::string("Bearer a b"), key}) {
        const auto refused = table->authenticate(bad, "");
        ASSERT_FALSE(refused.has_value()) << bad;
        EXPECT_EQ(refused.error().code(), Code::unauthenticated);
        EXPECT_EQ(refused.error().message().find(key), std::string_view::npos);
    }
    EXPECT_FALSE(table->authenticate("", "").has_value());
}

TEST(ApiKey, RevokedKeysAreGone) {
    Fixture f;
    const auto made = ensure_owner(f.keys, "", 1);
    ASSERT_TRUE(f.keys.revoke_key(f.keys.keys()->front().id, 2).has_value());
    EXPECT_EQ((*KeyTable::load(f.keys))->size(), 0U);
}

TEST(ApiKey, ARevokedKeyFromTheEnvironmentIsSaidSo) {
    Fixture f;
    const std::string given = "sk-db-given-by-environment";
    ASSERT_TRUE(ensure_owner(f.keys, given, 1).has_value());
    const std::string id = f.keys.keys()->front().id;
    ASSERT_TRUE(f.keys.revoke_key(id, 2).has_value());
    const auto again = ensure_owner(f.keys, given, 3);
    ASSERT_FALSE(again.has_value()) << "the node would refuse every request";
    EXPECT_EQ(again.error().code(), Code::invalid_argument);
    EXPECT_NE(again.error().message().find(id), std::string_view::npos);
    EXPECT_EQ(again.error().message().find(given), std::string_view::npos);
}

} // namespace
} // namespace bloom::auth
