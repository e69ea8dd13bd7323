#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/api/model_json.hpp>
#include <bloom/json/reader.hpp>

namespace bloom::api {
namespace {

using registry::Catalog;
using ListedModel = registry::Registry::ListedModel;

const std::string kGemma = "mlx-community/gemma-4-26b-a4b-it-8bit";

ListedModel held(const std::string& id, const std::string& catalog_id = {}) {
    ListedModel out;
    out.info.id = id;
    out.info.catalog_id = catalog_id;
    out.info.display_name = id;
    out.info.quantization = "8bit";
    out.info.context_length = 4096;
    out.info.size_bytes = 5'500'000'000;
    out.n_providers = 2;
    return out;
}

std::vector<std::string> ids(const std::vector<ModelView>& models) {
    std::vector<std::string> out;
    for (const ModelView& model : models)
        out.push_back(model.id);
    return out;
}

using Ids = std::vector<std::string>;

TEST(ModelViews, AliasesHideTheirBuilds) {
    const Catalog& catalog = Catalog::built_in();
    const std::vector<ListedModel> models = {held(kGemma, kGemma), held("mine", kGemma),
                                             held("own")};
    EXPECT_EQ(ids(view_models(models, catalog, {})), (Ids{"gemma-4-26b", "mine", "own"}));
    EXPECT_EQ(ids(view_models(models, catalog, {.builds = true})),
              (Ids{"gemma-4-26b", "mine", kGemma, "own"}));
    EXPECT_TRUE(view_models({}, catalog, {}).empty());
}

TEST(ModelViews, UnheldEntriesAreListedOnRequest) {
    const Catalog& catalog = Catalog::built_in();
    const auto all = view_models({held(kGemma, kGemma), held("own")}, catalog, {.unheld = true});
    EXPECT_EQ(ids(all),
              (Ids{"gemma-4-26b", "mlx-community/MiniMax-M2.5-8bit",
                   "mlx-community/Qwen3.5-122B-A10B-8bit", "mlx-community/Trinity-Mini-8bit", "own",
                   "qwen3.5-27b-claude-opus-8bit"}));
    for (const ModelView& model : all) {
        const bool is_held = model.id == "gemma-4-26b" || model.id == "own";
        EXPECT_EQ(model.held.n_providers, is_held ? 2 : 0) << model.id;
        EXPECT_EQ(model.entry == nullptr, model.id == "own");
    }
    // Held only under somebody's own name, the entry itself has no provider.
    const auto renamed = view_models({held("mine", kGemma)}, catalog, {.unheld = true});
    EXPECT_EQ(renamed.size(), 6U);
    const auto available = view_models({held("own")}, catalog,
                                       {.unheld = true, .builds = false, .available_only = true});
    EXPECT_EQ(ids(available), (Ids{"own"}));
}

TEST(ModelViews, EveryIdIsListedOnce) {
    const Catalog& catalog = Catalog::built_in();
    // Somebody gave a model the alias, which hides the entry that it would stand for.
    const auto named = view_models({held("gemma-4-26b", kGemma)}, catalog, {.unheld = true});
    EXPECT_EQ(named.size(), 5U);
    EXPECT_EQ(std::ranges::count(ids(named), "gemma-4-26b"), 1);
    const auto both = view_models({held("gemma-4-26b"), held(kGemma, kGemma)}, catalog,
                                  {.unheld = false, .builds = true});
    EXPECT_EQ(ids(both), (Ids{"gemma-4-26b", kGemma}));
    EXPECT_EQ(both.front().entry, nullptr);
}

/// Member of an object by a path of keys.
json::Value at(json::Value value, std::initializer_list<std::string_view> path) {
    for (const std::string_view key : path)
        value = value.as_object().value().at(key).value();
    return value;
}

TEST(ModelJson, ModelsOfTheCatalogHaveItsFacts) {
    const auto models = view_models({held(kGemma, kGemma)}, Catalog::built_in(), {});
    json::Parser parser;
    const json::Value list = parser.parse(model_list(models)).value();
    EXPECT_EQ(at(list, {"first_id"}).as_string().value(), "gemma-4-26b");
    EXPECT_FALSE(at(list, {"has_more"}).as_bool().value());
    const json::Value model = *at(list, {"data"}).as_array().value().begin();
    EXPECT_EQ(at(model, {"id"}).as_string().value(), "gemma-4-26b");
    EXPECT_EQ(at(model, {"provider_count"}).as_int64().value(), 2);
    EXPECT_EQ(at(model, {"context_length"}).as_int64().value(), 4096)
        << "the node's, not the model's";
    EXPECT_EQ(at(model, {"max_input_tokens"}).as_int64().value(), 4096);
    EXPECT_EQ(at(model, {"max_tokens"}).as_int64().value(), 4096);
    EXPECT_EQ(at(model, {"lifecycle"}).as_string().value(), "active");
    for (const char* none : {"capabilities", "line", "deprecated_at", "retires_at"})
        EXPECT_TRUE(at(model, {none}).is_null()) << none;
    EXPECT_EQ(at(model, {"pricing", "prompt"}).as_string().value(), "0.000000065");
    EXPECT_EQ(at(model, {"pricing", "completion"}).as_string().value(), "0.0000002");
    EXPECT_EQ(at(model, {"pricing", "input_cache_read"}).as_string().value(), "0.0000000325");
    EXPECT_EQ(at(model, {"metadata", "quantization"}).as_string().value(), "") << "of an alias";
    EXPECT_EQ(at(model, {"metadata", "hardware", "min_ram_gb"}).as_int64().value(), 36);
    EXPECT_EQ(at(model, {"metadata", "hardware", "size_gb"}).as_double().value(), 5.5);
    EXPECT_EQ(at(model, {"hugging_face_id"}).as_string().value(), kGemma);
}

TEST(ModelJson, OtherModelsHaveNone) {
    const auto models = view_models({held("own")}, Catalog::built_in(), {});
    std::string text;
    append_model(text, models.front());
    json::Parser parser;
    const json::Value model = parser.parse(text).value();
    EXPECT_FALSE(model.as_object().value().find("pricing"));
    EXPECT_EQ(at(model, {"metadata", "quantization"}).as_string().value(), "8bit");
    EXPECT_FALSE(at(model, {"metadata", "hardware"}).as_object().value().find("min_ram_gb"));
}

TEST(ModelJson, TheCatalogIsOrderedByMemory) {
    json::Parser parser;
    const json::Value list = parser.parse(catalog_list(Catalog::built_in(), "")).value();
    std::int64_t least = 0;
    std::size_t n = 0;
    for (const json::Value model : at(list, {"models"}).as_array().value()) {
        const std::int64_t ram = at(model, {"min_ram_gb"}).as_int64().value();
        EXPECT_GE(ram, least);
        least = ram;
        ++n;
        EXPECT_TRUE(at(model, {"active"}).as_bool().value());
        EXPECT_EQ(at(model, {"model_type"}).as_string().value(), "text");
        EXPECT_EQ(at(model, {"s3_name"}).as_string().value().find('/'), std::string_view::npos);
        for (const char* unknown : {"weight_hash", "version", "aggregate_sha256", "file_count"})
            EXPECT_TRUE(at(model, {unknown}).is_null()) << unknown;
    }
    EXPECT_EQ(n, 5U);
    EXPECT_EQ(catalog_list(Catalog::built_in(), "embedding"), R"({"models":[]})");
    EXPECT_EQ(catalog_list(Catalog::built_in(), "text"), catalog_list(Catalog::built_in(), ""));
}

TEST(ModelJson, PricesOfATokenArePlainDecimals) {
    EXPECT_EQ(usd_per_token(0), "0");
    EXPECT_EQ(usd_per_token(50'000), "0.00000005");
    EXPECT_EQ(usd_per_token(1), "0.000000000001");
    EXPECT_EQ(usd_per_token(1'040'000), "0.00000104");
    EXPECT_EQ(usd_per_token(1'000'000'000'000), "1");
    EXPECT_EQ(usd_per_token(2'500'000'000'000), "2.5");
}

TEST(Prices, EveryNameAndTheFallback) {
    const std::string list = price_list(Catalog::built_in());
    json::Parser parser;
    const auto parsed = parser.parse(list);
    ASSERT_TRUE(parsed.has_value());
    const json::Object object = *parsed->as_object();
    std::vector<std::string> names;
    const json::Array rows = *object.find("prices")->as_array();
    for (const json::Value row : rows)
        names.emplace_back(*row.as_object()->find("model")->as_string());
    EXPECT_TRUE(std::ranges::is_sorted(names));
    EXPECT_NE(std::ranges::find(names, "gemma-4-26b"), names.end()) << "aliases, too";
    EXPECT_NE(
        list.find(R"({"model":")" + kGemma +
                  R"(","input_price":65000,"output_price":200000,"cache_read_price":32500,)"
                  R"("input_usd":"$0.0650","output_usd":"$0.2000","cache_read_usd":"$0.0325"})"),
        std::string::npos)
        << list;
    EXPECT_TRUE(
        list.ends_with(R"("fallback_input_price":50000,"fallback_output_price":200000,)"
                       R"("fallback_input_usd":"$0.0500","fallback_output_usd":"$0.2000"})"));
}

} // namespace
} // namespace bloom::api
