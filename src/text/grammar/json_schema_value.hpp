#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>

#include "text/grammar/numbers.hpp"

namespace bloom::text::schema {

inline constexpr std::size_t kMaxSchemaBytes = std::size_t{1} << 19;
inline constexpr std::size_t kMaxSchemaDepth = 100;
inline constexpr std::size_t kMaxSchemaValues = std::size_t{1} << 16;

enum class ValueKind : std::uint8_t { null, boolean, number, string, array, object };

/// A value of a schema's text, part of its Document. Of members that are named twice the last one
/// counts.
struct Value {
    struct Member {
        std::string key;
        const Value* value = nullptr;
    };

    ValueKind kind = ValueKind::null;
    bool truth = false;
    std::uint32_t id = 0; ///< its place in the document
    Decimal number;
    std::string text;
    std::vector<const Value*> items;
    std::vector<Member> members; ///< in the order of the text
    std::vector<std::uint32_t> by_key;
    const Value* parent = nullptr;
    std::string step; ///< the key or index by which the parent holds it

    bool is(ValueKind k) const noexcept { return kind == k; }

    /// nullptr where there is none, or where this is no object.
    const Value* find(std::string_view key) const noexcept;
};

/// JSON's equality: numbers by value, members in any order.
bool equal(const Value& a, const Value& b);

/// The same text for values that are equal, and for no others.
std::string canonical(const Value& value);

/// Where it stands, as a JSON pointer in a URI fragment's form: "#/properties/a".
std::string pointer_to(const Value& value);
/// `key` of `value`.
std::string pointer_to(const Value& value, std::string_view key);

class Document {
public:
    /// Errors: invalid_argument (no JSON), too_large.
    static Result<Document> parse(std::string_view text);

    const Value& root() const noexcept { return values_.front(); }

private:
    friend struct DocumentReader;
    std::deque<Value> values_;
};

} // namespace bloom::text::schema
