// Any bytes: the reader accepts or refuses; what it accepts can be walked, has valid UTF-8 strings,
// and reads the same after being written by our writer.
#include <cstddef>
#include <cstdint>
#include <string>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/json/writer.hpp>

namespace {

using namespace bloom::json;

void write(const Value& value, Writer& out) {
    switch (value.kind()) {
    case Kind::null:
        out.null();
        return;
    case Kind::boolean:
        out.boolean(*value.as_bool());
        return;
    case Kind::integer:
        out.integer(*value.as_int64());
        return;
    case Kind::unsigned_integer:
        out.integer(*value.as_uint64());
        return;
    case Kind::real:
        out.number(*value.as_double());
        return;
    case Kind::string:
        BLOOM_CHECK(bloom::is_utf8(*value.as_string()));
        out.string(*value.as_string());
        return;
    case Kind::array:
        out.begin_array();
        for (const Value element : *value.as_array())
            write(element, out);
        out.end_array();
        return;
    case Kind::object:
        out.begin_object();
        for (const Member member : *value.as_object()) {
            out.key(member.key);
            write(member.value, out);
        }
        out.end_object();
        return;
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Parser parser(Writer::kMaxScopes);
    const std::string text(reinterpret_cast<const char*>(data), size);
    static_cast<void>(parser.parse(text, {.reject_duplicates = true}));
    const auto root = parser.parse(text);
    if (!root) return 0;
    std::string first;
    Writer writer(first);
    write(*root, writer);
    BLOOM_CHECK(writer.complete());
    const auto again = parser.parse(first);
    BLOOM_CHECK(again.has_value());
    std::string second;
    Writer rewriter(second);
    write(*again, rewriter);
    BLOOM_CHECK(first == second);
    return 0;
}
