#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include <bloom/base/result.hpp>
#include <bloom/store/key_store.hpp>

namespace bloom::auth {

/// A key as it is handed to a person, once: `sk-db-` and 64 lower-case hex digits (32 random
/// bytes).
std::string mint_api_key();
/// What is stored instead of a key: SHA-256, hex. Legacy prefixes hash the same way, so any key
/// that was once stored keeps working.
std::string hash_api_key(std::string_view key);
/// `sk-db-12ab...9f`: enough to recognise a key, too little to use it.
std::string api_key_hint(std::string_view key);

/// Who is calling.
struct Principal {
    std::string account_id;
    std::string key_id;
    std::string role;
};

/// An immutable snapshot of all active keys by hash. Shards read it without locks and replace the
/// pointer when keys change. Thread: any, after construction.
class KeyTable {
public:
    static Result<std::shared_ptr<const KeyTable>> load(store::KeyStore& keys);

    /// The principal of an `Authorization` value (`Bearer KEY`) and an `x-api-key` value, either of
    /// which may be empty; Authorization wins. Errors: unauthenticated, one text for unknown and
    /// revoked keys alike.
    Result<const Principal*> authenticate(std::string_view authorization,
                                          std::string_view x_api_key) const;

    std::size_t size() const noexcept { return by_hash_.size(); }

private:
    std::unordered_map<std::string, Principal> by_hash_;
};

/// What the first start on an empty store made.
struct OwnerKey {
    bool created = false;
    std::string key; ///< the fresh key to print once; empty when it came from the environment
};

/// Sees to it that an owner account with a key exists. With `given_key` (DARKBLOOM_OWNER_KEY) that
/// key opens the owner account from now on; without, a fresh store gets a generated key.
Result<OwnerKey> ensure_owner(store::KeyStore& keys, std::string_view given_key, std::int64_t now);

} // namespace bloom::auth
