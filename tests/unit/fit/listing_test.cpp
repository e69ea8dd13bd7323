#include <string>

#include <gtest/gtest.h>

#include <bloom/base/rng.hpp>
#include <bloom/fit/listing.hpp>
#include <bloom/fit/model_table.hpp>
#include <bloom/json/reader.hpp>

namespace bloom::fit {
namespace {

ListingContext context(double ram_gb, double vram_gb = 0) {
    ListingContext c;
    c.models = built_in_models();
    c.system.total_ram_gb = ram_gb;
    c.system.available_ram_gb = ram_gb * 0.9;
    c.system.n_cpus = 16;
    c.system.cpu_name = "A CPU";
    if (vram_gb > 0) {
        GpuFacts gpu;
        gpu.name = "NVIDIA GeForce RTX 4090";
        gpu.vram_gb = vram_gb;
        c.system.gpus.push_back(gpu);
    }
    c.node.name = "here";
    c.year = 2026;
    c.month = 8;
    return c;
}

std::vector<Row> list(const ListingContext& c, std::string_view query, Listing listing,
                      std::string_view name = {}) {
    return list_models(c, parse_query(query).value(), listing, name);
}

TEST(FitTable, IsReadAndKnowsTheCatalog) {
    EXPECT_EQ(built_in_models().size(), 88U);

    // What the catalog publishes as least memory has to hold the model at 8 bit (6.6).
    struct Row {
        std::string_view name;
        double min_ram_gb;
    };

    for (const Row& row :
         {Row{"qwen3.5-27b-claude-opus-8bit", 36}, Row{"mlx-community/gemma-4-26b-a4b-it-8bit", 36},
          Row{"mlx-community/Trinity-Mini-8bit", 48},
          Row{"mlx-community/Qwen3.5-122B-A10B-8bit", 128},
          Row{"mlx-community/MiniMax-M2.5-8bit", 256}}) {
        const auto models = built_in_models();
        const auto found = std::ranges::find(models, row.name, &ModelFacts::name);
        ASSERT_NE(found, models.end()) << row.name;
        const double weights = static_cast<double>(found->params) * 8.5 / 8 / kGiB;
        EXPECT_LT(weights + compat_kv_gb(*found, 8192) + 0.5, row.min_ram_gb) << row.name;
    }
}

TEST(FitTable, RefusesRowsThatCannotBe) {
    const std::string header = "name\tparams\tactive_params\texperts\texperts_per_token\t"
                               "context_length\trelease_date\tuse_case\n";
    EXPECT_TRUE(parse_model_table(header + "a/b\t10\t\t\t\t100\t2026-01-01\tChat\n"));
    for (const char* const row :
         {"a/b\t10\t10\t4\t2\t100\t2026-01-01\tChat\n", "a/b\t10\t5\t2\t4\t100\t2026-01-01\tChat\n",
          "a/b\t10\t\t\t\t2097153\t2026-01-01\tChat\n", "a/b\t10\t\t\t\t100\t\tChat\n",
          "a/b\t10\t\t\t\t100\t2026-01-01\tPoetry\n", "a/b\tten\t\t\t\t100\t2026-01-01\tChat\n",
          "\t10\t\t\t\t100\t2026-01-01\tChat\n"}) {
        EXPECT_FALSE(parse_model_table(header + row)) << row;
    }
}

TEST(FitTable, AttentionPatterns) {
    EXPECT_EQ(parse_attention("full").kind, Attention::Kind::full);
    const Attention sliding = parse_attention("swa1024:5+full:1");
    EXPECT_EQ(sliding.kind, Attention::Kind::sliding);
    EXPECT_EQ(sliding.window, 1024);
    EXPECT_EQ(sliding.others, 5);
    EXPECT_EQ(sliding.full, 1);
    EXPECT_EQ(parse_attention("mla:512+64").latent, 576);
    EXPECT_EQ(parse_attention("linear:3+full:1").kind, Attention::Kind::linear);
    for (const char* const other : {"?", "mamba-hybrid", "swa:5+full:1", "linear:3", ""})
        EXPECT_EQ(parse_attention(other).kind, Attention::Kind::unknown) << other;
}

TEST(FitListing, TopNeverShowsWhatDoesNotRun) {
    const ListingContext c = context(16);
    for (const Row& row : list(c, "include_too_tight=true&min_fit=too_tight", Listing::top))
        EXPECT_NE(row.estimate.level, FitLevel::too_tight);
    for (const Row& row : list(c, "", Listing::all))
        EXPECT_NE(row.estimate.level, FitLevel::too_tight);
    const auto all = list(c, "min_fit=too_tight", Listing::all);
    bool tight = false;
    for (const Row& row : all) {
        const bool is_tight = row.estimate.level == FitLevel::too_tight;
        EXPECT_TRUE(is_tight || !tight) << "those that do not run come last";
        tight |= is_tight;
    }
    EXPECT_TRUE(tight);
}

TEST(FitListing, FiltersAndSearches) {
    const ListingContext c = context(512);
    for (const Row& row : list(c, "provider=qwen", Listing::all))
        EXPECT_TRUE(row.model->name.starts_with("Qwen/")) << row.model->name;
    EXPECT_FALSE(list(c, "provider=alibaba", Listing::all).empty());
    for (const Row& row : list(c, "use_case=code", Listing::all))
        EXPECT_EQ(row.estimate.category, Category::coding);
    EXPECT_TRUE(list(c, "license=mit", Listing::all).empty());
    EXPECT_EQ(list(c, "", Listing::one, "trinity-mini-8BIT").size(), 1U);
    EXPECT_TRUE(list(c, "search=qwen", Listing::one, "no such model").empty());
    EXPECT_FALSE(list(c, "capability=tool_use", Listing::all).empty());
}

TEST(FitListing, SortsWithoutTies) {
    const ListingContext c = context(64, 24);
    for (const char* const key : {"score", "tps", "params", "mem", "ctx", "date", "use"}) {
        const auto a = list(c, std::string("min_fit=too_tight&sort=") + key, Listing::all);
        const auto b = list(c, std::string("min_fit=too_tight&sort=") + key, Listing::all);
        ASSERT_EQ(a.size(), b.size());
        for (std::size_t i = 0; i < a.size(); ++i)
            ASSERT_EQ(a[i].model, b[i].model) << key;
    }
}

TEST(FitListing, InvariantsOnRandomMachines) {
    Rng rng(7);
    const auto between = [&rng](double low, double high) {
        return low + (high - low) * static_cast<double>(rng.next() >> 11) * 0x1p-53;
    };
    for (int i = 0; i < 60; ++i) {
        const ListingContext c = context(between(2, 600), i % 2 == 0 ? 0 : between(2, 200));
        for (const Row& row : list(c, "min_fit=too_tight", Listing::all)) {
            const Estimate& e = row.estimate;
            for (const double part :
                 {e.scores.quality, e.scores.speed, e.scores.fit, e.scores.context, e.score}) {
                ASSERT_GE(part, 0) << row.model->name;
                ASSERT_LE(part, 100) << row.model->name;
            }
            ASSERT_EQ(e.level == FitLevel::too_tight, e.required_gb > e.available_gb);
            ASSERT_NEAR(e.score, total_score(e.scores, e.weights), 0.1);
            ASSERT_GE(e.tokens_per_s, 0.1);
            ASSERT_LE(e.usable_context, row.model->context_length);
        }
    }
}

TEST(FitListing, MoreMemoryNeverFitsWorse) {
    for (const ModelFacts& model : built_in_models()) {
        FitLevel before = FitLevel::too_tight;
        for (double ram = 2; ram < 1200; ram *= 1.3) {
            SystemFacts s;
            s.total_ram_gb = ram;
            s.available_ram_gb = ram;
            s.n_cpus = 8;
            const FitLevel level = compat_estimate(model, s, {}).level;
            // A better quantization may use up what came on top, so only the step from not running
            // to running is monotone.
            ASSERT_TRUE(before == FitLevel::too_tight || level != FitLevel::too_tight)
                << model.name << " at " << ram;
            before = level;
        }
    }
}

TEST(FitListing, BodyHasTheEnvelopeAndEchoesTheQuery) {
    const ListingContext c = context(64, 24);
    const auto query = parse_query("limit=2&sort=tps&search=qwen");
    const std::string body = models_body(c, *query, Listing::top, {});
    json::Parser parser;
    const auto value = parser.parse(body);
    ASSERT_TRUE(value) << body;
    const auto object = value->as_object();
    EXPECT_EQ(*object->find("returned_models")->as_int64(), 2);
    EXPECT_GT(*object->find("total_models")->as_int64(), 2);
    const auto filters = object->find("filters")->as_object();
    EXPECT_EQ(*filters->find("limit")->as_int64(), 2);
    EXPECT_EQ(*filters->find("sort")->as_string(), "tps");
    EXPECT_TRUE(*filters->find("top_only")->as_bool());
    EXPECT_TRUE(filters->find("min_fit")->is_null());
    const auto models = object->find("models")->as_array();
    EXPECT_EQ(models->size(), 2U);
    for (const json::Value row : *models) {
        for (const char* const field : {"name",
                                        "provider",
                                        "parameter_count",
                                        "params_b",
                                        "context_length",
                                        "release_date",
                                        "is_moe",
                                        "use_case",
                                        "category",
                                        "fit_level",
                                        "fit_label",
                                        "run_mode",
                                        "run_mode_label",
                                        "score",
                                        "score_components",
                                        "estimated_tps",
                                        "runtime",
                                        "runtime_label",
                                        "best_quant",
                                        "memory_required_gb",
                                        "memory_available_gb",
                                        "utilization_pct",
                                        "notes",
                                        "gguf_sources"}) {
            EXPECT_TRUE(row.as_object()->find(field)) << field;
        }
    }
}

} // namespace
} // namespace bloom::fit
