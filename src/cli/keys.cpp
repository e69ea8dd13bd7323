#include <chrono>
#include <filesystem>

#include <fmt/format.h>

#include <bloom/auth/api_key.hpp>
#include <bloom/cli/verbs.hpp>
#include <bloom/crypto/digest.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/store/key_store.hpp>

#include "cli/common.hpp"

namespace bloom::cli {
namespace {

std::int64_t now_s() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

Result<store::Database> open_database(const std::string& folder) {
    std::error_code failure;
    const bool fresh = std::filesystem::create_directories(folder, failure);
    if (failure) {
        return Error{Code::io_error, fmt::format("data directory {}: {}; choose another with "
                                                 "--data-dir",
                                                 folder, failure.message())};
    }
    if (fresh) std::filesystem::permissions(folder, std::filesystem::perms::owner_all, failure);
    BLOOM_TRY(store::Database db, store::Database::open(folder + "/darkbloom.db"));
    BLOOM_OK(store::migrate(db));
    return db;
}

/// The owner's account; made without a key where there is none yet.
Result<std::string> owner_account(store::KeyStore& keys) {
    BLOOM_TRY(const auto accounts, keys.accounts());
    for (const store::AccountRow& account : accounts) {
        if (account.role == "owner") return account.id;
    }
    const store::AccountRow account{"acct_" + crypto::random_alphanumeric(20), "owner", "owner",
                                    now_s()};
    BLOOM_OK(keys.insert_account(account));
    return account.id;
}

Result<> create(store::KeyStore& keys, const std::string& label) {
    BLOOM_TRY(const std::string account, owner_account(keys));
    const std::string key = auth::mint_api_key();
    BLOOM_OK(
        keys.insert_key({"key_" + crypto::random_alphanumeric(20), account, auth::hash_api_key(key),
                         label, auth::api_key_hint(key), now_s(), std::nullopt}));
    print(key + "\n");
    std::fputs("Keep it: it is not shown again. A running node takes it at its next start.\n",
               stderr);
    return {};
}

Result<> list(store::KeyStore& keys, bool json) {
    BLOOM_TRY(const auto rows, keys.keys());
    std::string out;
    if (json) {
        json::Writer w(out);
        w.begin_object().key("keys").begin_array();
        for (const store::ApiKeyRow& row : rows) {
            w.begin_object()
                .key("id")
                .string(row.id)
                .key("label")
                .string(row.label)
                .key("hint")
                .string(row.hint);
            w.key("created_at").integer(row.created_at).key("revoked_at");
            if (row.revoked_at) {
                w.integer(*row.revoked_at);
            } else {
                w.null();
            }
            w.end_object();
        }
        w.end_array().end_object();
        out += '\n';
    } else {
        for (const store::ApiKeyRow& row : rows) {
            out += fmt::format("{:26} {:20} {}{}\n", row.id, row.hint, row.label,
                               row.revoked_at ? "  (revoked)" : "");
        }
        if (rows.empty()) out = "no keys yet; 'darkbloom keys create' makes one\n";
    }
    print(out);
    return {};
}

Result<> run_on_store(const Arguments& arguments) {
    BLOOM_TRY(const Settings settings, Settings::load({}, arguments.flags));
    BLOOM_TRY(store::Database db, open_database(data_dir_of(settings)));
    store::KeyStore keys(db);
    switch (arguments.verb) {
    case Verb::keys_create:
        return create(keys, arguments.label);
    case Verb::keys_list:
        return list(keys, arguments.json);
    default:
        return keys.revoke_key(arguments.key_id, now_s());
    }
}

} // namespace

int run_keys(const Arguments& arguments) {
    const Result<> done = run_on_store(arguments);
    return done ? 0 : report(done.error());
}

} // namespace bloom::cli
