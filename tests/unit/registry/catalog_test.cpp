#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include <bloom/registry/catalog.hpp>

namespace bloom::registry {
namespace {

/// One entry that is complete; tests change it by replacing lines.
std::string entry(const std::string& id = "a/one") {
    return "[[model]]\nid = \"" + id +
           "\"\n"
           "words = [\"one\", \"8b\"]\n"
           "display_name = \"One\"\nfamily = \"f\"\narchitecture = \"dense\"\n"
           "quantization = \"8bit\"\nparameters = 10\nactive_parameters = 10\n"
           "size_gb = 1\nmin_ram_gb = 2\ninput_price = 5\noutput_price = 7\n"
           "context_length = 100\nmax_output_length = 50\nreleased = 2026-01-02\n"
           "shape = { arch = \"llama\", layers = 2, width = 64, heads = 4, vocabulary = 40 }\n";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

std::string failure_of(const std::string& text) {
    const auto parsed = Catalog::parse(text, "c.toml");
    EXPECT_FALSE(parsed.has_value()) << text;
    return parsed ? std::string() : std::string(parsed.error().message());
}

TEST(Catalog, TheBuiltInOneHasTheFiveModels) {
    const Catalog& catalog = Catalog::built_in();
    ASSERT_EQ(catalog.entries().size(), 5U);

    struct Row {
        const char* id;
        std::int32_t size_gb, min_ram_gb;
        std::int64_t input, output;
        const char* arch;
        std::int32_t context;
    };

    // Ordered by the memory they need.
    constexpr Row kRows[] = {
        {"mlx-community/gemma-4-26b-a4b-it-8bit", 28, 36, 65'000, 200'000, "gemma4", 262'144},
        {"qwen3.5-27b-claude-opus-8bit", 27, 36, 100'000, 780'000, "qwen35", 262'144},
        {"mlx-community/Trinity-Mini-8bit", 26, 48, 23'000, 75'000, "afmoe", 131'072},
        {"mlx-community/Qwen3.5-122B-A10B-8bit", 122, 128, 130'000, 1'040'000, "qwen35moe",
         262'144},
        {"mlx-community/MiniMax-M2.5-8bit", 243, 256, 60'000, 500'000, "minimax-m2", 196'608}};
    for (std::size_t i = 0; i < std::size(kRows); ++i) {
        const CatalogEntry& e = catalog.entries()[i];
        EXPECT_EQ(e.id, kRows[i].id);
        EXPECT_EQ(e.size_gb, kRows[i].size_gb) << e.id;
        EXPECT_EQ(e.min_ram_gb, kRows[i].min_ram_gb) << e.id;
        EXPECT_EQ(e.input_price, kRows[i].input) << e.id;
        EXPECT_EQ(e.output_price, kRows[i].output) << e.id;
        EXPECT_EQ(e.cache_read_price, kRows[i].input / 2) << e.id;
        EXPECT_EQ(e.shape.arch, kRows[i].arch) << e.id;
        EXPECT_EQ(e.context_length, kRows[i].context) << e.id;
        EXPECT_EQ(e.quantization, "8bit") << e.id;
        EXPECT_GT(e.released, 1'700'000'000) << e.id;
    }
}

TEST(Catalog, EveryNameFindsItsEntryAndNoOther) {
    const Catalog& catalog = Catalog::built_in();
    for (const CatalogEntry& e : catalog.entries()) {
        EXPECT_EQ(catalog.find(e.id), &e);
        EXPECT_EQ(catalog.find(e.public_id()), &e);
        for (const std::string& name : e.aliases)
            EXPECT_EQ(catalog.find(name), &e) << name;
        for (const std::string& name : e.repositories)
            EXPECT_EQ(catalog.find(name), &e) << name;
    }
    EXPECT_EQ(catalog.find("gemma-4-26b")->id, "mlx-community/gemma-4-26b-a4b-it-8bit");
    EXPECT_EQ(catalog.find("gemma-4-26b")->public_id(), "gemma-4-26b");
    EXPECT_EQ(catalog.find("Trinity-Mini-8bit")->public_id(), "mlx-community/Trinity-Mini-8bit");
    EXPECT_EQ(catalog.find("trinity-mini-8BIT"), nullptr); // names are as they are written
    EXPECT_EQ(catalog.find(""), nullptr);
    EXPECT_EQ(catalog.find("mlx-community/"), nullptr);
}

TEST(Catalog, FilesAreRecognisedByShapeAndName) {
    const Catalog& catalog = Catalog::built_in();
    for (const CatalogEntry& e : catalog.entries()) {
        const auto recognised = [&](const std::string& name) {
            return catalog.recognise({e.shape, "8bit", {"", name}});
        };
        EXPECT_EQ(recognised(e.id), &e);
        for (const std::string& name : e.repositories)
            EXPECT_EQ(recognised(name), &e) << name;
        for (const std::string& name : e.gguf_repositories)
            EXPECT_EQ(recognised(name), &e) << name;
        EXPECT_EQ(recognised("model"), nullptr) << e.id;
        EXPECT_EQ(catalog.same_shape(e.shape), &e);
        ModelFacts other{e.shape, "8bit", {e.id}};
        other.shape.n_layers += 1;
        EXPECT_EQ(catalog.recognise(other), nullptr);
        EXPECT_EQ(catalog.same_shape(other.shape), nullptr);
        EXPECT_EQ(catalog.recognise({e.shape, "bf16", {e.id}}), nullptr) << "another build";
    }
}

TEST(Catalog, NamesOfFilesAreReadWordByWord) {
    const Catalog& catalog = Catalog::built_in();
    const auto recognised = [&](const char* entry_id, const char* name) {
        const CatalogEntry* e = catalog.find(entry_id);
        return catalog.recognise({e->shape, "8bit", {name}}) == e;
    };
    EXPECT_TRUE(recognised("gemma-4-26b", "Gemma 4 26B A4B It"));
    EXPECT_TRUE(recognised("gemma-4-26b", "gemma-4-26B-A4B-it-Q8_0"));
    EXPECT_FALSE(recognised("gemma-4-26b", "gemma-4-26B-A4B")); // the untuned model
    EXPECT_TRUE(recognised("minimax-m2.5", "MiniMax-M2.5-Q8_0"));
    EXPECT_FALSE(recognised("minimax-m2.5", "MiniMax-M2.7-Q8_0")); // same shape
    EXPECT_TRUE(recognised("trinity-mini", "arcee_trinity_mini_q8"));
    const char* const qwen = "qwen3.5-27b-claude-opus-8bit";
    EXPECT_TRUE(recognised(qwen, "Qwen3.5-27B-Claude-4.6-Opus-Distilled-MLX-8bit"));
    EXPECT_FALSE(recognised(qwen, "Qwen3.5-27B-8bit"));
    EXPECT_FALSE(recognised(qwen, "Qwen3.6-27B-Claude-Opus-8bit"));
}

TEST(Catalog, ReadsOneEntry) {
    const auto parsed = Catalog::parse(entry(), "c.toml");
    ASSERT_TRUE(parsed) << parsed.error().message();
    const CatalogEntry& e = parsed->entries()[0];
    EXPECT_EQ(e.released, 1'767'312'000);
    EXPECT_EQ(e.cache_read_price, 2);
    EXPECT_EQ(e.shape.n_experts, 0);
    EXPECT_TRUE(Catalog::parse("", "c.toml")->entries().empty());
}

TEST(Catalog, EveryFaultIsNamed) {
    const std::string good = entry();

    struct Fault {
        const char* from;
        const char* to;
        const char* named;
    };

    constexpr Fault kFaults[] = {
        {"id = \"a/one\"", "id = \"\"", "id must not be empty"},
        {"id = \"a/one\"", "id = \"a one\"", "\"a one\""},
        {"id = \"a/one\"", "id = 7", "id must be a text"},
        {"size_gb = 1", "size_gb = -1", "size_gb must be a whole number from 0"},
        {"size_gb = 1", "size_gb = 1.5", "size_gb"},
        {"size_gb = 1\n", "", "size_gb"},
        {"size_gb = 1", "size = 1\nsize_gb = 1", "size is no member"},
        {"active_parameters = 10", "active_parameters = 11", "active_parameters"},
        {"max_output_length = 50", "max_output_length = 101", "max_output_length"},
        {"input_price = 5", "input_price = 5\ncache_read_price = 6", "cache_read_price"},
        {"released = 2026-01-02", "released = \"2026\"", "released must be a date"},
        {"words = [\"one\", \"8b\"]", "words = [1]", "words must be a list of texts"},
        {"words = [\"one\", \"8b\"]", "aliases = \"x\"", "aliases must be a list"},
        {"layers = 2", "layers = 0", "shape: layers"},
        {"layers = 2", "depth = 2, layers = 2", "shape: depth is no member"},
        {"shape = {", "form = {", "shape must be a table"},
        {"[[model]]", "[[modell]]", "\"modell\" is not a [[model]]"},
        {"[[model]]", "[model]", "\"model\" is not a [[model]]"},
        {"size_gb = 1", "size_gb = ", "c.toml:10:"},
    };
    for (const Fault& fault : kFaults) {
        const std::string message = failure_of(replaced(good, fault.from, fault.to));
        EXPECT_NE(message.find(fault.named), std::string::npos) << message;
        EXPECT_EQ(message.find("c.toml"), 0U) << message;
    }
    EXPECT_NE(failure_of(good + good).find("another entry"), std::string::npos);
    EXPECT_NE(failure_of(good + replaced(entry("b/two"), "words", "aliases = [\"a/one\"]\nwords"))
                  .find("\"a/one\""),
              std::string::npos);
    const auto long_name = Catalog::parse(entry(std::string(129, 'x')), "c.toml");
    EXPECT_FALSE(long_name.has_value());
}

} // namespace
} // namespace bloom::registry
