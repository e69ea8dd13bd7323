#include "api/openapi.hpp"

#include <algorithm>
#include <map>
#include <vector>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/json/writer.hpp>

#include "api/route_table.hpp"

namespace bloom::api {
namespace {

constexpr std::string_view kErrorResponses =
    R"({"Error":{"description":"What went wrong.","content":{"application/json":{"schema":)"
    R"({"$ref":"#/components/schemas/Error"}}}},"AnthropicError":{"description":)"
    R"("What went wrong.","content":{"application/json":{"schema":)"
    R"({"$ref":"#/components/schemas/AnthropicError"}}}}})";

constexpr std::string_view kSecuritySchemes =
    R"({"bearer":{"type":"http","scheme":"bearer","description":"An API key: sk-db-..."},)"
    R"("api_key":{"type":"apiKey","in":"header","name":"x-api-key"}})";

constexpr std::string_view kEitherScheme = R"([{"bearer":[]},{"api_key":[]}])";

std::string lower_case(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
    return out;
}

/// `/v1/models/{id...}` as OpenAPI spells it; names of the parameters go to `names`.
std::string openapi_path(std::string_view pattern, std::vector<std::string>& names) {
    std::string out;
    for (std::size_t at = 0; at < pattern.size();) {
        if (pattern[at] != '{') {
            out += pattern[at++];
            continue;
        }
        const std::size_t end = pattern.find('}', at);
        BLOOM_CHECK(end != std::string_view::npos); // the router has checked it
        std::string_view name = pattern.substr(at + 1, end - at - 1);
        if (name.ends_with("...")) name.remove_suffix(3);
        names.emplace_back(name);
        out += fmt::format("{{{}}}", name);
        at = end + 1;
    }
    return out;
}

void write_reference(json::Writer& w, std::string_view kind, std::string_view name) {
    w.begin_object().key("$ref").string(fmt::format("#/components/{}/{}", kind, name)).end_object();
}

void write_content(json::Writer& w, std::string_view type, std::string_view schema) {
    w.key(type).begin_object().key("schema");
    if (schema.empty()) {
        w.begin_object().key("type").string("string").end_object();
    } else {
        write_reference(w, "schemas", schema);
    }
    w.end_object();
}

void write_parameter(json::Writer& w, std::string_view name, std::string_view in) {
    w.begin_object().key("name").string(name).key("in").string(in);
    w.key("required").boolean(in == "path");
    w.key("schema").begin_object().key("type").string("string").end_object().end_object();
}

void write_parameters(json::Writer& w, const std::vector<std::string>& in_path,
                      std::string_view query) {
    if (in_path.empty() && query.empty()) return;
    w.key("parameters").begin_array();
    for (const std::string& name : in_path)
        write_parameter(w, name, "path");
    while (!query.empty()) {
        const std::size_t end = std::min(query.find(' '), query.size());
        write_parameter(w, query.substr(0, end), "query");
        query.remove_prefix(std::min(end + 1, query.size()));
    }
    w.end_array();
}

void write_responses(json::Writer& w, const RouteDescription& about) {
    w.key("responses").begin_object();
    w.key("200").begin_object().key("description").string("Done.").key("content").begin_object();
    write_content(w, about.response.empty() ? "text/plain" : "application/json", about.response);
    if (about.streams) write_content(w, "text/event-stream", {});
    w.end_object().end_object();
    w.key("default");
    write_reference(w, "responses", about.tag == "Messages" ? "AnthropicError" : "Error");
    w.end_object();
}

void write_operation(json::Writer& w, const RouteDescription& about,
                     const std::vector<std::string>& parameters) {
    w.begin_object().key("operationId").string(about.id).key("summary").string(about.summary);
    w.key("tags").begin_array().string(about.tag).end_array();
    w.key("security").raw(about.needs_key ? kEitherScheme : "[]");
    write_parameters(w, parameters, about.query);
    if (!about.request.empty()) {
        w.key("requestBody").begin_object().key("required").boolean(true).key("content");
        w.begin_object();
        write_content(w, "application/json", about.request);
        w.end_object().end_object();
    }
    write_responses(w, about);
    w.end_object();
}

void write_components(json::Writer& w) {
    w.key("components").begin_object();
    w.key("securitySchemes").raw(kSecuritySchemes);
    w.key("responses").raw(kErrorResponses);
    w.key("schemas").begin_object();
    for (const ApiSchema& schema : api_schemas())
        w.key(schema.name).raw(schema.json);
    w.end_object().end_object();
}

} // namespace

std::string openapi_document(const http::Router& router, std::string_view version) {
    // By path and, within it, by method: OpenAPI has one object for each path.
    std::map<std::string, std::vector<http::Method>, std::less<>> paths;
    router.visit([&](http::Method method, std::string_view pattern) {
        if (!pattern.starts_with(kDoubledPrefix)) paths[std::string(pattern)].push_back(method);
    });
    std::string out;
    json::Writer w(out);
    w.begin_object().key("openapi").string("3.1.0").key("info").begin_object();
    w.key("title").string("Darkbloom").key("version").string(version);
    w.key("description")
        .string("One node, four dialects: OpenAI's chat completions, completions "
                "and responses, and Anthropic's messages.");
    w.key("license").begin_object().key("name").string("Apache-2.0").key("identifier");
    w.string("Apache-2.0").end_object().end_object();
    w.key("paths").begin_object();
    for (const auto& [pattern, methods] : paths) {
        std::vector<std::string> names;
        w.key(openapi_path(pattern, names)).begin_object();
        for (const http::Method method : methods) {
            const RouteDescription* about = description_of(method, pattern);
            if (about == nullptr) continue; // a test finds it
            w.key(lower_case(http::to_string(method)));
            write_operation(w, *about, names);
        }
        w.end_object();
    }
    w.end_object();
    write_components(w);
    w.end_object();
    return out;
}

} // namespace bloom::api
