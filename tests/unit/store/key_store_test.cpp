#include <gtest/gtest.h>

#include <bloom/store/key_store.hpp>
#include <bloom/store/node_facts.hpp>

namespace bloom::store {
namespace {

Database fresh() {
    auto db = Database::open(":memory:");
    EXPECT_TRUE(db.has_value());
    EXPECT_TRUE(migrate(*db).has_value());
    return std::move(*db);
}

TEST(KeyStore, StoresAndRevokes) {
    Database db = fresh();
    KeyStore keys(db);
    const AccountRow account{"acc", "owner", "owner", 5};
    const ApiKeyRow key{"k1", "acc", "hash", "first", "sk-..", 6, {}};
    ASSERT_TRUE(keys.insert_account_with_key(account, key).has_value());
    ASSERT_EQ(keys.accounts()->size(), 1U);
    ASSERT_EQ(keys.keys()->size(), 1U);
    EXPECT_FALSE(keys.keys()->front().revoked_at.has_value());
    ASSERT_TRUE(keys.revoke_key("k1", 9).has_value());
    EXPECT_EQ(keys.keys()->front().revoked_at, 9);
    EXPECT_EQ(keys.revoke_key("k1", 9).error().code(), Code::not_found);
}

TEST(KeyStore, AccountAndKeyGoTogetherOrNotAtAll) {
    Database db = fresh();
    KeyStore keys(db);
    ASSERT_TRUE(keys.insert_account_with_key({"a", "a", "user", 1}, {"k", "a", "h", "", "", 1, {}})
                    .has_value());
    const auto again =
        keys.insert_account_with_key({"b", "b", "user", 1}, {"k2", "b", "h", "", "", 1, {}});
    EXPECT_EQ(again.error().code(), Code::already_exists);
    EXPECT_EQ(keys.accounts()->size(), 1U);
}

TEST(NodeFacts, TheFirstValueStays) {
    Database db = fresh();
    EXPECT_EQ(remember(db, "id", "a").value(), "a");
    EXPECT_EQ(remember(db, "id", "b").value(), "a");
    EXPECT_EQ(remember(db, "other", "c").value(), "c");
}

TEST(Schema, MigratesOnceAndRefusesNewer) {
    Database db = fresh();
    EXPECT_TRUE(migrate(db).has_value());
    ASSERT_TRUE(db.execute("PRAGMA user_version = 999").has_value());
    EXPECT_EQ(migrate(db).error().code(), Code::corrupt);
}

TEST(Database, NamesTheFileItCannotOpen) {
    const auto db = Database::open("/nonexistent-folder/x.db");
    ASSERT_FALSE(db.has_value());
    EXPECT_NE(db.error().message().find("/nonexistent-folder/x.db"), std::string_view::npos);
}

} // namespace
} // namespace bloom::store
