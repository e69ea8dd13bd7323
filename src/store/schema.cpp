#include <array>

#include <fmt/format.h>

#include <bloom/store/database.hpp>

namespace bloom::store {
namespace {

/// Step i brings version i to i + 1. Steps are never edited once released, only added.
constexpr std::array kSteps{
    // 1: accounts and the keys that open them (only a hash of a key is ever stored), and what the
    // node remembers of itself.
    R"(
CREATE TABLE account (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    role        TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'user', 'service')),
    created_at  INTEGER NOT NULL
) STRICT;
CREATE TABLE api_key (
    id          TEXT PRIMARY KEY,
    account_id  TEXT NOT NULL REFERENCES account (id),
    key_hash    TEXT NOT NULL UNIQUE,
    label       TEXT NOT NULL,
    hint        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT;
CREATE TABLE node_fact (
    name        TEXT PRIMARY KEY,
    value       TEXT NOT NULL
) STRICT;
)",
};

} // namespace

Result<> migrate(Database& db) {
    for (;;) {
        std::int64_t version = 0;
        {
            BLOOM_TRY(Statement query, db.prepare("PRAGMA user_version"));
            BLOOM_TRY(const bool row, query.step());
            if (row) version = query.integer(0);
        }
        if (version == static_cast<std::int64_t>(kSteps.size())) return {};
        if (version > static_cast<std::int64_t>(kSteps.size()) || version < 0) {
            return Error{
                Code::corrupt,
                fmt::format("database schema version {} is newer than this darkbloom knows "
                            "({}); install a newer darkbloom or use another --data-dir",
                            version, kSteps.size())};
        }
        BLOOM_OK(db.transaction([&]() -> Result<> {
            BLOOM_OK(db.execute(kSteps[static_cast<std::size_t>(version)]));
            // PRAGMA takes no parameters; the number is ours.
            return db.execute(fmt::format("PRAGMA user_version = {}", version + 1).c_str());
        }));
    }
}

} // namespace bloom::store
