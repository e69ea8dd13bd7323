#include <bloom/json/serialize.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::json {

void append_value(std::string& out, const Value& value) {
    switch (value.kind()) {
    case Kind::null:
        out += "null";
        return;
    case Kind::boolean:
        out += *value.as_bool() ? "true" : "false";
        return;
    case Kind::integer:
        append_int(out, *value.as_int64());
        return;
    case Kind::unsigned_integer:
        append_uint(out, *value.as_uint64());
        return;
    case Kind::real:
        append_double(out, *value.as_double());
        return;
    case Kind::string:
        append_string(out, *value.as_string());
        return;
    case Kind::array: {
        char before = '[';
        for (const Value element : *value.as_array()) {
            out += before;
            append_value(out, element);
            before = ',';
        }
        out += before == '[' ? "[]" : "]";
        return;
    }
    case Kind::object: {
        char before = '{';
        for (const Member member : *value.as_object()) {
            out += before;
            append_string(out, member.key);
            out += ':';
            append_value(out, member.value);
            before = ',';
        }
        out += before == '{' ? "{}" : "}";
        return;
    }
    }
}

} // namespace bloom::json
