#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/store/database.hpp>

namespace bloom::store {

struct AccountRow {
    std::string id;
    std::string name;
    std::string role;            ///< owner, admin, user, service
    std::int64_t created_at = 0; ///< Unix seconds
};

struct ApiKeyRow {
    std::string id;
    std::string account_id;
    std::string key_hash; ///< SHA-256 of the key, hex
    std::string label;
    std::string hint; ///< first and last characters, for a person to recognise it
    std::int64_t created_at = 0;
    std::optional<std::int64_t> revoked_at;
};

/// Accounts and API keys in a Database. No business rule: rows in, rows out.
/// Lifetime: borrows the Database. Thread: the Database's.
class KeyStore {
public:
    explicit KeyStore(Database& db) : db_(db) {}

    Result<std::vector<AccountRow>> accounts();
    Result<std::vector<ApiKeyRow>> keys();
    Result<> insert_account(const AccountRow& row);
    /// Errors: already_exists when the hash is stored.
    Result<> insert_key(const ApiKeyRow& row);
    /// Errors: not_found.
    Result<> revoke_key(std::string_view id, std::int64_t now);
    /// Account and key together, or neither.
    Result<> insert_account_with_key(const AccountRow& account, const ApiKeyRow& key);

private:
    Database& db_;
};

} // namespace bloom::store
