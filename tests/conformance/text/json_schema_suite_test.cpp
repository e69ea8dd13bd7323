// The JSON Schema test suite: of every schema that is taken, every valid instance can be written
// and no invalid one; what is not taken is refused by the name of one of its keywords.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/text/grammar/json_schema.hpp>

#include "support/grammar_match.hpp"
#include "support/json_tree.hpp"
#include "support/schema_validator.hpp"
#include "support/test_data.hpp"

namespace bloom::text {
namespace {

using test::JsonTree;
using test::SchemaValidator;

JsonTree load(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    auto tree = test::JsonTreeReader::read(text.str());
    EXPECT_TRUE(tree.has_value()) << path;
    return tree.value_or(JsonTree{});
}

/// Puts members in the order in which grammars write them: properties as a schema declares them,
/// then those of its $ref, of allOf, of the option that holds; then names that are only required,
/// in that order; then the rest.
class Normaliser {
public:
    explicit Normaliser(const JsonTree& root) : root_(root), validator_(root) {}

    JsonTree normalised(const JsonTree& value) { return order({&root_}, value); }

private:
    using Schemas = std::vector<const JsonTree*>;

    void add(const JsonTree& schema, const JsonTree& value, Schemas& own, Schemas& choices) {
        if (schema.kind != JsonTree::Kind::object || std::ranges::find(own, &schema) != own.end() ||
            own.size() > 100) {
            return;
        }
        const JsonTree* ref = schema.find("$ref");
        if (ref == nullptr || !validator_.draft7()) own.push_back(&schema);
        if (ref != nullptr) {
            const JsonTree* to = validator_.target(*ref);
            if (to != nullptr) add(*to, value, own, choices);
            if (validator_.draft7()) return;
        }
        if (const JsonTree* all = schema.find("allOf")) {
            for (const JsonTree& s : all->items)
                add(s, value, own, choices);
        }
        for (const char* key : {"anyOf", "oneOf"}) {
            if (const JsonTree* list = schema.find(key)) choices.push_back(list);
        }
    }

    /// Grammars write whole numbers without a fraction where only whole ones are allowed.
    static JsonTree plain(JsonTree value) {
        const std::size_t point = value.text.find('.');
        if (point == std::string::npos ||
            value.text.find_first_not_of('0', point + 1) != std::string::npos) {
            return value;
        }
        value.text.resize(point);
        if (value.text == "-0") value.text = "0";
        return value;
    }

    JsonTree order(const Schemas& demand, const JsonTree& value) {
        if (value.kind == JsonTree::Kind::number) return plain(value);
        if (value.kind != JsonTree::Kind::array && value.kind != JsonTree::Kind::object) {
            return value;
        }
        Schemas own;
        Schemas choices;
        for (const JsonTree* s : demand)
            add(*s, value, own, choices);
        while (!choices.empty()) {
            const JsonTree* list = choices.front();
            choices.erase(choices.begin());
            for (const JsonTree& option : list->items) {
                if (!validator_.holds(option, value)) continue;
                add(option, value, own, choices);
                break;
            }
        }
        return value.kind == JsonTree::Kind::array ? array(own, value) : object(own, value);
    }

    JsonTree array(const Schemas& own, const JsonTree& value) {
        JsonTree out = value;
        for (std::size_t i = 0; i < value.items.size(); ++i) {
            Schemas inside;
            for (const JsonTree* s : own) {
                const JsonTree* items = s->find("items");
                const JsonTree* prefix = s->find("prefixItems");
                if (items != nullptr && items->kind == JsonTree::Kind::array) {
                    prefix = items;
                    items = s->find("additionalItems");
                }
                const bool first = prefix != nullptr && i < prefix->items.size();
                if (first) items = &prefix->items[i];
                if (items != nullptr) inside.push_back(items);
            }
            out.items[i] = order(inside, value.items[i]);
        }
        return out;
    }

    JsonTree object(const Schemas& own, const JsonTree& value) {
        std::vector<std::string> names;
        const auto want = [&](const std::string& name) {
            if (std::ranges::find(names, name) == names.end()) names.push_back(name);
        };
        for (const JsonTree* s : own) {
            if (const JsonTree* map = s->find("properties")) {
                for (const auto& [key, unused] : map->members)
                    want(key);
            }
        }
        for (const JsonTree* s : own) {
            if (const JsonTree* list = s->find("required")) {
                for (const JsonTree& name : list->items)
                    want(name.text);
            }
        }
        for (const JsonTree* s : own) {
            const JsonTree* constant = s->find("const");
            const JsonTree* list = s->find("enum");
            std::vector<const JsonTree*> values;
            if (constant != nullptr) values.push_back(constant);
            for (std::size_t i = 0; list != nullptr && i < list->items.size(); ++i)
                values.push_back(&list->items[i]);
            for (const JsonTree* v : values) {
                if (!SchemaValidator::same(*v, value)) continue;
                for (const auto& [key, unused] : v->members)
                    want(key);
            }
        }
        for (const auto& [key, unused] : value.members)
            want(key);
        JsonTree out;
        out.kind = JsonTree::Kind::object;
        for (const std::string& name : names) {
            const JsonTree* member = value.find(name);
            if (member == nullptr) continue;
            out.members.push_back({name, order(inside(own, name), *member)});
        }
        return out;
    }

    Schemas inside(const Schemas& own, const std::string& name) {
        Schemas out;
        for (const JsonTree* s : own) {
            bool hit = false;
            const JsonTree* map = s->find("properties");
            if (map != nullptr && map->find(name) != nullptr) {
                hit = true;
                out.push_back(map->find(name));
            }
            if (const JsonTree* patterns = s->find("patternProperties")) {
                for (const auto& [pattern, schema] : patterns->members) {
                    if (!validator_.matches(pattern, name)) continue;
                    hit = true;
                    out.push_back(&schema);
                }
            }
            const JsonTree* others = s->find("additionalProperties");
            if (!hit && others != nullptr) out.push_back(others);
        }
        return out;
    }

    const JsonTree& root_;
    SchemaValidator validator_;
};

/// A valid instance that no notation of ours has.
struct Exception {
    std::string_view file;
    std::string_view instance; ///< compact
};

constexpr Exception kExceptions[] = {
    // More digits than a double or an int64 keeps.
    {"optional/bignum.json", "12345678910111213141516171819202122232425262728293031"},
    {"optional/bignum.json", "-12345678910111213141516171819202122232425262728293031"},
    {"optional/bignum.json", "98249283749234923498293171823948729348710298301928331"},
    {"optional/bignum.json", "-98249283749234923498293171823948729348710298301928331"},
    // Integers have no exponent.
    {"optional/float-overflow.json", "1e308"},
};

bool is_exception(const std::string& file, const std::string& instance) {
    return std::ranges::any_of(
        kExceptions, [&](const Exception& e) { return e.file == file && e.instance == instance; });
}

constexpr std::string_view kFormats[] = {"date", "date-time", "time",     "duration", "uuid",
                                         "ipv4", "ipv6",      "hostname", "email",    "uri"};

/// The format that a file of optional/format is about, or nothing.
std::string format_of(const std::string& file) {
    constexpr std::string_view kFolder = "optional/format/";
    if (!file.starts_with(kFolder)) return {};
    return file.substr(kFolder.size(), file.size() - kFolder.size() - 5);
}

/// Files whose invalid instances are valid for us: other formats and the content of strings are
/// annotations.
bool is_annotation(const std::string& file) {
    const std::string format = format_of(file);
    return file == "optional/content.json" ||
           (!format.empty() && std::ranges::find(kFormats, format) == std::end(kFormats));
}

/// Keywords that a refusal may name.
constexpr std::string_view kKeywords[] = {
    "$dynamicRef",
    "$id",
    "$recursiveRef",
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "if",
    "maxLength",
    "maximum",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
};

bool names_a_keyword(std::string_view message, const std::string& schema) {
    return std::ranges::any_of(kKeywords, [&](std::string_view keyword) {
        return message.starts_with(keyword) &&
               schema.find('"' + std::string(keyword) + '"') != std::string::npos;
    });
}

struct Counts {
    int taken = 0;
    int refused = 0;
    int impossible = 0;
    int unread = 0;
    int valid = 0;
    int invalid = 0;
    int exceptions = 0;
    int left_out = 0; ///< texts of enforced formats that are valid, or valid as annotations
};

class Suite {
public:
    explicit Suite(bool draft7) : draft7_(draft7) {}

    void run(const std::filesystem::path& folder) {
        std::vector<std::filesystem::path> files;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
            if (entry.path().extension() == ".json") files.push_back(entry.path());
        }
        std::ranges::sort(files);
        for (const auto& path : files) {
            const std::string name = std::filesystem::relative(path, folder).string();
            // The first needs documents of other hosts.
            if (name == "refRemote.json" || is_annotation(name)) continue;
            for (const JsonTree& group : load(path).items)
                run_group(name, group);
        }
    }

    Counts counts;

private:
    void run_group(const std::string& file, const JsonTree& group) {
        JsonTree schema = *group.find("schema");
        if (draft7_ && schema.kind == JsonTree::Kind::object && schema.find("$schema") == nullptr) {
            JsonTree name;
            name.kind = JsonTree::Kind::string;
            name.text = "http://json-schema.org/draft-07/schema#";
            schema.members.push_back({"$schema", std::move(name)});
        }
        const std::string text = compact(schema);
        SCOPED_TRACE(file + ": " + group.find("description")->text + "\n" + text);
        GrammarBuilder builder;
        const auto node = add_json_schema(builder, text, {});
        if (!node && node.error().message().contains("cannot be read")) {
            ++counts.unread; // an integer of more than 64 bits
            return;
        }
        if (!node) {
            ++counts.refused;
            EXPECT_TRUE(names_a_keyword(node.error().message(), text)) << node.error().message();
            refusals[std::string(
                node.error().message().substr(0, node.error().message().find_first_of(" :")))]++;
            return;
        }
        const auto grammar = builder.build(*node);
        if (!grammar) {
            ++counts.impossible;
            EXPECT_EQ(grammar.error().code(), Code::invalid_argument) << grammar.error().message();
            for (const JsonTree& t : group.find("tests")->items)
                EXPECT_FALSE(t.find("valid")->truth) << compact(*t.find("data"));
            return;
        }
        ++counts.taken;
        const test::GrammarCheck check(*grammar);
        Normaliser normaliser(schema);
        for (const JsonTree& t : group.find("tests")->items)
            run_test(file, check, normaliser, t);
    }

    void run_test(const std::string& file, const test::GrammarCheck& check, Normaliser& normaliser,
                  const JsonTree& t) {
        const JsonTree& data = *t.find("data");
        const std::string written = compact(data);
        const std::string normal = compact(normaliser.normalised(data));
        if (!t.find("valid")->truth) {
            ++counts.invalid;
            EXPECT_FALSE(check.accepts(normal)) << normal << " is not valid";
            EXPECT_FALSE(check.accepts(written)) << written << " is not valid";
            return;
        }
        const bool about_format = file == "format.json" ||
                                  file == "optional/format-assertion.json" ||
                                  !format_of(file).empty();
        if (about_format && data.kind == JsonTree::Kind::string && !check.accepts(normal)) {
            ++counts.left_out;
            return;
        }
        if (is_exception(file, written)) {
            ++counts.exceptions;
            EXPECT_FALSE(check.accepts(normal)) << "no exception any more: " << normal;
            return;
        }
        ++counts.valid;
        EXPECT_TRUE(check.accepts(normal))
            << normal << " is valid: " << t.find("description")->text;
    }

    bool draft7_;

public:
    std::map<std::string, int> refusals;
};

void print(const char* name, const Suite& suite) {
    const Counts& c = suite.counts;
    std::cout << name << ": " << c.taken << " schemas taken, " << c.refused << " refused, "
              << c.impossible << " without values; " << c.valid << " valid and " << c.invalid
              << " invalid instances, " << c.exceptions << " exceptions, " << c.left_out
              << " texts of formats left out, " << c.unread << " unread\n  refused for";
    for (const auto& [keyword, n] : suite.refusals)
        std::cout << ' ' << keyword << ' ' << n;
    std::cout << '\n';
}

TEST(JsonSchemaSuite, Draft202012) {
    BLOOM_REQUIRE_DATA("json-schema-suite");
    Suite suite(false);
    suite.run(test::data_dir() / "json-schema-suite/tests/draft2020-12");
    print("2020-12", suite);
    // What worked once keeps working.
    EXPECT_GE(suite.counts.taken, 256);
    EXPECT_GE(suite.counts.valid, 703);
    EXPECT_GE(suite.counts.invalid, 584);
    EXPECT_LE(suite.counts.left_out, 47);
    EXPECT_LE(suite.counts.unread, 1);
}

TEST(JsonSchemaSuite, Draft7) {
    BLOOM_REQUIRE_DATA("json-schema-suite");
    Suite suite(true);
    suite.run(test::data_dir() / "json-schema-suite/tests/draft7");
    print("draft 7", suite);
    EXPECT_GE(suite.counts.taken, 234);
    EXPECT_GE(suite.counts.valid, 602);
    EXPECT_GE(suite.counts.invalid, 530);
    EXPECT_LE(suite.counts.left_out, 31);
    EXPECT_LE(suite.counts.unread, 1);
}

/// The validator that other tests rely on agrees with the suite wherever it answers.
TEST(JsonSchemaSuite, TheTestsOwnValidatorAgrees) {
    BLOOM_REQUIRE_DATA("json-schema-suite");
    int n = 0;
    int unknown = 0;
    const auto folder = test::data_dir() / "json-schema-suite/tests/draft2020-12";
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().extension() != ".json") continue;
        for (const JsonTree& group : load(entry.path()).items) {
            SchemaValidator validator(*group.find("schema"));
            for (const JsonTree& t : group.find("tests")->items) {
                const auto answer = validator.validate(*t.find("data"));
                if (!answer) {
                    ++unknown;
                    continue;
                }
                ++n;
                EXPECT_EQ(*answer, t.find("valid")->truth)
                    << entry.path().filename() << ' ' << compact(*group.find("schema")) << ' '
                    << compact(*t.find("data"));
            }
        }
    }
    std::cout << n << " answers, " << unknown << " left open\n";
    EXPECT_GE(n, 800);
}

} // namespace
} // namespace bloom::text
