#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/half.hpp"
#include <bloom/compute/backend_cpu.hpp>

#include "golden/engine/golden_case.hpp"

/// The gated delta rule against delta_rule.json, made in float64 by an independent program.
namespace bloom::compute {
namespace {

namespace fs = std::filesystem;

struct Case {
    std::int64_t n = 0;
    bool tiled = false;
    std::vector<float> x, conv, g, beta, o, state;
};

struct Golden {
    RecurrentSpec spec;
    std::vector<Case> cases;
};

/// `n` numbers at a byte offset.
std::vector<float> numbers(const std::string& bytes, std::int64_t at, std::int64_t n, bool half) {
    std::vector<float> out(static_cast<std::size_t>(n));
    const char* p = bytes.data() + at;
    EXPECT_LE(static_cast<std::size_t>(at + n * (half ? 2 : 4)), bytes.size());
    for (float& v : out) {
        if (half) {
            std::uint16_t bits = 0;
            std::memcpy(&bits, p, 2);
            v = kernels::f16_to_f32(bits);
        } else {
            std::memcpy(&v, p, 4);
        }
        p += half ? 2 : 4;
    }
    return out;
}

Golden read_golden() {
    const fs::path folder = fs::path(BLOOM_SOURCE_DIR) / "tests/golden/engine/data";
    const std::string text = engine::golden::read_text(folder / "delta_rule.json");
    json::Parser parser;
    const json::Object root = parser.parse(text).value().as_object().value();
    const auto integer = [](const json::Object& o, std::string_view key) {
        return o.at(key).value().as_int64().value();
    };
    Golden out;
    const auto size = [&](std::string_view key) {
        return static_cast<std::int32_t>(integer(root, key));
    };
    out.spec = {1, size("key_heads"), size("value_heads"), size("key_dim"), size("value_dim"), 4};
    const std::string file(root.at("file").value().as_string().value());
    const std::string bytes = engine::golden::read_text(folder / file);
    const std::int64_t heads = out.spec.n_v_heads;
    const std::int64_t width = heads * out.spec.v_dim;
    for (const json::Value v : root.at("cases").value().as_array().value()) {
        const json::Object o = v.as_object().value();
        Case c;
        c.n = integer(o, "n");
        c.tiled = o.at("tiled").value().as_bool().value();
        const auto part = [&](std::string_view key, std::int64_t n, bool half) {
            return numbers(bytes, integer(o, key), n, half);
        };
        c.x = part("x", c.n * out.spec.channels(), true);
        c.conv = part("conv", out.spec.channels() * 4, true);
        c.g = part("g", c.n * heads, false);
        c.beta = part("beta", c.n * heads, false);
        c.o = part("o", c.n * width, false);
        c.state = part("state", width * out.spec.k_dim, false);
        out.cases.push_back(std::move(c));
    }
    return out;
}

/// Rows of a table that tokens look up.
WeightId table(Backend& backend, const std::vector<float>& values, std::int64_t rows) {
    const auto id = backend.upload_matrix(
        {kernels::WeightFormat::f32, rows, static_cast<std::int64_t>(values.size()) / rows,
         reinterpret_cast<const std::uint8_t*>(values.data()), nullptr, nullptr});
    EXPECT_TRUE(id);
    return *id;
}

class GoldenDeltaRule : public testing::TestWithParam<const kernels::KernelTable*> {
protected:
    /// Runs a case in steps of `cut` rows and compares outputs and the last state.
    static void check(const RecurrentSpec& spec, const Case& c, std::int64_t cut) {
        SerialTeam team(3);
        const auto backend = make_cpu_backend({.table = GetParam(), .team = &team});
        // What gives g and beta: g = -softplus(alpha), beta = sigmoid(b).
        std::vector<float> alpha, b;
        for (const float g : c.g) {
            const double size = -static_cast<double>(g);
            alpha.push_back(static_cast<float>(size > 50 ? size : std::log(std::expm1(size))));
        }
        for (const float beta : c.beta) {
            const double p = static_cast<double>(beta);
            b.push_back(static_cast<float>(std::log(p) - std::log1p(-p)));
        }
        const auto heads = static_cast<std::size_t>(spec.n_v_heads);
        const WeightId qkv_rows = table(*backend, c.x, c.n);
        const WeightId alpha_rows = table(*backend, alpha, c.n);
        const WeightId beta_rows = table(*backend, b, c.n);
        const WeightId conv = *backend->upload_vector(c.conv);
        const WeightId decay = *backend->upload_vector(std::vector<float>(heads, -1.0F));
        const WeightId bias = *backend->upload_vector(std::vector<float>(heads, 0.0F));
        ASSERT_TRUE(backend->allocate_states(spec, 1));
        const auto max_rows = static_cast<std::int32_t>(cut);
        Plan p({Phase::prefill, max_rows, max_rows});
        const std::int64_t width = std::int64_t{spec.n_v_heads} * spec.v_dim;
        const TensorId qkv = p.tensor(spec.channels()), a = p.tensor(spec.n_v_heads);
        const TensorId beta = p.tensor(spec.n_v_heads), out = p.tensor(width);
        const TensorId logits = p.tensor(width, RowKind::logits);
        p.add(EmbedOp{qkv_rows, qkv});
        p.add(EmbedOp{alpha_rows, a});
        p.add(EmbedOp{beta_rows, beta});
        p.add(DeltaRuleOp{qkv, a, beta, conv, decay, bias, 0, c.tiled, out});
        p.add(GatherRowsOp{out, logits});
        p.add(LogitsOp{logits});
        const auto plan = backend->compile(p);
        ASSERT_TRUE(plan);
        const auto scale = static_cast<double>(
            std::fabs(*std::ranges::max_element(c.o, {}, [](float v) { return std::fabs(v); })));
        for (std::int64_t first = 0; first < c.n; first += cut) {
            const auto n = static_cast<std::size_t>(std::min(cut, c.n - first));
            std::vector<std::int32_t> tokens(n), rows(n), zeros(n, 0);
            std::iota(tokens.begin(), tokens.end(), static_cast<std::int32_t>(first));
            std::iota(rows.begin(), rows.end(), 0);
            RecurrentInput in;
            in.slot = 0;
            in.fresh = first == 0;
            in.n_certain = static_cast<std::int32_t>(n);
            ASSERT_TRUE(backend->run(*plan, {tokens, tokens, zeros, rows, 1, 0, {}, {&in, 1}}));
            for (const std::int32_t r : rows) {
                const auto got = backend->read_logits(r);
                const float* const want = c.o.data() + (first + r) * width;
                for (std::size_t i = 0; i < got.size(); ++i) {
                    ASSERT_NEAR(static_cast<double>(got[i]), static_cast<double>(want[i]),
                                1e-5 * scale)
                        << c.n << " rows, row " << first + r << ", column " << i;
                }
            }
        }
        expect_state(*backend, spec, c);
    }

    static void expect_state(Backend& backend, const RecurrentSpec& spec, const Case& c) {
        std::vector<float> got(static_cast<std::size_t>(state_bytes(spec)) / sizeof(float));
        backend.read_state(0, std::as_writable_bytes(std::span(got)));
        // Panels of 16 columns behind the rows before the convolution.
        const float* const panels = got.data() + 3 * spec.channels();
        double scale = 0;
        for (const float v : c.state)
            scale = std::max(scale, std::fabs(static_cast<double>(v)));
        for (std::int64_t h = 0; h < spec.n_v_heads; ++h) {
            for (std::int64_t v = 0; v < spec.v_dim; ++v) {
                for (std::int64_t k = 0; k < spec.k_dim; ++k) {
                    const std::int64_t at =
                        ((h * spec.v_dim / 16 + v / 16) * spec.k_dim + k) * 16 + v % 16;
                    const float want =
                        c.state[static_cast<std::size_t>((h * spec.v_dim + v) * spec.k_dim + k)];
                    ASSERT_NEAR(static_cast<double>(panels[at]), static_cast<double>(want),
                                1e-5 * scale)
                        << h << " " << v << " " << k;
                }
            }
        }
    }
};

TEST_P(GoldenDeltaRule, OutputsAndStatesHoweverCut) {
    const Golden golden = read_golden();
    ASSERT_GE(golden.cases.size(), 7U);
    for (const Case& c : golden.cases) {
        for (const std::int64_t cut : {c.n, std::int64_t{64}, std::int64_t{7}}) {
            check(golden.spec, c, cut);
            if (HasFatalFailure()) return;
        }
    }
}

std::vector<const kernels::KernelTable*> runnable() {
    std::vector<const kernels::KernelTable*> out;
    const std::uint32_t have = kernels::detect_cpu_features();
    for (const kernels::KernelTable* const* t = kernels::all_tables(); *t != nullptr; ++t) {
        if (((*t)->required & ~have) == 0) out.push_back(*t);
    }
    return out;
}

INSTANTIATE_TEST_SUITE_P(Tables, GoldenDeltaRule, testing::ValuesIn(runnable()),
                         [](const auto& info) { return std::string(info.param->isa); });

} // namespace
} // namespace bloom::compute
