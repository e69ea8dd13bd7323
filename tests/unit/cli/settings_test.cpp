#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <bloom/cli/settings.hpp>

namespace bloom::cli {
namespace {

struct TempFile {
    std::filesystem::path path = std::filesystem::temp_directory_path() /
                                 ("darkbloom-settings-" + std::to_string(::getpid()) + ".toml");

    explicit TempFile(const std::string& text) { std::ofstream(path) << text; }

    ~TempFile() { std::filesystem::remove(path); }
};

TEST(Settings, PrecedenceAndOrigin) {
    const TempFile file(
        "[serve]\nlisten = \"0.0.0.0:1\"\nio_threads = 3\n[engine]\nmodel = [\"a\", \"b\"]\n");
    ::setenv("DARKBLOOM_IO_THREADS", "4", 1);
    const auto s = Settings::load(file.path, {{"--threads", {"2"}}});
    ::unsetenv("DARKBLOOM_IO_THREADS");
    ASSERT_TRUE(s.has_value()) << s.error().message();
    EXPECT_EQ(s->text("serve.listen"), "0.0.0.0:1");
    EXPECT_EQ(s->origin("serve.listen"), Origin::file);
    EXPECT_EQ(s->integer("serve.io_threads"), 4);
    EXPECT_EQ(s->origin("serve.io_threads"), Origin::environment);
    EXPECT_EQ(s->integer("engine.threads"), 2);
    EXPECT_EQ(s->origin("engine.threads"), Origin::flag);
    EXPECT_EQ(s->list("engine.model"), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(s->integer("serve.drain_timeout_s"), 60);
    EXPECT_NE(s->print().find("serve.listen = \"0.0.0.0:1\"  # file\n"), std::string::npos);
}

TEST(Settings, NamesWhatIsWrong) {
    const TempFile unknown("[serve]\nlissten = \"x\"\n");
    const auto bad_key = Settings::load(unknown.path, {});
    ASSERT_FALSE(bad_key.has_value());
    EXPECT_NE(bad_key.error().message().find("serve.lissten"), std::string_view::npos);
    const TempFile syntax("[serve\n");
    EXPECT_FALSE(Settings::load(syntax.path, {}).has_value());
    const auto range = Settings::load("", {{"--io-threads", {"0"}}});
    ASSERT_FALSE(range.has_value());
    EXPECT_NE(range.error().message().find("io_threads"), std::string_view::npos);
    EXPECT_FALSE(Settings::load("", {{"--ctx", {"12k"}}}).has_value());
    EXPECT_FALSE(Settings::load("/no/such/file.toml", {}).has_value());
}

TEST(Settings, NamesTheLineOfAWrongValue) {
    for (const char* line : {"io_threads = 0", "listen = 1.5", "cors_origins = [[1]]",
                             "data_dir = [\"a\", \"b\"]", "drain_timeout_s = \"soon\""}) {
        const TempFile file(std::string("# a comment\n[serve]\n") + line + "\n");
        const auto wrong = Settings::load(file.path, {});
        ASSERT_FALSE(wrong.has_value()) << line;
        EXPECT_EQ(wrong.error().code(), Code::invalid_argument);
        const std::string message(wrong.error().message());
        EXPECT_EQ(message.find(file.path.string() + ":3: "), 0U) << message;
        const std::string key = std::string(line).substr(0, std::string(line).find(' '));
        EXPECT_NE(message.find("serve." + key), std::string::npos) << message;
    }
}

TEST(Settings, ListsInTheEnvironmentAreSeparatedByCommas) {
    ::setenv("DARKBLOOM_CORS_ORIGINS", "https://a.example,https://b.example", 1);
    const auto s = Settings::load("", {});
    ::unsetenv("DARKBLOOM_CORS_ORIGINS");
    ASSERT_TRUE(s.has_value());
    EXPECT_EQ(s->list("serve.cors_origins"),
              (std::vector<std::string>{"https://a.example", "https://b.example"}));
}

} // namespace
} // namespace bloom::cli
