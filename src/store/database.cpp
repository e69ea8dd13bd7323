#include <utility>

#include <fmt/format.h>
#include <sqlite3.h>

#include <bloom/base/check.hpp>
#include <bloom/store/database.hpp>

namespace bloom::store {

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_), stmt_(std::exchange(other.stmt_, nullptr)) {}

Statement::~Statement() {
    sqlite3_finalize(stmt_);
}

Statement& Statement::bind(int index, std::int64_t value) {
    BLOOM_CHECK(sqlite3_bind_int64(stmt_, index, value) == SQLITE_OK);
    return *this;
}

Statement& Statement::bind(int index, std::string_view value) {
    BLOOM_CHECK(sqlite3_bind_text64(stmt_, index, value.data(), value.size(), SQLITE_TRANSIENT,
                                    SQLITE_UTF8) == SQLITE_OK);
    return *this;
}

Statement& Statement::bind_null(int index) {
    BLOOM_CHECK(sqlite3_bind_null(stmt_, index) == SQLITE_OK);
    return *this;
}

Result<bool> Statement::step() {
    const int rc = sqlite3_step(stmt_);
    if (rc == SQLITE_ROW) return true;
    if (rc == SQLITE_DONE) return false;
    const char* const path = sqlite3_db_filename(db_, "main");
    return Error{Code::io_error,
                 fmt::format("database {}: {}", path == nullptr ? "" : path, sqlite3_errmsg(db_))};
}

Result<> Statement::run() {
    BLOOM_TRY(const bool row, step());
    BLOOM_CHECK(!row);
    return {};
}

std::int64_t Statement::integer(int column) const {
    return sqlite3_column_int64(stmt_, column);
}

std::string Statement::text(int column) const {
    const auto* at = reinterpret_cast<const char*>(sqlite3_column_text(stmt_, column));
    return at == nullptr
               ? std::string()
               : std::string(at, static_cast<std::size_t>(sqlite3_column_bytes(stmt_, column)));
}

bool Statement::is_null(int column) const {
    return sqlite3_column_type(stmt_, column) == SQLITE_NULL;
}

Result<Database> Database::open(const std::string& path) {
    sqlite3* handle = nullptr;
    const int rc =
        sqlite3_open_v2(path.c_str(), &handle,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    Database db(handle, path);
    if (rc != SQLITE_OK) return db.failure("open");
    sqlite3_extended_result_codes(handle, 1);
    // Another process (the command line) may hold the write lock for a moment.
    sqlite3_busy_timeout(handle, 5000);
    BLOOM_OK(db.execute("PRAGMA journal_mode=WAL"));
    BLOOM_OK(db.execute("PRAGMA synchronous=FULL"));
    BLOOM_OK(db.execute("PRAGMA foreign_keys=ON"));
    return db;
}

Database::Database(Database&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)), path_(std::move(other.path_)) {}

Database::~Database() {
    sqlite3_close_v2(db_);
}

Error Database::failure(std::string_view what) const {
    return Error{Code::io_error, fmt::format("database {}: {}: {}", path_, what,
                                             db_ ? sqlite3_errmsg(db_) : "out of memory")};
}

Result<Statement> Database::prepare(std::string_view sql) {
    sqlite3_stmt* stmt = nullptr;
    if (sqlite3_prepare_v2(db_, sql.data(), static_cast<int>(sql.size()), &stmt, nullptr) !=
        SQLITE_OK) {
        return failure("prepare");
    }
    return Statement(db_, stmt);
}

Result<> Database::execute(const char* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failure("execute");
    return {};
}

Result<> Database::transaction(const std::function<Result<>()>& body) {
    BLOOM_OK(execute("BEGIN IMMEDIATE"));
    Result<> done = body();
    if (done) done = execute("COMMIT");
    if (!done) {
        // The first error is the one to tell; a failed rollback leaves nothing committed either.
        static_cast<void>(execute("ROLLBACK"));
    }
    return done;
}

} // namespace bloom::store
