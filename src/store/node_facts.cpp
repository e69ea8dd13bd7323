#include <bloom/store/node_facts.hpp>

namespace bloom::store {

Result<std::string> remember(Database& db, std::string_view name, std::string_view fresh) {
    BLOOM_TRY(
        Statement insert,
        db.prepare("INSERT INTO node_fact (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING"));
    BLOOM_OK(insert.bind(1, name).bind(2, fresh).run());
    BLOOM_TRY(Statement query, db.prepare("SELECT value FROM node_fact WHERE name = ?"));
    BLOOM_TRY(const bool row, query.bind(1, name).step());
    if (!row) return Error{Code::corrupt, "database: a stored fact about this node vanished"};
    return query.text(0);
}

} // namespace bloom::store
