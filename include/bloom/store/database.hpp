#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

struct sqlite3;
struct sqlite3_stmt;

namespace bloom::store {

/// One prepared statement; bind, step, read. Lifetime: must not outlive its Database.
/// Thread: the one that uses the Database.
class Statement {
public:
    Statement(Statement&& other) noexcept;
    Statement& operator=(Statement&&) = delete;
    ~Statement();

    /// Parameters count from 1, as in SQL.
    Statement& bind(int index, std::int64_t value);
    Statement& bind(int index, std::string_view value);
    Statement& bind_null(int index);

    /// True while there is a row. Errors: io_error, with SQLite's text.
    Result<bool> step();
    /// Runs a statement that yields no rows.
    Result<> run();

    std::int64_t integer(int column) const;
    std::string text(int column) const;
    bool is_null(int column) const;

private:
    friend class Database;

    Statement(sqlite3* db, sqlite3_stmt* stmt) : db_(db), stmt_(stmt) {}

    sqlite3* db_;
    sqlite3_stmt* stmt_;
};

/// One SQLite connection in WAL mode with synchronous=FULL: what `commit` returned from survives a
/// power cut. Thread: one at a time. Errors: every failure names the file.
class Database {
public:
    /// Opens or creates; `path` may be ":memory:".
    static Result<Database> open(const std::string& path);

    Database(Database&& other) noexcept;
    Database& operator=(Database&&) = delete;
    ~Database();

    Result<Statement> prepare(std::string_view sql);
    Result<> execute(const char* sql);
    /// Runs `body` inside BEGIN IMMEDIATE .. COMMIT; an error rolls back.
    Result<> transaction(const std::function<Result<>()>& body);

private:
    Database(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}

    Error failure(std::string_view what) const;

    sqlite3* db_;
    std::string path_;
};

/// Brings the schema to the newest version, one transaction per step. Errors: corrupt when the file
/// was written by a newer darkbloom.
Result<> migrate(Database& db);

} // namespace bloom::store
