#include <string>

#include <gtest/gtest.h>

#include <bloom/provider/model_folder.hpp>
#include <bloom/provider/model_source.hpp>

#include "support/temp_dir.hpp"
#include "support/tiny_models.hpp"

namespace bloom::provider {
namespace {

using Names = std::vector<std::string>;

/// A catalog of one model that the tiny file is.
registry::Catalog tiny_catalog() {
    return registry::Catalog::parse(R"([[model]]
id = "org/tiny-8bit"
public_alias = "tiny"
aliases = ["tiny-8bit"]
repositories = ["published/Tiny-Model-8bit"]
words = ["tiny", "qwen3"]
display_name = "Tiny"
family = "tiny"
architecture = "tiny dense"
quantization = "8bit"
parameters = 10
active_parameters = 10
size_gb = 1
min_ram_gb = 2
input_price = 5
output_price = 7
context_length = 100
max_output_length = 50
released = 2026-01-02
shape = { arch = "qwen3", layers = 2, width = 64, heads = 4, vocabulary = 40 }
)",
                                    "tiny.toml")
        .value();
}

test::GgufWriter tiny_file() {
    return test::tiny_gguf("qwen3", {.qk_norm = true});
}

TEST(ModelFolder, NamesComeFromWhereAModelLies) {
    EXPECT_EQ(names_of_path("/m/org/Some-Model-8bit"),
              (Names{"Some-Model-8bit", "org/Some-Model-8bit"}));
    EXPECT_EQ(names_of_path("/m/org/Some-Model-8bit/"),
              (Names{"Some-Model-8bit", "org/Some-Model-8bit"}));
    EXPECT_EQ(names_of_path("/m/x.Q8_0.gguf"), (Names{"x.Q8_0", "m/x.Q8_0"}));
    EXPECT_EQ(names_of_path("/m/x-00001-of-00003.gguf"), (Names{"x", "m/x"}));
    EXPECT_EQ(names_of_path("/m/x-00a01-of-00003.gguf").front(), "x-00a01-of-00003");
    EXPECT_EQ(names_of_path("/c/models--an-org--a--name/snapshots/0123abc"),
              (Names{"0123abc", "snapshots/0123abc", "an-org/a--name"}));
    EXPECT_EQ(default_model_id("/m/x-00001-of-00003.gguf"), "x");
    EXPECT_EQ(default_model_id("/m/dir/"), "dir");
}

TEST(ModelFolder, FindsModelsInTheUsualLayouts) {
    const test::TempDir dir;
    const auto gguf = tiny_file().build();
    dir.write("a.gguf", gguf);
    dir.write("org/b-00001-of-00002.gguf", gguf);
    dir.write("org/b-00002-of-00002.gguf", gguf);
    dir.write("org/c/config.json", "{}");
    dir.write("models--o--n/snapshots/rev/config.json", "{}");
    dir.write("org/repo/file.gguf", gguf);
    dir.write("org/repo/deep/too/far.gguf", gguf);
    dir.write("notes.txt", "x");
    Names found;
    for (const FoundModel& model : models_in(dir.path()))
        found.push_back(model.path.lexically_relative(dir.path()).string());
    EXPECT_EQ(found, (Names{"a.gguf", "models--o--n/snapshots/rev", "org/b-00001-of-00002.gguf",
                            "org/c", "org/repo/file.gguf"}));
    EXPECT_TRUE(models_in(dir.path() / "nothing").empty());
}

TEST(ModelFolder, RecognisesAFileByWhatItIsAndIsCalled) {
    const test::TempDir dir;
    const registry::Catalog catalog = tiny_catalog();
    const auto recognised = [&](const std::string& path, std::string_view alias) {
        const auto file = open_model(path);
        EXPECT_TRUE(file) << file.error().message();
        return catalog.recognise(facts_of(*file, path, alias)) != nullptr;
    };
    // general.name is "tiny qwen3": the file says it itself, whatever its path.
    EXPECT_TRUE(recognised(dir.write("x/model.gguf", tiny_file().build()), {}));
    auto renamed = tiny_file();
    renamed.remove("general.name");
    renamed.put_string("general.name", "something");
    const std::string quiet = dir.write("y/model.gguf", renamed.build());
    EXPECT_FALSE(recognised(quiet, {}));
    EXPECT_TRUE(recognised(quiet, "tiny-8BIT")); // the owner says so
    EXPECT_FALSE(recognised(quiet, "another"));
    EXPECT_TRUE(recognised(dir.write("z/tiny-model-8bit.gguf", renamed.build()), {}));
    const auto other = test::tiny_gguf("qwen3", {.n_layers = 3, .qk_norm = true});
    auto wrong_shape = other;
    EXPECT_FALSE(recognised(dir.write("w/tiny-8bit.gguf", wrong_shape.build()), {}));
    // The built-in model is read from memory and has no path.
    const auto nano = open_model(kBuiltInModel);
    ASSERT_TRUE(nano);
    EXPECT_EQ(facts_of(*nano, kBuiltInModel, {}).quantization, "8bit");
}

TEST(ModelFolder, NamesAreLookedUpInTheFolderAndInTheCatalog) {
    const test::TempDir dir;
    const registry::Catalog catalog = tiny_catalog();
    auto renamed = tiny_file();
    renamed.remove("general.name");
    renamed.put_string("general.name", "something");
    const std::string path = dir.write("pub/Tiny-Model-8bit.gguf", renamed.build());
    const auto located = [&](std::string_view name) -> std::string {
        auto found = locate_model(name, dir.path(), catalog);
        return found ? *found : std::string(found.error().message());
    };
    EXPECT_EQ(located(path), path);
    EXPECT_EQ(located(kBuiltInModel), kBuiltInModel);
    EXPECT_EQ(located("bench:null"), "bench:null");
    EXPECT_EQ(located("Tiny-Model-8bit"), path);
    EXPECT_EQ(located("pub/tiny-model-8bit"), path);
    EXPECT_EQ(located("tiny"), path) << "by the repository's name";
    EXPECT_EQ(located("org/tiny-8bit"), path);
    EXPECT_NE(located("tinier").find("darkbloom models"), std::string::npos);
    const auto absent = locate_model("tinier", dir.path(), catalog);
    EXPECT_EQ(absent.error().code(), Code::not_found);
}

TEST(ModelFolder, CatalogModelsAreFoundByWhatTheyAre) {
    const test::TempDir dir;
    const registry::Catalog catalog = tiny_catalog();
    dir.write("a-broken.gguf", "not a model");
    const auto missing = locate_model("tiny", dir.path(), catalog);
    ASSERT_FALSE(missing.has_value());
    EXPECT_NE(missing.error().message().find("Tiny is in the catalog, but not in"),
              std::string_view::npos);
    EXPECT_NE(missing.error().message().find("published/Tiny-Model-8bit"), std::string_view::npos);
    const std::string path = dir.write("m/weights.gguf", tiny_file().build());
    EXPECT_EQ(locate_model("tiny", dir.path(), catalog).value(), path);
}

TEST(ModelSource, NamesOfTheCatalogMayHaveAliases) {
    const ModelSource parsed = ModelSource::parse("gemma-4-26b=org/name");
    EXPECT_EQ(parsed.source, "gemma-4-26b");
    EXPECT_EQ(parsed.alias, "org/name");
    EXPECT_EQ(ModelSource::parse("mlx-community/Trinity-Mini-8bit").alias, "");
}

} // namespace
} // namespace bloom::provider
