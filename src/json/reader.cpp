#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include <simdjson.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/json/reader.hpp>

// Values are positions on simdjson's tape, read through its tape_ref. Layout: an opening brace sits
// at index i, its content starts at i + 1, after_element() is one past the closing brace; a member
// is a key (one slot) followed by its value.
namespace bloom::json {
namespace {

using simdjson::internal::tape_ref;
using simdjson::internal::tape_type;

static_assert(kPadding >= simdjson::SIMDJSON_PADDING);

tape_ref ref(const void* document, std::size_t at) noexcept {
    BLOOM_DCHECK(document != nullptr);
    return {static_cast<const simdjson::dom::document*>(document), at};
}

Kind kind_of(tape_type type) noexcept {
    switch (type) {
    case tape_type::START_ARRAY:
        return Kind::array;
    case tape_type::START_OBJECT:
        return Kind::object;
    case tape_type::STRING:
        return Kind::string;
    case tape_type::INT64:
        return Kind::integer;
    case tape_type::UINT64:
        return Kind::unsigned_integer;
    case tape_type::DOUBLE:
        return Kind::real;
    case tape_type::TRUE_VALUE:
    case tape_type::FALSE_VALUE:
        return Kind::boolean;
    default:
        return Kind::null;
    }
}

Error expected(std::string_view what, Kind got) {
    std::string message = "expected ";
    message += what;
    message += ", got ";
    message += to_string(got);
    return {Code::invalid_argument, std::move(message)};
}

Error from_simdjson(simdjson::error_code code, std::size_t max_depth) {
    switch (code) {
    case simdjson::MEMALLOC:
        return {Code::out_of_memory, "no memory to read this JSON text"};
    case simdjson::CAPACITY:
        return {Code::too_large, "the JSON text is too long"};
    case simdjson::DEPTH_ERROR:
        return {Code::too_large,
                "the JSON text is nested deeper than " + std::to_string(max_depth) + " levels"};
    case simdjson::EMPTY:
        return {Code::invalid_argument, "not valid JSON: the text is empty"};
    default:
        return {Code::invalid_argument,
                std::string("not valid JSON: ") + simdjson::error_message(code)};
    }
}

/// Looks for a repeated member name in every object of the tape. Sorting, not hashing: no choice of
/// names makes it quadratic. Depth is bounded by the parser, so recursion is safe.
Result<> refuse_duplicates(const Value& value, std::vector<std::string_view>& scratch) {
    if (value.is_array()) {
        BLOOM_TRY(const Array array, value.as_array());
        for (const Value element : array)
            BLOOM_OK(refuse_duplicates(element, scratch));
        return {};
    }
    if (!value.is_object()) return {};
    BLOOM_TRY(const Object object, value.as_object());
    scratch.clear();
    for (const Member member : object)
        scratch.push_back(member.key);
    std::sort(scratch.begin(), scratch.end());
    const auto twin = std::adjacent_find(scratch.begin(), scratch.end());
    if (twin != scratch.end()) {
        return Error{Code::invalid_argument, "the member " + quoted(*twin) + " appears twice"};
    }
    for (const Member member : object)
        BLOOM_OK(refuse_duplicates(member.value, scratch));
    return {};
}

/// The tape's counter saturates; beyond it the elements are counted.
constexpr std::uint32_t kSaturatedCount = 0xffffff;

template <class Range>
std::size_t count(const Range& range, const void* document, std::size_t begin) noexcept {
    const std::uint32_t n = ref(document, begin - 1).scope_count();
    if (n < kSaturatedCount) return n;
    std::size_t counted = 0;
    for (auto it = range.begin(); it != range.end(); ++it)
        ++counted;
    return counted;
}

} // namespace

std::string_view to_string(Kind kind) noexcept {
    static constexpr std::array<std::string_view, 8> kNames{"null",       "a boolean", "an integer",
                                                            "an integer", "a number",  "a string",
                                                            "an array",   "an object"};
    return kNames[static_cast<std::size_t>(kind)];
}

Kind Value::kind() const noexcept {
    return kind_of(ref(document_, at_).tape_ref_type());
}

bool Value::is_number() const noexcept {
    const Kind k = kind();
    return k == Kind::integer || k == Kind::unsigned_integer || k == Kind::real;
}

Result<bool> Value::as_bool() const {
    const tape_ref at = ref(document_, at_);
    if (at.is_true()) return true;
    if (at.is_false()) return false;
    return expected("a boolean", kind());
}

Result<std::int64_t> Value::as_int64() const {
    const tape_ref at = ref(document_, at_);
    if (at.is_int64()) return at.next_tape_value<std::int64_t>();
    if (at.is_uint64()) return Error{Code::invalid_argument, "the integer is above 2^63 - 1"};
    return expected("an integer", kind());
}

Result<std::uint64_t> Value::as_uint64() const {
    const tape_ref at = ref(document_, at_);
    if (at.is_uint64()) return at.next_tape_value<std::uint64_t>();
    if (!at.is_int64()) return expected("an integer", kind());
    const auto value = at.next_tape_value<std::int64_t>();
    if (value < 0) return Error{Code::invalid_argument, "the integer is negative"};
    return static_cast<std::uint64_t>(value);
}

Result<double> Value::as_double() const {
    const tape_ref at = ref(document_, at_);
    if (at.is_double()) return at.next_tape_value<double>();
    if (at.is_int64()) return static_cast<double>(at.next_tape_value<std::int64_t>());
    if (at.is_uint64()) return static_cast<double>(at.next_tape_value<std::uint64_t>());
    return expected("a number", kind());
}

Result<std::string_view> Value::as_string() const {
    const tape_ref at = ref(document_, at_);
    if (at.tape_ref_type() != tape_type::STRING) return expected("a string", kind());
    return at.get_string_view();
}

Result<Array> Value::as_array() const {
    const tape_ref at = ref(document_, at_);
    if (at.tape_ref_type() != tape_type::START_ARRAY) return expected("an array", kind());
    return Array{document_, at_ + 1, at.after_element() - 1};
}

Result<Object> Value::as_object() const {
    const tape_ref at = ref(document_, at_);
    if (at.tape_ref_type() != tape_type::START_OBJECT) return expected("an object", kind());
    return Object{document_, at_ + 1, at.after_element() - 1};
}

Array::Iterator& Array::Iterator::operator++() noexcept {
    at_ = ref(document_, at_).after_element();
    return *this;
}

std::size_t Array::size() const noexcept {
    return count(*this, document_, begin_);
}

Member Object::Iterator::operator*() const noexcept {
    return {ref(document_, at_).get_string_view(), Value{document_, at_ + 1}};
}

Object::Iterator& Object::Iterator::operator++() noexcept {
    at_ = ref(document_, at_ + 1).after_element();
    return *this;
}

std::size_t Object::size() const noexcept {
    return count(*this, document_, begin_);
}

std::optional<Value> Object::find(std::string_view key) const noexcept {
    std::optional<Value> found;
    for (const Member member : *this) {
        if (member.key == key) found = member.value;
    }
    return found;
}

Result<Value> Object::at(std::string_view key) const {
    if (const std::optional<Value> value = find(key)) return *value;
    return Error{Code::not_found, "the member " + quoted(key) + " is missing"};
}

struct Parser::Impl {
    simdjson::dom::parser parser;
    std::vector<char> padded;              ///< copies of unpadded texts
    std::vector<std::string_view> scratch; ///< names of the object under duplicate check
};

Parser::Parser(std::size_t max_depth) : max_depth_(max_depth), impl_(std::make_unique<Impl>()) {
    BLOOM_CHECK(max_depth > 0 && max_depth <= kMaxDepth);
}

Parser::Parser(Parser&&) noexcept = default;
Parser& Parser::operator=(Parser&&) noexcept = default;
Parser::~Parser() = default;

Result<Value> Parser::parse(std::string_view text, ParseOptions options) {
    if (text.size() > kMaxTextBytes) return from_simdjson(simdjson::CAPACITY, max_depth_);
    try {
        impl_->padded.reserve(text.size() + kPadding);
        impl_->padded.assign(text.begin(), text.end());
        impl_->padded.resize(text.size() + kPadding, '\0');
    } catch (const std::bad_alloc&) {
        return from_simdjson(simdjson::MEMALLOC, max_depth_);
    }
    return parse_padded({impl_->padded.data(), text.size()}, options);
}

Result<Value> Parser::parse_padded(std::string_view text, ParseOptions options) {
    if (text.size() > kMaxTextBytes) return from_simdjson(simdjson::CAPACITY, max_depth_);
    simdjson::dom::parser& parser = impl_->parser;
    // The depth array belongs to the implementation object, which allocate() makes on first use; a
    // capacity of 0 would leave it without room for a document.
    if (parser.capacity() == 0 || parser.max_depth() != max_depth_) {
        const std::size_t capacity = std::max<std::size_t>(text.size(), 1024);
        if (const auto code = parser.allocate(capacity, max_depth_); code != simdjson::SUCCESS) {
            return from_simdjson(code, max_depth_);
        }
    }
    const auto root = parser.parse(text.data(), text.size(), /*realloc_if_needed=*/false);
    if (root.error() != simdjson::SUCCESS) return from_simdjson(root.error(), max_depth_);
    const Value value{&parser.doc, 1}; // index 0 is the document's own mark
    if (options.reject_duplicates) BLOOM_OK(refuse_duplicates(value, impl_->scratch));
    return value;
}

void Parser::trim(std::size_t keep_bytes) noexcept {
    if (impl_->parser.capacity() > keep_bytes) {
        impl_->parser = simdjson::dom::parser();
        impl_->scratch = {};
    }
    if (impl_->padded.capacity() > keep_bytes + kPadding) impl_->padded = {};
}

} // namespace bloom::json
