#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

namespace bloom::test {

/// The folder of shared test corpora: $DARKBLOOM_TEST_DATA, else shared/data beside the checkout.
inline std::filesystem::path data_dir() {
    if (const char* dir = std::getenv("DARKBLOOM_TEST_DATA")) return dir;
    return std::filesystem::path(BLOOM_SOURCE_DIR).parent_path() / "shared" / "data";
}

} // namespace bloom::test

/// Skips the test visibly when a corpus is absent; with CI set that is a failure.
#define BLOOM_REQUIRE_DATA(folder)                                                                 \
    do {                                                                                           \
        if (!std::filesystem::exists(::bloom::test::data_dir() / (folder))) {                      \
            if (std::getenv("CI") != nullptr) {                                                    \
                FAIL() << "test data missing: " << (::bloom::test::data_dir() / (folder));         \
            }                                                                                      \
            GTEST_SKIP() << "test data missing: " << (::bloom::test::data_dir() / (folder));       \
        }                                                                                          \
    } while (false)
