#include <string>

#include <gtest/gtest.h>

#include <bloom/fit/query.hpp>

namespace bloom::fit {
namespace {

std::string error_of(std::string_view query) {
    const auto parsed = parse_query(query);
    return parsed ? std::string("fine") : parsed.error();
}

TEST(FitQuery, EveryErrorOfTheTable) {
    EXPECT_EQ(error_of("sort=best"),
              "invalid sort value: use score|tps|params|mem|ctx|date|use_case");
    EXPECT_EQ(error_of("min_fit=ok"), "invalid min_fit value: use perfect|good|marginal|too_tight");
    EXPECT_EQ(error_of("min_fit="), "invalid min_fit value: use perfect|good|marginal|too_tight");
    EXPECT_EQ(error_of("runtime=onnx"), "invalid runtime value: use any|mlx|llamacpp|vllm");
    EXPECT_EQ(error_of("force_runtime=any"), "invalid force_runtime value: use mlx|llamacpp|vllm");
    EXPECT_EQ(error_of("use_case=poetry"),
              "invalid use_case value: use general|coding|reasoning|chat|multimodal|embedding");
    for (const char* const ram : {"ram_gb=0", "ram_gb=-1", "ram=nan", "ram_gb=inf"})
        EXPECT_EQ(error_of(ram), "invalid ram_gb value: expected a positive number") << ram;
    for (const char* const vram : {"vram_gb=-1", "memory=nan", "vram_gb=inf"})
        EXPECT_EQ(error_of(vram), "invalid vram_gb value: expected a non-negative number") << vram;
    EXPECT_EQ(error_of("cpu_cores=0"), "invalid cpu_cores value: expected a positive integer");
    for (const char* const limit : {"limit=abc", "limit=-1", "limit=", "limit=1.5"})
        EXPECT_EQ(error_of(limit), "invalid limit value: expected a non-negative integer") << limit;
    EXPECT_EQ(error_of("perfect=yes"), "invalid perfect value: expected true or false");
    EXPECT_EQ(error_of("max_context=0"), "invalid max_context value: expected a positive integer");
    EXPECT_EQ(error_of("limit=1&limit=2"), "invalid limit value: expected it once");
    EXPECT_EQ(error_of("search=a&search=b"), "invalid search value: expected it once");
}

TEST(FitQuery, EnumsAreCheckedInTheirOrder) {
    EXPECT_EQ(error_of("use_case=x&min_fit=x&sort=x").substr(0, 12), "invalid sort");
    EXPECT_EQ(error_of("sort=x&cpu_cores=0").substr(0, 17), "invalid cpu_cores");
}

TEST(FitQuery, ReadsFormEncodingAndSpellings) {
    const auto q = parse_query("search=qwen+3%2E5&sort=%20TPS&runtime=llama.cpp&perfect=1&n=7"
                               "&whatever=9&use_case=Code&provider=");
    ASSERT_TRUE(q) << q.error();
    EXPECT_EQ(q->search, "qwen 3.5");
    EXPECT_EQ(q->sort, SortKey::speed);
    EXPECT_EQ(q->raw_sort, " TPS");
    EXPECT_EQ(q->runtime, Runtime::llamacpp);
    EXPECT_EQ(q->perfect, true);
    EXPECT_EQ(q->limit, 7);
    EXPECT_EQ(q->use_case, Category::coding);
    EXPECT_EQ(q->provider, "");
    EXPECT_EQ(parse_query("top=3&limit=2")->limit, 2);
    EXPECT_EQ(parse_query("limit=99999999999999999999")->limit, INT64_MAX);
    EXPECT_FALSE(parse_query("").value().limit);
}

TEST(FitQuery, SimulatesHardware) {
    SystemFacts here;
    here.total_ram_gb = 16;
    here.available_ram_gb = 8;
    here.n_cpus = 4;
    const SystemFacts bigger = simulated(here, *parse_query("ram_gb=64&vram_gb=24&cpu_cores=12"));
    EXPECT_EQ(bigger.total_ram_gb, 64);
    EXPECT_NEAR(bigger.available_ram_gb, 57.6, 1e-9);
    EXPECT_EQ(bigger.n_cpus, 12);
    ASSERT_EQ(bigger.gpus.size(), 1U);
    EXPECT_EQ(bigger.gpus[0].name, "User-specified GPU");
    EXPECT_EQ(bigger.gpus[0].vram_gb, 24);
    GpuFacts shared;
    shared.name = "APU";
    shared.vram_gb = 12;
    shared.unified = true;
    here.gpus.push_back(shared);
    here.gpu_available_gb = 9;
    const SystemFacts unified = simulated(here, *parse_query("ram_gb=128"));
    EXPECT_EQ(unified.gpus[0].vram_gb, 128);
    EXPECT_FALSE(unified.gpu_available_gb);
}

} // namespace
} // namespace bloom::fit
