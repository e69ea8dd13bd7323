// Every route is described, and the document says of each what the router has.
#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include <bloom/api/services.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/store/key_store.hpp>

#include "api/openapi.hpp"
#include "api/route_table.hpp"

namespace bloom::api {
namespace {

struct World {
    registry::Registry registry;
    scheduler::PermissiveAdmission admission;
    Snapshot<auth::KeyTable> keys{nullptr};
    Services services{registry, admission, keys};
    http::Router router = make_router(services);
};

struct Operation {
    http::Method method;
    std::string pattern;
};

std::vector<Operation> operations(const http::Router& router) {
    std::vector<Operation> out;
    router.visit([&](http::Method method, std::string_view pattern) {
        out.push_back({method, std::string(pattern)});
    });
    return out;
}

/// `/v1/models/{id...}` is `/v1/models/{id}` in the document.
std::string documented(std::string pattern) {
    if (const std::size_t dots = pattern.find("...}"); dots != std::string::npos)
        pattern.erase(dots, 3);
    return pattern;
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out;
}

TEST(OpenApi, EveryRouteIsDescribed) {
    const World world;
    std::size_t n = 0;
    for (const Operation& op : operations(world.router)) {
        const RouteDescription* about = description_of(op.method, op.pattern);
        ASSERT_NE(about, nullptr) << http::to_string(op.method) << " " << op.pattern;
        EXPECT_FALSE(about->id.empty()) << op.pattern;
        EXPECT_FALSE(about->tag.empty()) << op.pattern;
        EXPECT_TRUE(about->summary.ends_with(".")) << op.pattern;
        ++n;
    }
    EXPECT_GT(n, route_table().size()) << "some routes are doubled";
    EXPECT_EQ(description_of(http::Method::post, "/v1/v1/pricing"), nullptr);
    EXPECT_EQ(description_of(http::Method::get, "/v1/chat/completions"), nullptr);
}

void collect_references(const json::Value& value, std::set<std::string>& out) {
    if (value.is_array()) {
        const json::Array array = *value.as_array();
        for (const json::Value element : array)
            collect_references(element, out);
    }
    if (!value.is_object()) return;
    const json::Object object = *value.as_object();
    for (const json::Member member : object) {
        if (member.key == "$ref") out.insert(std::string(*member.value.as_string()));
        collect_references(member.value, out);
    }
}

TEST(OpenApi, TheDocumentHasTheRoutersRoutesAndNoLooseEnds) {
    const World world;
    const std::string text = openapi_document(world.router, "1.2.3");
    json::Parser parser;
    const auto parsed = parser.parse(text, {.reject_duplicates = true});
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message();
    const json::Object document = *parsed->as_object();
    EXPECT_EQ(*document.find("openapi")->as_string(), "3.1.0");
    EXPECT_EQ(*document.find("info")->as_object()->find("version")->as_string(), "1.2.3");

    const json::Object paths = *document.find("paths")->as_object();
    std::set<std::string> ids;
    std::set<std::string> expected;
    for (const Operation& op : operations(world.router)) {
        if (op.pattern.starts_with(kDoubledPrefix)) continue;
        expected.insert(documented(op.pattern));
        const auto path = paths.find(documented(op.pattern));
        ASSERT_TRUE(path.has_value()) << op.pattern;
        const auto operation = path->as_object()->find(lower(http::to_string(op.method)));
        ASSERT_TRUE(operation.has_value()) << op.pattern;
        const std::string id(*operation->as_object()->find("operationId")->as_string());
        EXPECT_TRUE(ids.insert(id).second) << id << " is there twice";
    }
    EXPECT_EQ(paths.size(), expected.size());

    std::set<std::string> references;
    collect_references(*parsed, references);
    const json::Object components = *document.find("components")->as_object();
    for (const std::string& reference : references) {
        constexpr std::string_view kPrefix = "#/components/";
        ASSERT_TRUE(reference.starts_with(kPrefix)) << reference;
        const std::size_t slash = reference.find('/', kPrefix.size());
        const auto kind = components.find(reference.substr(kPrefix.size(), slash - kPrefix.size()));
        ASSERT_TRUE(kind.has_value()) << reference;
        EXPECT_TRUE(kind->as_object()->find(reference.substr(slash + 1)).has_value()) << reference;
    }
    for (const ApiSchema& schema : api_schemas()) {
        EXPECT_TRUE(references.contains("#/components/schemas/" + std::string(schema.name)))
            << schema.name << " is used by nothing";
    }
}

TEST(OpenApi, TheGuideNamesEveryRoute) {
    std::ifstream file(std::string(BLOOM_SOURCE_DIR) + "/docs/api.md");
    std::stringstream guide;
    guide << file.rdbuf();
    for (const Route& route : route_table()) {
        const std::string line = std::string(http::to_string(route.method)) + " " +
                                 documented(std::string(route.pattern)) + "`";
        EXPECT_NE(guide.str().find("`" + line), std::string::npos) << line;
    }
}

} // namespace
} // namespace bloom::api
