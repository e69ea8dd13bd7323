#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/compute/team.hpp>
#include <bloom/engine/engine.hpp>

#include "support/tiny_model.hpp"

namespace bloom::engine {
namespace {

namespace fs = std::filesystem;

class PackedStart : public testing::Test {
protected:
    PackedStart() {
        std::string pattern = (fs::temp_directory_path() / "start_XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr) std::abort();
        directory_ = pattern;
    }

    ~PackedStart() override { fs::remove_all(directory_); }

    fs::path write_model(std::uint64_t seed) const {
        const auto image = test::TinyModel({.arch = "qwen3", .q8 = true, .seed = seed}).gguf();
        const fs::path path = directory_ / "model.gguf";
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(image.data()),
                   static_cast<std::streamsize>(image.size()));
        return path;
    }

    std::vector<float> logits(const fs::path& model, bool cached) {
        auto file = ModelFile::open(model);
        EXPECT_TRUE(file);
        EngineOptions options;
        options.team = &team_;
        options.kv_budget_bytes = std::int64_t{32} << 20;
        if (cached) options.packed_cache = cache();
        auto engine = Engine::create(std::move(*file), options);
        EXPECT_TRUE(engine);
        std::vector<float> out;
        const std::vector<std::int32_t> ids{3, 1, 4, 1, 5};
        EXPECT_TRUE((*engine)->logits(ids, [&](std::int64_t, std::span<const float> row) {
            out.insert(out.end(), row.begin(), row.end());
        }));
        return out;
    }

    fs::path cache() const { return directory_ / "packed"; }

    std::size_t n_cached() const {
        return static_cast<std::size_t>(
            std::distance(fs::directory_iterator(cache()), fs::directory_iterator()));
    }

    fs::path directory_;
    compute::SerialTeam team_{2};
};

TEST_F(PackedStart, GivesTheSameLogits) {
    const fs::path model = write_model(1);
    const auto want = logits(model, false);
    EXPECT_FALSE(fs::exists(cache()));
    EXPECT_EQ(logits(model, true), want);
    EXPECT_EQ(n_cached(), 1U);
    const auto written = fs::last_write_time(fs::directory_iterator(cache())->path());
    EXPECT_EQ(logits(model, true), want);
    EXPECT_EQ(n_cached(), 1U);
    EXPECT_EQ(fs::last_write_time(fs::directory_iterator(cache())->path()), written);
}

TEST_F(PackedStart, AnotherModelUnderTheSameNameIsAnotherFile) {
    const fs::path model = write_model(1);
    const auto first = logits(model, true);
    const auto changed = fs::last_write_time(model);
    write_model(2); // as long as the first, and as old
    fs::last_write_time(model, changed);
    const auto second = logits(model, true);
    EXPECT_NE(first, second);
    EXPECT_EQ(second, logits(model, false));
    fs::last_write_time(model, changed + std::chrono::seconds(5));
    const std::size_t before = n_cached();
    EXPECT_EQ(second, logits(model, true));
    EXPECT_EQ(n_cached(), before + 1);
}

TEST_F(PackedStart, ModelsInMemoryHaveNone) {
    const auto image = test::TinyModel({.q8 = true}).gguf();
    const auto file = ModelFile::from_memory(image, "memory");
    ASSERT_TRUE(file);
    EXPECT_TRUE(file->identity().empty());
    const auto opened = ModelFile::open(write_model(1));
    ASSERT_TRUE(opened);
    EXPECT_FALSE(opened->identity().empty());
}

} // namespace
} // namespace bloom::engine
