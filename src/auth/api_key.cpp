#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include <bloom/auth/api_key.hpp>
#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::auth {
namespace {

constexpr std::size_t kKeyRandomBytes = 32;
/// Shorter owner keys could be guessed; the same bound keeps empty and whitespace values out.
constexpr std::size_t kGivenKeyMinBytes = 16;

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
        text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
        text.remove_suffix(1);
    return text;
}

/// The token of `Bearer TOKEN`: scheme in any case, exactly one token (consumer API section 2.1).
std::optional<std::string_view> bearer_token(std::string_view value) {
    value = trim(value);
    const std::size_t space = value.find(' ');
    if (space == std::string_view::npos || !iequals(value.substr(0, space), "bearer"))
        return std::nullopt;
    const std::string_view token = trim(value.substr(space));
    if (token.empty() || token.find_first_of(" \t") != std::string_view::npos) return std::nullopt;
    return token;
}

store::ApiKeyRow key_row(std::string_view key, std::string_view account_id, std::string_view label,
                         std::int64_t now) {
    return {"key_" + crypto::random_alphanumeric(20),
            std::string(account_id),
            hash_api_key(key),
            std::string(label),
            api_key_hint(key),
            now,
            std::nullopt};
}

} // namespace

std::string mint_api_key() {
    return "sk-db-" + crypto::random_hex(kKeyRandomBytes);
}

std::string hash_api_key(std::string_view key) {
    return crypto::sha256_hex(key);
}

std::string api_key_hint(std::string_view key) {
    constexpr std::size_t kShownFront = 10;
    constexpr std::size_t kShownBack = 4;
    if (key.size() < 2 * (kShownFront + kShownBack)) return "...";
    return std::string(key.substr(0, kShownFront)) + "..." +
           std::string(key.substr(key.size() - kShownBack));
}

Result<std::shared_ptr<const KeyTable>> KeyTable::load(store::KeyStore& keys) {
    BLOOM_TRY(const std::vector<store::AccountRow> accounts, keys.accounts());
    BLOOM_TRY(const std::vector<store::ApiKeyRow> rows, keys.keys());
    std::unordered_map<std::string, std::string> role_of;
    for (const store::AccountRow& account : accounts)
        role_of[account.id] = account.role;
    auto table = std::make_shared<KeyTable>();
    for (const store::ApiKeyRow& row : rows) {
        if (row.revoked_at) continue;
        table->by_hash_.emplace(row.key_hash,
                                Principal{row.account_id, row.id, role_of[row.account_id]});
    }
    return std::shared_ptr<const KeyTable>(std::move(table));
}

Result<const Principal*> KeyTable::authenticate(std::string_view authorization,
                                                std::string_view x_api_key) const {
    std::string_view token;
    if (!authorization.empty()) {
        const std::optional<std::string_view> bearer = bearer_token(authorization);
        if (!bearer) {
            return Error{Code::unauthenticated,
                         "The Authorization header must have the form 'Bearer <API key>'."};
        }
        token = *bearer;
    } else {
        token = trim(x_api_key);
    }
    if (token.empty()) {
        return Error{Code::unauthenticated,
                     "You did not provide an API key. Send it as a bearer token: "
                     "'Authorization: Bearer <API key>'."};
    }
    // The look-up goes by hash, so its timing tells nothing about the key itself.
    const auto found = by_hash_.find(hash_api_key(token));
    if (found == by_hash_.end()) {
        return Error{Code::unauthenticated,
                     "Incorrect API key provided. The node's owner can create "
                     "keys with 'darkbloom keys create'."};
    }
    return &found->second;
}

Result<OwnerKey> ensure_owner(store::KeyStore& keys, std::string_view given_key, std::int64_t now) {
    if (!given_key.empty() && given_key.size() < kGivenKeyMinBytes) {
        return Error{Code::invalid_argument,
                     "DARKBLOOM_OWNER_KEY is shorter than 16 characters; use a "
                     "long random value, for example 'sk-db-' and 64 hex digits"};
    }
    BLOOM_TRY(const std::vector<store::AccountRow> accounts, keys.accounts());
    const auto owner = std::find_if(accounts.begin(), accounts.end(),
                                    [](const store::AccountRow& a) { return a.role == "owner"; });
    if (owner == accounts.end()) {
        const store::AccountRow account{"acct_" + crypto::random_alphanumeric(20), "owner", "owner",
                                        now};
        OwnerKey made{true, given_key.empty() ? mint_api_key() : std::string()};
        const std::string_view key = given_key.empty() ? std::string_view(made.key) : given_key;
        BLOOM_OK(keys.insert_account_with_key(account, key_row(key, account.id, "owner", now)));
        return made;
    }
    if (given_key.empty()) return OwnerKey{};
    const Result<> stored =
        keys.insert_key(key_row(given_key, owner->id, "owner, from the environment", now));
    if (stored) return OwnerKey{};
    if (stored.error().code() != Code::already_exists) return std::unexpected(stored.error());
    BLOOM_TRY(const std::vector<store::ApiKeyRow> rows, keys.keys());
    const std::string hash = hash_api_key(given_key);
    const auto known = std::find_if(rows.begin(), rows.end(), [&](const store::ApiKeyRow& row) {
        return row.key_hash == hash;
    });
    if (known != rows.end() && known->revoked_at) {
        return Error{Code::invalid_argument,
                     fmt::format("DARKBLOOM_OWNER_KEY: this key ({}) was revoked; set another one, "
                                 "or unset it to go on with the other keys",
                                 known->id)};
    }
    return OwnerKey{};
}

} // namespace bloom::auth
