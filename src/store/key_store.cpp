#include <fmt/format.h>

#include <bloom/store/key_store.hpp>

namespace bloom::store {

Result<std::vector<AccountRow>> KeyStore::accounts() {
    BLOOM_TRY(
        Statement q,
        db_.prepare("SELECT id, name, role, created_at FROM account ORDER BY created_at, id"));
    std::vector<AccountRow> rows;
    for (;;) {
        BLOOM_TRY(const bool more, q.step());
        if (!more) return rows;
        rows.push_back({q.text(0), q.text(1), q.text(2), q.integer(3)});
    }
}

Result<std::vector<ApiKeyRow>> KeyStore::keys() {
    BLOOM_TRY(Statement q,
              db_.prepare("SELECT id, account_id, key_hash, label, hint, created_at, revoked_at "
                          "FROM api_key ORDER BY created_at, id"));
    std::vector<ApiKeyRow> rows;
    for (;;) {
        BLOOM_TRY(const bool more, q.step());
        if (!more) return rows;
        ApiKeyRow row{q.text(0), q.text(1), q.text(2), q.text(3), q.text(4), q.integer(5), {}};
        if (!q.is_null(6)) row.revoked_at = q.integer(6);
        rows.push_back(std::move(row));
    }
}

Result<> KeyStore::insert_account(const AccountRow& row) {
    BLOOM_TRY(Statement q,
              db_.prepare("INSERT INTO account (id, name, role, created_at) VALUES (?, ?, ?, ?)"));
    return q.bind(1, row.id).bind(2, row.name).bind(3, row.role).bind(4, row.created_at).run();
}

Result<> KeyStore::insert_key(const ApiKeyRow& row) {
    {
        BLOOM_TRY(Statement q, db_.prepare("SELECT 1 FROM api_key WHERE key_hash = ?"));
        BLOOM_TRY(const bool known, q.bind(1, row.key_hash).step());
        if (known) return Error{Code::already_exists, "this API key is already stored"};
    }
    BLOOM_TRY(
        Statement q,
        db_.prepare(
            "INSERT INTO api_key (id, account_id, key_hash, label, hint, created_at, revoked_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)"));
    q.bind(1, row.id).bind(2, row.account_id).bind(3, row.key_hash).bind(4, row.label);
    q.bind(5, row.hint).bind(6, row.created_at);
    if (row.revoked_at) {
        q.bind(7, *row.revoked_at);
    } else {
        q.bind_null(7);
    }
    return q.run();
}

Result<> KeyStore::revoke_key(std::string_view id, std::int64_t now) {
    BLOOM_TRY(Statement q,
              db_.prepare("UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL "
                          "RETURNING id"));
    BLOOM_TRY(const bool found, q.bind(1, now).bind(2, id).step());
    if (!found) return Error{Code::not_found, fmt::format("no active API key has the id {}", id)};
    // A RETURNING statement takes effect when it has been stepped to its end.
    BLOOM_TRY(const bool more, q.step());
    static_cast<void>(more);
    return {};
}

Result<> KeyStore::insert_account_with_key(const AccountRow& account, const ApiKeyRow& key) {
    return db_.transaction([&]() -> Result<> {
        BLOOM_OK(insert_account(account));
        return insert_key(key);
    });
}

} // namespace bloom::store
