#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/base/result.hpp>

/// Values of the template language: Python's, as far as chat templates can see them.
namespace bloom::text::jinja {

/// A half-open range of bytes of some text.
struct ByteRange {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;

    friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

/// What a value is. `sequence` covers Python's list, tuple, range and dict views; `generator` what
/// lazy filters return; `name_space`, `callable` and `loop` exist only inside a render.
enum class Kind : std::uint8_t {
    undefined,
    none,
    boolean,
    integer,
    big_integer,
    floating,
    string,
    sequence,
    dict,
    generator,
    name_space,
    callable,
    loop,
};

/// Whether text was written by the model's publisher or came with a request.
enum class Origin : std::uint8_t { trusted, user };

/// Containers nest at most this deep; it bounds every recursion over a value.
inline constexpr std::uint32_t kMaxValueDepth = 128;

struct Object; // what stands behind the kinds that own memory; private to the interpreter

/// One value: small ones inline, the others shared and reference counted. Values given to a render
/// are never changed by it, so one may serve several threads at once.
/// Thread: copies may be used on any thread.
class Value {
public:
    /// Undefined.
    Value() noexcept = default;

    static Value none() noexcept;
    static Value boolean(bool value) noexcept;
    static Value integer(std::int64_t value) noexcept;
    /// Decimal digits with an optional minus sign, kept exactly; small ones become `integer`.
    static Value exact_integer(std::string_view digits);
    static Value floating(double value) noexcept;
    static Value string(std::string text, Origin origin = Origin::trusted);
    static Value list(std::vector<Value> items);
    /// Members in the given order; of equal keys the last value wins at the place of the first.
    static Value dict(std::vector<std::pair<Value, Value>> members);

    /// Reads one JSON text: key order kept, integers of any size exact, integers and floats apart.
    /// Every string and key gets the given origin. Errors: invalid_argument with the byte offset;
    /// limit_reached beyond kMaxValueDepth.
    static Result<Value> from_json(std::string_view json, Origin origin);

    Kind kind() const noexcept { return kind_; }

    bool is(Kind kind) const noexcept { return kind_ == kind; }

    bool as_boolean() const noexcept { return scalar_.boolean; }

    std::int64_t as_integer() const noexcept { return scalar_.integer; }

    double as_floating() const noexcept { return scalar_.floating; }

    /// Text of a `string` or digits of a `big_integer`; empty for other kinds.
    std::string_view text() const noexcept;
    /// Member of a `dict`; nothing when absent or for other kinds.
    const Value* find(std::string_view key) const noexcept;
    /// Items of a `sequence`, members of a `dict`, 0 for other kinds.
    std::size_t size() const noexcept;
    /// 1 for scalars, one more than the deepest member for containers.
    std::uint32_t depth() const noexcept;

    // The interpreter's side.
    Value(Kind kind, std::shared_ptr<Object> object) noexcept
        : kind_(kind), object_(std::move(object)) {}

    /// Undefined that remembers the name it was looked up by, for messages. `name` must outlive it.
    static Value undefined(const std::string* name) noexcept;

    const std::string* undefined_name() const noexcept { return scalar_.name; }

    template <class T>
    T& as() const noexcept {
        return static_cast<T&>(*object_);
    }

    const std::shared_ptr<Object>& object() const noexcept { return object_; }

private:
    union Scalar {
        std::int64_t integer = 0;
        double floating;
        bool boolean;
        const std::string* name;
    };

    Kind kind_ = Kind::undefined;
    Scalar scalar_{};
    std::shared_ptr<Object> object_;
};

} // namespace bloom::text::jinja
