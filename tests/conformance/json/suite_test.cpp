// JSONTestSuite (github nst/JSONTestSuite): y_ files must be read, n_ files refused, i_ files may
// go either way; what we do with those and with test_transform is recorded here and kept.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include <bloom/base/text.hpp>
#include <bloom/json/reader.hpp>

#include "support/test_data.hpp"

namespace bloom::json {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> read_folder(const char* folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(test::data_dir() / "json-parsing" / folder)) {
        std::ifstream in(entry.path(), std::ios::binary);
        files[entry.path().filename().string()] = {std::istreambuf_iterator<char>(in), {}};
    }
    return files;
}

/// Touches every value, so that a wrong tape shows under the sanitizers; strings must be UTF-8.
std::size_t walk(const Value& value) {
    std::size_t n = 1;
    if (value.is_string()) {
        EXPECT_TRUE(is_utf8(*value.as_string()));
    }
    if (value.is_array()) {
        for (const Value element : *value.as_array())
            n += walk(element);
    }
    if (value.is_object()) {
        for (const Member member : *value.as_object()) {
            EXPECT_TRUE(is_utf8(member.key));
            n += walk(member.value);
        }
    }
    return n;
}

TEST(JsonSuite, Verdicts) {
    BLOOM_REQUIRE_DATA("json-parsing");
    // Of the files that may be either, only these are accepted.
    const std::set<std::string> accepted{
        "i_number_double_huge_neg_exp.json",
        "i_number_real_underflow.json",
    };
    Parser parser; // one for all: a failure must not spoil the next text
    std::map<char, int> seen;
    for (const auto& [name, text] : read_folder("test_parsing")) {
        const auto root = parser.parse(text);
        if (root) walk(*root);
        const char verdict = name.front();
        ++seen[verdict];
        const bool wanted = verdict == 'y' || (verdict == 'i' && accepted.contains(name));
        EXPECT_EQ(root.has_value(), wanted) << name;
    }
    EXPECT_EQ(seen['y'], 95);
    EXPECT_EQ(seen['n'], 188);
    EXPECT_EQ(seen['i'], 35);
}

TEST(JsonSuite, Transforms) {
    BLOOM_REQUIRE_DATA("json-parsing");
    // Numbers beyond 64 bits and lone or raw surrogates are refused, everything else is read.
    const std::set<std::string> refused{
        "number_-9223372036854775809.json", "string_1_escaped_invalid_codepoint.json",
        "string_1_invalid_codepoint.json",  "string_2_escaped_invalid_codepoints.json",
        "string_2_invalid_codepoints.json", "string_3_escaped_invalid_codepoints.json",
        "string_3_invalid_codepoints.json",
    };
    Parser parser;
    std::size_t n_files = 0;
    for (const auto& [name, text] : read_folder("test_transform")) {
        const auto root = parser.parse(text);
        if (root) walk(*root);
        EXPECT_EQ(root.has_value(), !refused.contains(name)) << name;
        ++n_files;
    }
    EXPECT_EQ(n_files, 22u);
}

} // namespace
} // namespace bloom::json
