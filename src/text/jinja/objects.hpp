#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/text/jinja_value.hpp>

/// What stands behind the values that own memory.
namespace bloom::text::jinja {

struct Object {
    std::uint32_t depth = 1;

    Object() = default;
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;
    virtual ~Object() = default;

    /// Keeps `depth` one above the deepest member.
    void deepen(const Value& member) noexcept {
        if (member.depth() >= depth) depth = member.depth() + 1;
    }
};

/// Text with the ranges that came from a user. `markup` is Python's Markup: `+` escapes its
/// partner.
struct StringObject final : Object {
    std::string text;
    std::vector<ByteRange> user;
    bool markup = false;
};

struct BigObject final : Object {
    std::string digits;
};

enum class Form : std::uint8_t { list, tuple, range, keys, values, items };

struct SequenceObject final : Object {
    std::vector<Value> items;
    Form form = Form::list;
    bool is_mutable = false; ///< made by the template itself; what the caller passed in is not
};

/// Ordered members. Above a few dozen an index over the string keys keeps lookups logarithmic; a
/// tree rather than a hash, so that chosen keys cannot degrade it.
struct DictObject final : Object {
    std::vector<std::pair<Value, Value>> members;
    std::map<std::string_view, std::size_t> index;

    const Value* find(std::string_view key) const noexcept;
    const Value* find(const Value& key) const noexcept;
    void set(Value key, Value value);
};

/// The result of a lazy filter: computed at once, but handed out only once.
struct GeneratorObject final : Object {
    std::vector<Value> items;
    std::size_t next = 0;
};

struct NamespaceObject final : Object {
    DictObject attributes;
};

/// Collects text and its user ranges.
class StringBuilder {
public:
    void append(std::string_view text) { text_.append(text); }

    void append(char c) { text_.push_back(c); }

    void append(std::string_view text, Origin origin) {
        const std::size_t from = text_.size();
        text_.append(text);
        if (origin == Origin::user) mark(from, text_.size());
    }

    void append(const StringObject& from) { append(from, 0, from.text.size()); }

    /// Bytes [begin, end) of a string with their marks.
    void append(const StringObject& from, std::size_t begin, std::size_t end);

    void mark(std::size_t begin, std::size_t end);

    std::size_t size() const noexcept { return text_.size(); }

    std::size_t n_ranges() const noexcept { return user_.size(); }

    std::string_view view() const noexcept { return text_; }

    Value finish() &&;
    void take(std::string& text, std::vector<ByteRange>& user) &&;

private:
    std::string text_;
    std::vector<ByteRange> user_;
};

/// Walks a string's user ranges beside its text, in ascending order of position.
class MarkCursor {
public:
    explicit MarkCursor(const StringObject& of) : ranges_(of.user) {}

    Origin at(std::size_t byte) noexcept {
        while (next_ < ranges_.size() && ranges_[next_].end <= byte)
            ++next_;
        return next_ < ranges_.size() && ranges_[next_].begin <= byte ? Origin::user
                                                                      : Origin::trusted;
    }

private:
    const std::vector<ByteRange>& ranges_;
    std::size_t next_ = 0;
};

inline const StringObject& string_of(const Value& value) noexcept {
    return value.as<StringObject>();
}

inline const std::vector<Value>& items_of(const Value& sequence) noexcept {
    return sequence.as<SequenceObject>().items;
}

Value make_sequence(std::vector<Value> items, Form form, bool is_mutable = false);
Value make_generator(std::vector<Value> items);
Value make_pair(Value first, Value second);
/// Bytes [begin, end) of a string value.
Value substring(const Value& text, std::size_t begin, std::size_t end);

} // namespace bloom::text::jinja
