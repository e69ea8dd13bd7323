#include <atomic>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/file.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/base/fd.hpp>
#include <bloom/base/rng.hpp>
#include <bloom/compute/packed_cache.hpp>

#include "unit/compute/small_step.hpp"

namespace bloom::compute {
namespace {

namespace fs = std::filesystem;
using test::FileMatrix;
using Bytes = std::vector<std::uint8_t>;

class PackedFiles : public testing::Test {
protected:
    PackedFiles() {
        std::string pattern = (fs::temp_directory_path() / "packed_XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr) std::abort();
        directory_ = pattern;
        for (const std::int64_t rows : {8, 8, 16}) // two of one shape, so that only bytes tell
            matrices_.emplace_back(kernels::WeightFormat::q8_0, rows, 32, rng_);
        for (const std::size_t n : {192U, 192U, 320U}) {
            Bytes packed(n);
            for (auto& b : packed)
                b = static_cast<std::uint8_t>(rng_.below(256));
            packed_.push_back(std::move(packed));
        }
    }

    ~PackedFiles() override { fs::remove_all(directory_); }

    std::unique_ptr<PackedCache> open(std::string_view model = "model",
                                      const char* isa = "scalar") const {
        return PackedCache::open(directory_, as_bytes(model), *kernels::select_table(0, isa));
    }

    /// Uploads matrices [0, n) as a backend does; how many came from the file. Without one, the
    /// buffer must be zero and is then "packed".
    std::size_t upload(PackedCache& cache, std::size_t n = 3) {
        std::size_t loaded = 0;
        memory_.clear();
        for (std::size_t i = 0; i < n; ++i)
            memory_.emplace_back(packed_[i].size(), 0);
        for (std::size_t i = 0; i < n; ++i) {
            if (cache.load({&matrices_[i].source, 1}, memory_[i], team_)) {
                ++loaded;
            } else {
                EXPECT_EQ(memory_[i], Bytes(packed_[i].size(), 0));
                memory_[i] = packed_[i];
            }
            cache.add(memory_[i]);
            EXPECT_EQ(memory_[i], packed_[i]) << "matrix " << i;
        }
        return loaded;
    }

    void write_file() {
        const auto cache = open();
        EXPECT_EQ(upload(*cache), 0U);
        const auto done = cache->finish(team_);
        ASSERT_TRUE(done) << done.error().message();
    }

    std::vector<fs::path> files() const {
        std::vector<fs::path> out;
        for (const auto& entry : fs::directory_iterator(directory_))
            out.push_back(entry.path());
        return out;
    }

    static Bytes read(const fs::path& path) {
        std::ifstream in(path, std::ios::binary);
        return Bytes(std::istreambuf_iterator<char>(in), {});
    }

    static void write(const fs::path& path, const Bytes& bytes) {
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
    }

    Rng rng_{11};
    fs::path directory_;
    std::vector<FileMatrix> matrices_;
    std::vector<Bytes> packed_;
    std::vector<Bytes> memory_;
    SerialTeam team_{2};
};

TEST_F(PackedFiles, TheSecondStartReadsWhatTheFirstPacked) {
    write_file();
    ASSERT_EQ(files().size(), 1U) << "no draft is left";
    const Bytes before = read(files()[0]);
    const auto cache = open();
    EXPECT_TRUE(cache->has_file());
    EXPECT_EQ(upload(*cache), 3U);
    EXPECT_TRUE(cache->finish(team_));
    EXPECT_EQ(read(files()[0]), before);
}

TEST_F(PackedFiles, AnyChangedBitIsNoticedAndRepaired) {
    write_file();
    const fs::path path = files().at(0);
    const Bytes good = read(path);
    for (std::size_t at = 0; at < good.size(); ++at) {
        Bytes bad = good;
        bad[at] ^= static_cast<std::uint8_t>(1U << rng_.below(8));
        write(path, bad);
        const auto cache = open();
        EXPECT_LT(upload(*cache), 3U) << "byte " << at; // upload() compares what was loaded
        if (at % 50 == 0) {
            EXPECT_TRUE(cache->finish(team_));
            EXPECT_EQ(read(path), good);
        }
    }
}

TEST_F(PackedFiles, ACutOrLongerFileIsIgnored) {
    write_file();
    const fs::path path = files().at(0);
    const Bytes good = read(path);
    for (std::size_t n = 0; n < good.size(); n += n < 300 ? 1 : 37) {
        write(path, Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)));
        const auto cache = open();
        EXPECT_FALSE(cache->has_file()) << n;
        EXPECT_EQ(upload(*cache), 0U);
    }
    Bytes longer = good;
    longer.push_back(0);
    write(path, longer);
    EXPECT_FALSE(open()->has_file());
}

TEST_F(PackedFiles, AFileThatIsCutAfterOpeningIsPackedAgain) {
    write_file();
    const auto cache = open();
    fs::resize_file(files().at(0), 300);
    EXPECT_LT(upload(*cache), 3U);
    EXPECT_TRUE(cache->finish(team_));
    EXPECT_EQ(upload(*open()), 3U);
}

TEST_F(PackedFiles, AnotherVersionIsIgnored) {
    write_file();
    const fs::path path = files().at(0);
    Bytes other = read(path);
    other[8] = 2;
    write(path, other);
    EXPECT_FALSE(open()->has_file());
}

TEST_F(PackedFiles, OtherWeightsInTheSamePlaceAreNotTaken) {
    write_file();
    std::swap(matrices_[0], matrices_[1]); // as if the upload order had changed
    matrices_[0].source.codes = matrices_[0].bytes.data();
    matrices_[1].source.codes = matrices_[1].bytes.data();
    const auto cache = open();
    EXPECT_TRUE(cache->has_file());
    EXPECT_EQ(upload(*cache), 0U);
}

TEST_F(PackedFiles, ModelsAndLayoutsHaveFilesOfTheirOwn) {
    write_file();
    EXPECT_FALSE(open("model 2")->has_file());
    EXPECT_TRUE(open()->has_file());
    const std::uint32_t have = kernels::detect_cpu_features();
    for (const auto* const* t = kernels::all_tables(); *t != nullptr; ++t) {
        if (((*t)->required & ~have) != 0 || std::string_view((*t)->isa) == "scalar") continue;
        EXPECT_FALSE(PackedCache::open(directory_, as_bytes("model"), **t)->has_file())
            << (*t)->isa;
    }
    EXPECT_EQ(open(""), nullptr) << "a model without an identity";
}

TEST_F(PackedFiles, FewerLayersUseTheBeginningAndMoreAreAdded) {
    write_file();
    const Bytes whole = read(files().at(0));
    auto cache = open();
    EXPECT_EQ(upload(*cache, 2), 2U);
    EXPECT_TRUE(cache->finish(team_));
    EXPECT_EQ(read(files().at(0)), whole);
    fs::remove(files().at(0));
    cache = open();
    EXPECT_EQ(upload(*cache, 1), 0U);
    EXPECT_TRUE(cache->finish(team_));
    cache = open();
    EXPECT_EQ(upload(*cache), 1U);
    EXPECT_TRUE(cache->finish(team_));
    EXPECT_EQ(read(files().at(0)), whole);
}

TEST_F(PackedFiles, OneProcessWrites) {
    const auto first = open();
    upload(*first);
    EXPECT_TRUE(first->finish(team_));
    const fs::path path = files().at(0);
    fs::remove(path);
    const std::string draft = path.string() + ".new";
    {
        // Another process is at it: its draft stays as it is and no file appears.
        const Fd other(::open(draft.c_str(), O_RDWR | O_CREAT, 0644));
        ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
        ASSERT_EQ(::write(other.get(), "half", 4), 4);
        const auto cache = open();
        EXPECT_FALSE(cache->has_file());
        upload(*cache);
        EXPECT_TRUE(cache->finish(team_));
        EXPECT_FALSE(fs::exists(path));
        EXPECT_EQ(fs::file_size(draft), 4U);
    }
    // It died: the next one writes over what it left.
    const auto cache = open();
    upload(*cache);
    EXPECT_TRUE(cache->finish(team_));
    EXPECT_FALSE(fs::exists(draft));
    EXPECT_EQ(upload(*open()), 3U);
}

TEST_F(PackedFiles, AFolderThatCannotBeWrittenIsAnErrorAndNothingElse) {
    write(directory_ / "file", {1});
    const auto cache = PackedCache::open(directory_ / "file" / "below", as_bytes("model"),
                                         *kernels::select_table(0, "scalar"));
    ASSERT_NE(cache, nullptr);
    EXPECT_EQ(upload(*cache), 0U);
    EXPECT_FALSE(cache->finish(team_));
}

std::atomic<int> g_packs{0};
const kernels::KernelTable* g_real = nullptr;

void counted_pack(const kernels::SourceMatrix& src, std::int64_t begin, std::int64_t end,
                  std::uint8_t* dst) noexcept {
    g_packs.fetch_add(1);
    g_real->pack(src, begin, end, dst);
}

TEST_F(PackedFiles, ABackendGivesTheSameResultsWithAndWithout) {
    g_real = kernels::select_table(kernels::detect_cpu_features(), nullptr);
    kernels::KernelTable table = *g_real;
    table.pack = &counted_pack;
    SpinTeam team(2);
    const auto logits = [&](PackedCache* cache) {
        g_packs = 0;
        test::SmallModel model({&table, &team, false, true, cache}, {}, 1);
        if (cache != nullptr) EXPECT_TRUE(cache->finish(team));
        const auto plan = model.backend().compile(model.plan({Phase::prefill, 5, 1}));
        EXPECT_TRUE(plan && model.run(*plan, 1, 0, 5));
        const auto row = model.backend().read_logits(0);
        return std::vector<float>(row.begin(), row.end());
    };
    const auto want = logits(nullptr);
    EXPECT_GT(g_packs.load(), 0);
    for (const bool there : {false, true}) {
        const auto cache = PackedCache::open(directory_, as_bytes("small"), table);
        EXPECT_EQ(cache->has_file(), there);
        EXPECT_EQ(logits(cache.get()), want);
        EXPECT_EQ(g_packs.load() == 0, there);
    }
}

} // namespace
} // namespace bloom::compute
