#include <bloom/dialect/error_body.hpp>
#include <bloom/json/writer.hpp>

namespace bloom::dialect {

void append_openai_error(std::string& out, std::string_view message, std::string_view type,
                         std::string_view param, std::string_view code) {
    json::Writer w(out);
    w.begin_object().key("error").begin_object();
    w.key("message").string(message).key("type").string(type).key("param");
    if (param.empty()) {
        w.null();
    } else {
        w.string(param);
    }
    w.key("code").string(code.empty() ? type : code).end_object().end_object();
}

void append_anthropic_error(std::string& out, std::string_view message, std::string_view type,
                            std::string_view request_id, std::string_view error_code) {
    json::Writer w(out);
    w.begin_object().key("type").string("error").key("error").begin_object();
    w.key("type").string(type).key("message").string(message);
    if (!error_code.empty()) {
        w.key("details").begin_object().key("error_code").string(error_code).end_object();
    }
    w.end_object();
    if (!request_id.empty()) w.key("request_id").string(request_id);
    w.end_object();
}

} // namespace bloom::dialect
