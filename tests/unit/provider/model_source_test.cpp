#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <gtest/gtest.h>

#include <bloom/provider/model_source.hpp>

namespace bloom::provider {
namespace {

struct TempFolder {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("darkbloom-source-" + std::to_string(::getpid()));

    TempFolder() {
        std::filesystem::create_directories(path / "a=b");
        std::ofstream(path / "a=b" / "x=y.gguf") << "x";
    }

    ~TempFolder() { std::filesystem::remove_all(path); }
};

void expect_parts(const std::string& text, const std::string& source, const std::string& alias) {
    const ModelSource parsed = ModelSource::parse(text);
    EXPECT_EQ(parsed.source, source) << text;
    EXPECT_EQ(parsed.alias, alias) << text;
}

TEST(ModelSource, AliasesAndPathsMayHoldSlashesAndEqualsSigns) {
    const TempFolder folder;
    const std::string file = folder.path / "a=b" / "x=y.gguf";
    expect_parts(file, file, "");
    expect_parts(file + "=nice", file, "nice");
    expect_parts(file + "=org/name", file, "org/name");
    expect_parts("darkbloom/nano", "darkbloom/nano", "");
    expect_parts("darkbloom/nano=org/name", "darkbloom/nano", "org/name");
    expect_parts("bench:null=org/name", "bench:null", "org/name");
}

TEST(ModelSource, WhatIsNotThereIsSplitSoThatTheErrorNamesThePath) {
    expect_parts("/no/such.gguf", "/no/such.gguf", "");
    expect_parts("/no/such.gguf=nice", "/no/such.gguf", "nice");
    expect_parts("/no=such/x.gguf", "/no=such/x.gguf", "");
    const Result<> found = check_model_source("/no/such.gguf");
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code(), Code::not_found);
    EXPECT_NE(found.error().message().find("/no/such.gguf"), std::string_view::npos);
}

} // namespace
} // namespace bloom::provider
