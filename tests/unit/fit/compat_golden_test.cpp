#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/fit/estimate.hpp>

// The golden examples of the published estimator: fit API section 4.
namespace bloom::fit {
namespace {

ModelFacts model(std::string_view id) {
    ModelFacts m;
    const auto base = [&](const char* name, std::int64_t params, std::int64_t context,
                          const char* arch, const char* date, const char* text) {
        m.name = name;
        m.params = params;
        m.context_length = context;
        m.architecture = arch;
        m.release_date = date;
        m.use_case_text = text;
    };
    const auto moe = [&](std::int64_t active, int experts, int used) {
        m.active_params = active;
        m.n_experts = experts;
        m.n_experts_used = used;
    };
    const auto dims = [&](int layers, int heads, int kv, int dim, int hidden, int vocab, int ffn,
                          int shared = 0) {
        m.n_layers = layers;
        m.n_heads = heads;
        m.n_kv_heads = kv;
        m.head_dim = dim;
        m.hidden = hidden;
        m.vocab = vocab;
        m.ffn = ffn;
        m.shared_ffn = shared;
    };
    if (id == "M1") {
        base("qwen3.5-27b-claude-opus-8bit", 27000000000, 262144, "qwen3_5", "2026-02-24",
             "Complex reasoning and analysis");
        dims(64, 24, 4, 256, 5120, 248320, 17408);
    } else if (id == "M2") {
        base("mlx-community/gemma-4-26b-a4b-it-8bit", 26000000000, 262144, "gemma4", "2026-03-11",
             "Multimodal instruction following");
        moe(4000000000, 128, 8);
        dims(30, 16, 8, 256, 2816, 262144, 704);
    } else if (id == "M3") {
        base("mlx-community/Trinity-Mini-8bit", 27000000000, 131072, "afmoe", "2025-12-01",
             "Agentic tool use");
        moe(3000000000, 128, 8);
    } else if (id == "M4") {
        base("mlx-community/Qwen3.5-122B-A10B-8bit", 122000000000, 262144, "qwen3_5_moe",
             "2026-02-24", "General purpose");
        moe(10000000000, 256, 8);
        dims(48, 32, 2, 256, 3072, 248320, 1024, 1024);
    } else if (id == "M5") {
        base("mlx-community/MiniMax-M2.5-8bit", 239000000000, 196608, "minimax_m2", "2026-02-12",
             "Code generation and completion");
        moe(11000000000, 256, 8);
        dims(62, 48, 8, 128, 3072, 200064, 1536);
    } else if (id == "M6") {
        base("Qwen/Qwen2.5-Coder-7B-Instruct", 7615616512, 32768, "qwen2", "2024-09-17",
             "Code generation and completion");
        dims(28, 28, 4, 128, 3584, 152064, 18944);
    } else if (id == "M7") {
        base("meta-llama/Llama-3.3-70B-Instruct", 70553706496, 131072, "llama", "2024-11-26",
             "Instruction following, chat");
        dims(80, 64, 8, 128, 8192, 128256, 28672);
    } else if (id == "M8") {
        base("mistralai/Mixtral-8x7B-Instruct-v0.1", 46702792704, 32768, "mixtral", "2023-12-10",
             "Instruction following, chat");
        moe(12900000000, 8, 2);
        dims(32, 32, 8, 128, 4096, 32000, 14336);
    } else if (id == "M9") {
        base("nomic-ai/nomic-embed-text-v1.5", 136731648, 8192, "nomic_bert", "2024-02-10",
             "Text embeddings for RAG");
        dims(12, 12, 12, 64, 768, 30528, 3072);
    } else if (id == "M10") {
        base("Qwen/Qwen3-8B", 8190735360, 40960, "qwen3", "2025-04-27",
             "General purpose text generation");
        dims(36, 32, 8, 128, 4096, 151936, 12288);
    } else {
        base("Qwen/Qwen2.5-14B-Instruct-AWQ", 14770000000, 32768, "qwen2", "2024-09-17",
             "Instruction following, chat");
        dims(48, 40, 8, 128, 5120, 152064, 13824);
        m.quantization = "AWQ-4bit";
        m.format = "awq";
    }
    return m;
}

SystemFacts system_of(std::string_view id) {
    struct Row {
        std::string_view id;
        double ram, available;
        int cpus;
        const char* gpu;
        double vram;
        int count;
        bool unified;
        const char* backend;
    };

    constexpr Row kRows[] = {
        {"S1", 64, 56, 16, "", 0, 0, false, "x86"},
        {"S2", 256, 240, 64, "", 0, 0, false, "x86"},
        {"S3", 8, 6, 2, "", 0, 0, false, "x86"},
        {"S4", 16, 12, 8, "", 0, 0, false, "ARM"},
        {"S5", 64, 56, 16, "NVIDIA GeForce RTX 4090", 24, 1, false, "CUDA"},
        {"S6", 32, 26, 8, "NVIDIA GeForce RTX 3070", 8, 1, false, "CUDA"},
        {"S7", 128, 112, 32, "NVIDIA GeForce RTX 3090", 24, 2, false, "CUDA"},
        {"S8", 256, 240, 32, "NVIDIA H200", 140, 1, false, "CUDA"},
        {"S9", 32, 26, 12, "AMD Radeon RX 7900 XTX", 24, 1, false, "Vulkan"},
        {"S10", 125, 110, 32, "AMD Ryzen AI MAX+ 395 w/ Radeon 8060S (integrated)", 125, 1, true,
         "Vulkan"},
        {"S11", 32, 26, 16, "Intel(R) Arc(tm) B580 Graphics (BMG G21)", 12, 1, false, "Vulkan"},
        {"S12", 48, 40, 16, "Acme GPU", 8, 1, false, "Vulkan"},
        {"S13", 64, 48, 16, "Apple M4 Max", 64, 1, true, "Metal"},
        {"S14", 48, 40, 6, "NVIDIA GeForce GTX 1650", 4, 1, false, "CUDA"},
    };
    for (const Row& row : kRows) {
        if (row.id != id) continue;
        SystemFacts s;
        s.total_ram_gb = row.ram;
        s.available_ram_gb = row.available;
        s.n_cpus = row.cpus;
        s.arm = std::string_view(row.backend) == "ARM";
        if (row.count > 0) {
            GpuFacts gpu;
            gpu.name = row.gpu;
            gpu.vram_gb = row.vram;
            gpu.count = row.count;
            gpu.unified = row.unified;
            gpu.backend = row.backend;
            s.gpus.push_back(gpu);
        }
        return s;
    }
    ADD_FAILURE() << id;
    return {};
}

struct Golden {
    const char* id;
    const char* model;
    const char* system;
    std::int64_t context;
    const char* category;
    const char* mode;
    const char* runtime;
    const char* quant;
    double required, utilization;
    const char* level;
    double tps, quality, speed, fit, context_points, score, score_by_use;
    std::int64_t usable;
    double offloaded; ///< negative: none
};

constexpr Golden kGolden[] = {
    {"G1",      "M6",    "S5",  8192,     "Coding", "gpu", "llamacpp", "Q8_0", 8.9339, 37.2246,
     "perfect", 72.7978, 88.70, 100.0000, 100.0000, 100,   96.6,       94.4,   32768,  -1},
    {"G2",     "M1",    "S5",    8192,       "Reasoning", "gpu",  "llamacpp",
     "Q5_K_M", 20.8600, 86.9167, "marginal", 32.8533,     100.00, 100.0000,
     69.9271,  100,     92.5,    95.5,       21053,       -1},
    {"G3",   "M1",   "S1",   8192,   "Reasoning", "cpu_only", "llamacpp", "Q8_0", 30.8500, 55.0893,
     "good", 0.6844, 100.00, 2.7378, 100.0000,    100,        70.8,       85.4,   111206,  -1},
    {"G4",      "M1",   "S10",  8192,    "Reasoning", "gpu", "llamacpp", "Q8_0", 30.8500, 24.6800,
     "perfect", 5.2148, 100.00, 20.8593, 100.0000,    100,   76.3,       88.1,   262144,  -1},
    {"G5",   "M2",    "S5",  8192,     "Multimodal", "gpu", "llamacpp", "Q6_K", 13.3000, 55.4167,
     "good", 81.9703, 70.50, 100.0000, 100.0000,     100,   91.2,       85.3,   11796,   -1},
    {"G6",   "M2",    "S6",   8192,    "Multimodal", "moe_offload", "llamacpp", "Q4_K_M",
     4.3027, 53.7839, "good", 16.6262, 66.50,        41.5655,       100.0000,   100,
     72.4,   71.6,    0,      11.8837},
    {"G7",      "M3",    "S10", 8192,    "General", "gpu", "llamacpp", "Q8_0", 13.8000, 11.0400,
     "perfect", 17.8794, 61.50, 44.6984, 100.0000,  100,   71.9,       66.1,   131072,  -1},
    {"G8",   "M3",    "S9",  8192,     "General", "gpu", "llamacpp", "Q6_K", 13.8000, 57.5000,
     "good", 63.2500, 60.50, 100.0000, 100.0000,  100,   88.2,       82.2,   8796,    -1},
    {"G9",     "M4",   "S5",    8192,   "General", "moe_offload", "llamacpp",
     "Q4_K_M", 4.9174, 20.4891, "good", 7.3382,    88.00,         18.3455,
     100.0000, 100,    71.9,    70.1,   0,         60.4987},
    {"G10",     "M4",    "S10", 8192,    "General", "gpu", "llamacpp", "Q6_K", 62.5000, 50.0000,
     "perfect", 12.0212, 92.00, 30.0530, 100.0000,  100,   76.6,       75.4,   262144,  -1},
    {"G11",  "M4",   "S2",  8192,   "General", "cpu_only", "llamacpp", "Q8_0", 68.2000, 28.4167,
     "good", 1.8480, 93.00, 4.6200, 100.0000,  100,        69.3,       68.2,   262144,  -1},
    {"G12",    "M5",     "S5",     8192,        "Coding", "gpu", "llamacpp",
     "Q4_K_M", 122.4000, 510.0000, "too_tight", 59.6472,  78.50, 100.0000,
     0.0000,   100,      68.6,     74.3,        0,        -1},
    {"G13",    "M5",     "S8",    8192,       "Coding", "gpu", "llamacpp",
     "Q3_K_M", 122.4000, 87.4286, "marginal", 233.3521, 75.50, 100.0000,
     68.4071,  100,      84.8,    83.0,       104773,   -1},
    {"G14",  "M5",   "S2",  8192,   "Coding", "cpu_only", "llamacpp", "Q6_K", 133.6000, 55.6667,
     "good", 1.9950, 82.50, 4.9875, 100.0000, 100,        66.2,       72.2,   196608,   -1},
    {"G15",      "M7",    "S7",   8192,    "Chat",  "gpu", "llamacpp", "Q4_K_M", 43.9211, 91.5024,
     "marginal", 14.5931, 100.00, 36.4828, 56.1052, 100,   70.0,       71.2,     21557,   -1},
    {"G16",   "M7",    "S5",       8192,   "Chat", "cpu_offload", "llamacpp", "Q5_K_M",
     50.9765, 91.0295, "marginal", 6.2863, 100.00, 15.7157,       57.5337,    100,
     64.1,    64.1,    24652,      -1},
    {"G17",      "M8",    "S5",  8192,     "Chat",  "gpu", "llamacpp", "Q3_K_M", 23.9000, 99.5833,
     "marginal", 71.6149, 75.80, 100.0000, 33.4885, 100,   76.1,       80.3,     8869,    -1},
    {"G18",      "M8",    "S9",  8192,     "Chat",  "gpu", "llamacpp", "Q3_K_M", 23.9000, 99.5833,
     "marginal", 68.2046, 75.80, 100.0000, 33.4885, 100,   76.1,       80.3,     8869,    -1},
    {"G19",  "M9",     "S4",  8192,    "Embedding", "cpu_only", "llamacpp", "Q8_0", 0.9248, 7.7068,
     "good", 173.7710, 30.00, 86.8855, 100.0000,    100,        75.1,       73.8,   8192,   -1},
    {"G20",     "M10",   "S11", 8192,    "General", "gpu", "llamacpp", "Q8_0", 10.2253, 85.2106,
     "perfect", 16.1158, 83.00, 40.2894, 74.8860,   100,   70.7,       70.7,   21115,   -1},
    {"G21",  "M2",    "S12",  8192,    "Multimodal", "moe_offload", "llamacpp", "Q4_K_M",
     4.3027, 53.7839, "good", 16.5000, 66.50,        41.2500,       100.0000,   100,
     72.3,   71.5,    0,      11.8837},
    {"G22",     "M11",   "S5",  8192,     "Chat",   "gpu", "vllm", "AWQ-4bit", 9.3850, 39.1042,
     "perfect", 75.0711, 85.50, 100.0000, 100.0000, 100,   95.7,   94.2,       32768,  -1},
    {"G23",    "M7",    "S3",     8192,        "Chat", "cpu_only", "llamacpp",
     "Q4_K_M", 43.9211, 732.0192, "too_tight", 0.3423, 100.00,     0.8557,
     0.0000,   100,     45.3,     50.3,        0,      -1},
    {"G24",    "M10",  "S3",    8192,       "General", "cpu_only", "llamacpp",
     "Q3_K_M", 5.5566, 92.6092, "marginal", 3.2048,    75.00,      8.0121,
     52.7835,  100,    53.1,    54.1,       11421,     -1},
    {"G25",     "M1",    "S13",  8192,    "Reasoning", "gpu", "mlx", "mlx-8bit", 29.5000, 46.0938,
     "perfect", 11.1222, 100.00, 44.4889, 100.0000,    100,   83.3,  91.7,       149504,  -1},
    {"G26",     "M2",     "S8",  8192,     "Multimodal", "gpu", "llamacpp", "Q8_0", 13.3000, 9.5000,
     "perfect", 501.0596, 71.50, 100.0000, 100.0000,     100,   91.5,       85.8,   262144,  -1},
    {"G27",  "M6",   "S4",  8192,   "Coding", "cpu_only", "llamacpp", "Q8_0", 8.9339, 74.4491,
     "good", 3.1199, 88.70, 7.7998, 97.5560,  100,        68.3,       75.5,   32768,  -1},
    {"G28",    "M1",    "S5",    65536,      "Reasoning", "gpu", "llamacpp",
     "Q3_K_M", 21.4600, 89.4167, "marginal", 54.7556,     96.80, 100.0000,
     62.4216,  100,     89.6,    92.6,       43171,       -1},
    {"G29",       "M7",   "S6",   8192,    "Chat", "gpu", "llamacpp", "Q4_K_M", 43.9211, 549.0144,
     "too_tight", 6.9847, 100.00, 17.4619, 0.0000, 100,   50.2,       56.1,     0,       -1},
    {"G30",  "M8",   "S14", 8192,   "Chat",   "cpu_offload", "llamacpp", "Q6_K", 26.1000, 65.2500,
     "good", 3.6382, 82.80, 9.0956, 100.0000, 100,           67.6,       61.3,   17512,   -1},
    {"G31",    "M1",    "S5",    32768,      "Reasoning", "gpu", "llamacpp",
     "Q3_K_M", 21.4600, 89.4167, "marginal", 54.7556,     96.80, 100.0000,
     62.4216,  100,     89.6,    92.6,       43171,       -1},
    {"G32",   "M1",    "S5",    2048,       "Reasoning", "gpu",  "llamacpp",
     "Q6_K",  22.6000, 94.1667, "marginal", 27.3778,     100.00, 100.0000,
     48.1892, 100,     87.0,    92.2,       7782,        -1},
    {"G33",     "M10",   "S11", 40960,   "General", "gpu", "llamacpp", "Q5_K_M", 11.6947, 97.4558,
     "perfect", 20.1447, 81.00, 50.3618, 38.9739,   100,   64.2,       67.4,     40960,   -1},
};

TEST(CompatGolden, EveryRowOfThePublishedTable) {
    for (const Golden& g : kGolden) {
        SCOPED_TRACE(g.id);
        CompatOptions options;
        options.max_context = g.context == 8192 ? 0 : g.context;
        options.year = 2026;
        options.month = 8;
        const ModelFacts m = model(g.model);
        const SystemFacts s = system_of(g.system);
        const Estimate e = compat_estimate(m, s, options);
        EXPECT_EQ(label(e.category), g.category);
        EXPECT_EQ(code(e.mode), g.mode);
        EXPECT_EQ(code(e.runtime), g.runtime);
        EXPECT_EQ(e.quantization, g.quant);
        EXPECT_NEAR(e.required_gb, g.required, 0.00006);
        EXPECT_NEAR(e.utilization_pct().value_or(-1), g.utilization, 0.00006);
        EXPECT_EQ(code(e.level), g.level);
        EXPECT_NEAR(e.tokens_per_s, g.tps, 0.00006);
        EXPECT_NEAR(e.scores.quality, g.quality, 0.006);
        EXPECT_NEAR(e.scores.speed, g.speed, 0.00006);
        EXPECT_NEAR(e.scores.fit, g.fit, 0.00006);
        EXPECT_NEAR(e.scores.context, g.context_points, 1e-9);
        EXPECT_NEAR(e.score, g.score, 0.1001);
        EXPECT_EQ(e.usable_context, g.usable);
        EXPECT_NEAR(e.moe_offloaded_gb.value_or(-1), g.offloaded, 0.00006);
        options.weights_by_use_case = true;
        EXPECT_NEAR(compat_estimate(m, s, options).score, g.score_by_use, 0.1001);
    }
}

std::vector<std::string> notes_of(const char* model_id, const char* system_id) {
    CompatOptions options;
    options.year = 2026;
    options.month = 8;
    std::vector<std::string> texts;
    for (const Note& note : compat_estimate(model(model_id), system_of(system_id), options).notes)
        texts.push_back(note.text);
    return texts;
}

TEST(CompatGolden, NotesInTheirPublishedOrder) {
    EXPECT_EQ(notes_of("M4", "S5"),
              (std::vector<std::string>{
                  "Context capped at 8192 tokens for estimation (model supports up to 262144; use "
                  "--max-context to override)",
                  "MoE: 8/256 experts active in VRAM (4.9 GB) at Q3_K_M",
                  "Inactive experts offloaded to system RAM (50.1 GB)",
                  "Baseline estimated speed: 7.3 tok/s"}));
    EXPECT_EQ(notes_of("M10", "S3"),
              (std::vector<std::string>{
                  "Context capped at 8192 tokens for estimation (model supports up to 40960; use "
                  "--max-context to override)",
                  "CPU-only: model loaded into system RAM", "No GPU -- inference will be slow",
                  "Low CPU core count may bottleneck inference",
                  "Best quantization for hardware: Q3_K_M (model default: Q4_K_M)",
                  "Baseline estimated speed: 3.2 tok/s"}));
}

TEST(CompatGolden, IntermediateMemory) {
    struct Row {
        const char* id;
        double kv;
        double memory[6];
    };

    constexpr Row kRows[] = {
        {"M1", 2.000000, {30.8500, 24.1000, 20.8600, 18.1600, 15.4600, 12.4900}},
        {"M2", 1.875000, {29.6750, 23.1750, 20.0550, 17.4550, 14.8550, 11.9950}},
        {"M3", 1.769472, {30.6195, 23.8695, 20.6295, 17.9295, 15.2295, 12.2595}},
        {"M4", 0.750000, {129.3500, 98.8500, 84.2100, 72.0100, 59.8100, 46.3900}},
        {"M5", 1.937500, {253.3875, 193.6375, 164.9575, 141.0575, 117.1575, 90.8675}},
        {"M6", 0.437500, {8.9339, 7.0300, 6.1161, 5.3546, 4.5930, 3.7553}},
        {"M7", 2.500000, {77.0814, 59.4430, 50.9765, 43.9211, 36.8658, 29.1049}},
        {"M8", 1.000000, {50.5379, 38.8622, 33.2579, 28.5876, 23.9173, 18.7800}},
        {"M9", 0.281250, {0.9248, 0.8906, 0.8742, 0.8606, 0.8469, 0.8318}},
        {"M10", 1.125000, {10.2253, 8.1776, 7.1947, 6.3756, 5.5566, 4.6556}},
        {"M11", 1.500000, {17.5085, 13.8160, 12.0436, 10.5666, 9.0896, 7.4649}},
    };
    for (const Row& row : kRows) {
        SCOPED_TRACE(row.id);
        const ModelFacts m = model(row.id);
        EXPECT_NEAR(compat_kv_gb(m, 8192), row.kv, 1e-9);
        const char* quants[] = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"};
        for (int i = 0; i < 6; ++i)
            EXPECT_NEAR(compat_memory_gb(m, quants[i], 8192), row.memory[i], 0.00006) << quants[i];
    }
}

TEST(CompatGolden, DerivedNeeds) {
    struct Row {
        const char* id;
        double ram, recommended, vram;
    };

    constexpr Row kRows[] = {{"M1", 15.1, 25.1, 13.8},  {"M2", 14.5, 24.2, 13.3},
                             {"M4", 68.2, 113.6, 62.5}, {"M5", 133.6, 222.6, 122.4},
                             {"M6", 4.3, 7.1, 3.9},     {"M7", 39.4, 65.7, 36.1},
                             {"M8", 26.1, 43.5, 23.9},  {"M9", 1.0, 2.0, 0.5},
                             {"M10", 4.6, 7.6, 4.2},    {"M11", 8.3, 13.8, 7.6}};
    for (const Row& row : kRows) {
        SCOPED_TRACE(row.id);
        const PublishedNeeds needs = published_needs(model(row.id));
        EXPECT_EQ(needs.min_ram_gb, row.ram);
        EXPECT_EQ(needs.recommended_ram_gb, row.recommended);
        EXPECT_EQ(needs.min_vram_gb, row.vram);
    }
}

TEST(CompatGolden, GenerationsFromArchitectureAndName) {
    EXPECT_EQ(generation_of("qwen3_5", "Qwen/Qwen3.6-27B"), 3.6);
    EXPECT_EQ(generation_of("qwen3_next", "Qwen/Qwen3-Coder-Next"), 3.8);
    EXPECT_EQ(generation_of("qwen2", "Qwen/Qwen2.5-7B-Instruct"), 2.5);
    EXPECT_EQ(generation_of("llama", "meta-llama/Llama-3.3-70B-Instruct"), 3.3);
    EXPECT_EQ(generation_of("llama4", "any"), 4);
    EXPECT_EQ(generation_of("gemma3_text", "any"), 3);
    EXPECT_EQ(generation_of("deepseek_v4", "any"), 4);
    EXPECT_EQ(generation_of("phimoe", "any"), 3);
    EXPECT_EQ(generation_of("mixtral", "any"), 1);
    EXPECT_EQ(generation_of("afmoe", "arcee-ai/Trinity-Mini"), std::nullopt);
    EXPECT_EQ(generation_of("", "acme/qwen3-tune"), 3);
}

TEST(CompatGolden, CategoriesFromNameAndText) {
    const auto category = [](const char* name, const char* text) {
        ModelFacts m;
        m.name = name;
        m.use_case_text = text;
        return category_of(m);
    };
    EXPECT_EQ(category("Qwen/Qwen2.5-Coder-7B", "any"), Category::coding);
    EXPECT_EQ(category("x/y", "Coding tasks"), Category::general);
    EXPECT_EQ(category("x/codestral", "any"), Category::coding);
    EXPECT_EQ(category("x/y", "Multimodal, vision and text"), Category::multimodal);
    EXPECT_EQ(category("x/y", "Advanced reasoning, chain-of-thought"), Category::reasoning);
    EXPECT_EQ(category("deepseek-ai/DeepSeek-R1", "General purpose"), Category::reasoning);
    EXPECT_EQ(category("x/y", "Instruction following, chat"), Category::chat);
    EXPECT_EQ(category("BAAI/bge-m3", "any"), Category::embedding);
    EXPECT_EQ(category("x/y", "Lightweight, edge deployment"), Category::general);
}

TEST(CompatGolden, ParameterCounts) {
    EXPECT_EQ(parameter_count(14'000'000'000), "14B");
    EXPECT_EQ(parameter_count(7'615'616'512), "7.6B");
    EXPECT_EQ(parameter_count(125'086'497'008), "125.1B");
    EXPECT_EQ(parameter_count(136'731'648), "137M");
    EXPECT_EQ(parameter_count(512'000), "512K");
}

TEST(CompatGolden, FitCurve) {
    for (const auto& [share, points] : {std::pair{0.70, 100.0},
                                        {0.75, 96.9233},
                                        {0.80, 88.2497},
                                        {0.85, 75.4840},
                                        {0.90, 60.6531},
                                        {0.95, 45.7833},
                                        {1.00, 32.4652}}) {
        EXPECT_NEAR(fit_score(share * 10, 10), points, 0.0001);
    }
    EXPECT_EQ(fit_score(10.1, 10), 0);
}

} // namespace
} // namespace bloom::fit
