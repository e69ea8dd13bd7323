#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include <bloom/text/jinja_value.hpp>

namespace bloom::text {

inline std::string read_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in.good()) << path;
    return {std::istreambuf_iterator<char>(in), {}};
}

/// A golden file of this folder as a value.
inline jinja::Value golden(const char* name) {
    const auto path = std::filesystem::path(BLOOM_SOURCE_DIR) / "tests" / "golden" / "text" / name;
    auto value = jinja::Value::from_json(read_file(path), jinja::Origin::trusted);
    EXPECT_TRUE(value.has_value()) << path;
    return value.value_or(jinja::Value());
}

/// Text of a member, empty when it is absent.
inline std::string text_of(const jinja::Value& dict, std::string_view key) {
    const jinja::Value* found = dict.find(key);
    return found == nullptr ? std::string() : std::string(found->text());
}

} // namespace bloom::text
