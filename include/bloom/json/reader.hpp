#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include <bloom/base/result.hpp>

namespace bloom::json {

/// Bytes that must be readable behind the text given to Parser::parse_padded; their value is free.
inline constexpr std::size_t kPadding = 64;
/// Arrays and objects inside one another, unless a Parser is made with less. A text this deep can
/// still be walked recursively on a small stack.
inline constexpr std::size_t kMaxDepth = 128;
/// Longest text that is parsed, far below the 4 GiB that the parser's 32-bit offsets allow.
inline constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

/// What a value is. Numbers keep their spelling apart: `integer` fits int64, `unsigned_integer`
/// only uint64, `real` was written with a fraction or an exponent.
enum class Kind : std::uint8_t {
    null,
    boolean,
    integer,
    unsigned_integer,
    real,
    string,
    array,
    object
};

/// "an array", "a string" and so on, as error messages want it.
std::string_view to_string(Kind kind) noexcept;

class Array;
class Object;

/// One value inside the document of a Parser: a position, cheap to copy.
/// Lifetime: until the Parser's next parse or its end. Thread: any number may read one document.
/// Errors:   as_* answer invalid_argument "expected a string, got null".
class Value {
public:
    Value() noexcept = default; ///< not a value; only to be assigned to

    Kind kind() const noexcept;

    bool is_null() const noexcept { return kind() == Kind::null; }

    bool is_string() const noexcept { return kind() == Kind::string; }

    bool is_array() const noexcept { return kind() == Kind::array; }

    bool is_object() const noexcept { return kind() == Kind::object; }

    /// An integer or a real.
    bool is_number() const noexcept;

    Result<bool> as_bool() const;
    /// Exact: 1.0, 1e3 and numbers outside int64 are errors.
    Result<std::int64_t> as_int64() const;
    /// Exact: negative numbers and reals are errors.
    Result<std::uint64_t> as_uint64() const;
    /// Any number, rounded to the nearest double.
    Result<double> as_double() const;
    /// Valid UTF-8, escapes resolved; may contain NUL.
    Result<std::string_view> as_string() const;
    Result<Array> as_array() const;
    Result<Object> as_object() const;

private:
    friend class Array;
    friend class Object;
    friend class Parser;

    Value(const void* document, std::size_t at) noexcept : document_(document), at_(at) {}

    const void* document_ = nullptr;
    std::size_t at_ = 0; ///< index on the document's tape
};

/// Elements in the order of the text: `for (json::Value v : array)`.
class Array {
public:
    class Iterator {
    public:
        Value operator*() const noexcept { return {document_, at_}; }

        Iterator& operator++() noexcept;

        bool operator==(const Iterator& other) const noexcept { return at_ == other.at_; }

    private:
        friend class Array;

        Iterator(const void* document, std::size_t at) noexcept : document_(document), at_(at) {}

        const void* document_;
        std::size_t at_;
    };

    Iterator begin() const noexcept { return {document_, begin_}; }

    Iterator end() const noexcept { return {document_, end_}; }

    bool empty() const noexcept { return begin_ == end_; }

    /// Number of elements. Cost: constant below 2^24 - 1 elements, linear from there.
    std::size_t size() const noexcept;

private:
    friend class Value;

    Array(const void* document, std::size_t begin, std::size_t end) noexcept
        : document_(document), begin_(begin), end_(end) {}

    const void* document_;
    std::size_t begin_;
    std::size_t end_;
};

struct Member {
    std::string_view key; ///< valid UTF-8, escapes resolved
    Value value;
};

/// Members in the order of the text, duplicates included: `for (json::Member m : object)`. Code
/// that walks all members and assigns gets "last duplicate wins" by itself.
class Object {
public:
    class Iterator {
    public:
        Member operator*() const noexcept;
        Iterator& operator++() noexcept;

        bool operator==(const Iterator& other) const noexcept { return at_ == other.at_; }

    private:
        friend class Object;

        Iterator(const void* document, std::size_t at) noexcept : document_(document), at_(at) {}

        const void* document_;
        std::size_t at_;
    };

    Iterator begin() const noexcept { return {document_, begin_}; }

    Iterator end() const noexcept { return {document_, end_}; }

    bool empty() const noexcept { return begin_ == end_; }

    /// Number of members, duplicates counted. Cost: as Array::size.
    std::size_t size() const noexcept;
    /// The last member of that name. Cost: linear; readers of many keys walk the members instead.
    std::optional<Value> find(std::string_view key) const noexcept;
    /// Like find, with not_found naming the key.
    Result<Value> at(std::string_view key) const;

private:
    friend class Value;

    Object(const void* document, std::size_t begin, std::size_t end) noexcept
        : document_(document), begin_(begin), end_(end) {}

    const void* document_;
    std::size_t begin_;
    std::size_t end_;
};

struct ParseOptions {
    /// Refuse a text in which any object names a member twice (provider messages, safetensors).
    bool reject_duplicates = false;
};

/// Reads whole JSON texts (RFC 8259), validating everything: grammar, UTF-8, escapes (a lone
/// surrogate is an error), number range, depth. Integers beyond 64 bits and reals beyond double are
/// refused rather than rounded.
/// Errors:   invalid_argument (not JSON, duplicate), too_large (depth, length), out_of_memory.
/// Lifetime: owns the document of its last successful parse; the input is not referenced
/// afterwards.
///           Moving a Parser keeps its Values valid. Memory of the largest text stays for the next
///           one until trim().
/// Thread:   one at a time.
class Parser {
public:
    explicit Parser(std::size_t max_depth = kMaxDepth);
    Parser(Parser&&) noexcept;
    Parser& operator=(Parser&&) noexcept;
    ~Parser();

    /// Copies the text into a padded buffer first.
    Result<Value> parse(std::string_view text, ParseOptions options = {});
    /// Without a copy: kPadding bytes behind the text must be readable.
    Result<Value> parse_padded(std::string_view text, ParseOptions options = {});
    /// Gives memory back if the buffers have grown beyond texts of `keep_bytes`. Ends all Values.
    void trim(std::size_t keep_bytes) noexcept;

private:
    struct Impl;
    std::size_t max_depth_;
    std::unique_ptr<Impl> impl_;
};

} // namespace bloom::json
