#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <numbers>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/rng.hpp>

/// Small random models for tests: a GGUF image in memory and an obvious double-precision forward
/// pass over the same weights, written from the published equations and sharing no code with the
/// engine.
namespace bloom::test {

struct TinyShape {
    std::string arch = "llama"; ///< llama, qwen2, qwen3 or qwen3moe
    int n_layers = 2;
    int d_model = 64;
    int n_heads = 4;
    int n_kv_heads = 2;
    int head_dim = 16;
    int ffn_dim = 96;
    int vocab_rows = 320; ///< beyond the tokenizer's 260 ids: padding
    int ctx_len = 512;
    double theta = 10000.0;
    double eps = 1e-5;
    bool tied = false;
    bool q8 = false;                ///< matrices as Q8_0, else f32
    double output_scale = 1.0;      ///< larger: more decided logits
    std::string chat_template = {}; ///< empty: none
    std::uint64_t seed = 1;
    int window = 0;    ///< tokens that every layer sees; 0: all
    int n_experts = 6; ///< qwen3moe only, as the following two
    int top_k = 2;
    int expert_ffn = 64;

    bool is_moe() const { return arch == "qwen3moe"; }

    bool has_qk_norm() const { return arch == "qwen3" || is_moe(); }
};

/// Ids of the tiny tokenizer: 0..255 the bytes, then these.
inline constexpr int kTinyBos = 256;
inline constexpr int kTinyEos = 257;
inline constexpr int kTinyStart = 258; ///< <|im_start|>
inline constexpr int kTinyEnd = 259;   ///< <|im_end|>
inline constexpr int kTinyTokens = 260;

class TinyModel {
public:
    explicit TinyModel(TinyShape shape) : s_(std::move(shape)), rng_(s_.seed) {
        matrix("token_embd.weight", s_.vocab_rows, s_.d_model, 1.0);
        vector("output_norm.weight", s_.d_model);
        if (!s_.tied) {
            matrix("output.weight", s_.vocab_rows, s_.d_model, s_.output_scale);
        }
        for (int l = 0; l < s_.n_layers; ++l)
            add_layer("blk." + std::to_string(l) + ".");
    }

    const TinyShape& shape() const { return s_; }

    /// The model file. q and k rows of arch llama are permuted as converters do.
    std::vector<std::uint8_t> gguf() const {
        Writer w;
        w.text("GGUF");
        w.u32(3);
        w.u64(tensors_.size());
        Writer kv;
        std::uint64_t n_kv = write_metadata(kv);
        w.u64(n_kv);
        w.bytes.insert(w.bytes.end(), kv.bytes.begin(), kv.bytes.end());
        Writer data;
        for (const auto& [name, t] : tensors_) {
            w.string(name);
            const int stacked = t.stacked ? s_.n_experts : 1;
            w.u32(t.rows == 0 ? 1 : t.stacked ? 3 : 2);
            w.u64(static_cast<std::uint64_t>(t.cols));
            if (t.rows != 0) w.u64(static_cast<std::uint64_t>(t.rows / stacked));
            if (t.stacked) w.u64(static_cast<std::uint64_t>(stacked));
            w.u32(t.blocks.empty() ? 0 : 8);
            w.u64(data.bytes.size());
            write_tensor(data, name, t);
            while (data.bytes.size() % 32 != 0)
                data.bytes.push_back(0);
        }
        while (w.bytes.size() % 32 != 0)
            w.bytes.push_back(0);
        w.bytes.insert(w.bytes.end(), data.bytes.begin(), data.bytes.end());
        return w.bytes;
    }

    /// Logits of every position, f64.
    std::vector<std::vector<double>> forward(const std::vector<std::int32_t>& tokens) const {
        const auto n = tokens.size();
        std::vector<std::vector<double>> h(n);
        const Tensor& embd = at("token_embd.weight");
        for (std::size_t t = 0; t < n; ++t)
            h[t] = row(embd, tokens[t]);
        for (int l = 0; l < s_.n_layers; ++l) {
            const std::string p = "blk." + std::to_string(l) + ".";
            attention(h, p);
            feed_forward(h, p);
        }
        const Tensor& head = s_.tied ? embd : at("output.weight");
        std::vector<std::vector<double>> logits;
        for (const auto& x : h)
            logits.push_back(times(head, rms(x, "output_norm.weight")));
        return logits;
    }

private:
    using Vec = std::vector<double>;

    struct Tensor {
        int rows = 0; ///< 0: a vector
        int cols = 0;
        std::vector<float> values;             ///< what the file means, after its rounding
        std::vector<std::uint8_t> blocks = {}; ///< Q8_0, rows in model order
        bool stacked = false;                  ///< experts, one after the other
    };

    struct Writer {
        std::vector<std::uint8_t> bytes;

        void raw(const void* p, std::size_t n) {
            const auto* b = static_cast<const std::uint8_t*>(p);
            bytes.insert(bytes.end(), b, b + n);
        }

        void text(std::string_view t) { raw(t.data(), t.size()); }

        void u32(std::uint32_t v) { raw(&v, 4); }

        void u64(std::uint64_t v) { raw(&v, 8); }

        void string(std::string_view t) {
            u64(t.size());
            text(t);
        }

        void kv_u32(std::string_view key, int v) {
            string(key);
            u32(4);
            u32(static_cast<std::uint32_t>(v));
        }

        void kv_f32(std::string_view key, double v) {
            string(key);
            u32(6);
            const auto f = static_cast<float>(v);
            raw(&f, 4);
        }

        void kv_string(std::string_view key, std::string_view v) {
            string(key);
            u32(8);
            string(v);
        }
    };

    static float half_to_float(std::uint16_t h) {
        const int exponent = h >> 10 & 31;
        const double mantissa = (h & 1023) / 1024.0;
        const double v =
            exponent == 0 ? std::ldexp(mantissa, -14) : std::ldexp(1.0 + mantissa, exponent - 15);
        return static_cast<float>((h & 0x8000) != 0 ? -v : v);
    }

    static std::uint16_t float_to_half(float f) { // positive, in range; rounds to nearest
        if (f == 0.0F) return 0;
        int e = 0;
        const double m = std::frexp(f, &e); // m in [0.5, 1)
        if (e - 1 < -14) return static_cast<std::uint16_t>(std::lrint(std::ldexp(f, 24)));
        const long mantissa = std::lrint((m * 2.0 - 1.0) * 1024.0);
        return static_cast<std::uint16_t>((e - 1 + 15) * 1024 + mantissa);
    }

    void matrix(const std::string& name, int rows, int cols, double scale, bool exact = false) {
        Tensor t{rows, cols, {}};
        const double width = scale * std::sqrt(3.0 / cols);
        for (int i = 0; i < rows * cols; ++i)
            t.values.push_back(static_cast<float>((rng_.uniform() * 2 - 1) * width));
        if (s_.q8 && !exact) quantise(t);
        tensors_[name] = std::move(t);
    }

    void vector(const std::string& name, int n, double centre = 1.0) {
        Tensor t{0, n, {}};
        for (int i = 0; i < n; ++i)
            t.values.push_back(static_cast<float>(centre + (rng_.uniform() - 0.5) * 0.4));
        tensors_[name] = std::move(t);
    }

    static void quantise(Tensor& t) {
        for (std::size_t b = 0; b < t.values.size(); b += 32) {
            float amax = 0;
            for (std::size_t i = 0; i < 32; ++i)
                amax = std::max(amax, std::abs(t.values[b + i]));
            const std::uint16_t half = float_to_half(amax / 127.0F);
            const float d = half_to_float(half);
            t.blocks.push_back(static_cast<std::uint8_t>(half & 255));
            t.blocks.push_back(static_cast<std::uint8_t>(half >> 8));
            for (std::size_t i = 0; i < 32; ++i) {
                const long q = d == 0 ? 0 : std::lrint(t.values[b + i] / d);
                const auto code = static_cast<std::int8_t>(std::min(127L, std::max(-127L, q)));
                t.blocks.push_back(static_cast<std::uint8_t>(code));
                t.values[b + i] = d * static_cast<float>(code);
            }
        }
    }

    void add_layer(const std::string& p) {
        const int q = s_.n_heads * s_.head_dim;
        const int kv = s_.n_kv_heads * s_.head_dim;
        vector(p + "attn_norm.weight", s_.d_model);
        matrix(p + "attn_q.weight", q, s_.d_model, 2.0);
        matrix(p + "attn_k.weight", kv, s_.d_model, 2.0);
        matrix(p + "attn_v.weight", kv, s_.d_model, 1.0);
        matrix(p + "attn_output.weight", s_.d_model, q, 1.0);
        if (s_.arch == "qwen2") {
            vector(p + "attn_q.bias", q, 0.3);
            vector(p + "attn_k.bias", kv, -0.2);
            vector(p + "attn_v.bias", kv, 0.1);
        }
        if (s_.has_qk_norm()) {
            vector(p + "attn_q_norm.weight", s_.head_dim);
            vector(p + "attn_k_norm.weight", s_.head_dim);
        }
        vector(p + "ffn_norm.weight", s_.d_model);
        if (s_.is_moe()) {
            const int e = s_.n_experts;
            matrix(p + "ffn_gate_inp.weight", e, s_.d_model, 2.0, true);
            matrix(p + "ffn_gate_exps.weight", e * s_.expert_ffn, s_.d_model, 1.0);
            matrix(p + "ffn_up_exps.weight", e * s_.expert_ffn, s_.d_model, 1.0);
            matrix(p + "ffn_down_exps.weight", e * s_.d_model, s_.expert_ffn, 1.5);
            for (const char* which : {"gate", "up", "down"})
                tensors_[p + "ffn_" + which + "_exps.weight"].stacked = true;
            return;
        }
        matrix(p + "ffn_gate.weight", s_.ffn_dim, s_.d_model, 1.0);
        matrix(p + "ffn_up.weight", s_.ffn_dim, s_.d_model, 1.0);
        matrix(p + "ffn_down.weight", s_.d_model, s_.ffn_dim, 1.0);
    }

    std::uint64_t write_metadata(Writer& w) const {
        const std::string a = s_.arch + ".";
        w.kv_string("general.architecture", s_.arch);
        w.kv_string("general.name", "tiny");
        w.kv_u32(a + "block_count", s_.n_layers);
        w.kv_u32(a + "context_length", s_.ctx_len);
        w.kv_u32(a + "embedding_length", s_.d_model);
        w.kv_u32(a + "feed_forward_length", s_.ffn_dim);
        w.kv_u32(a + "attention.head_count", s_.n_heads);
        w.kv_u32(a + "attention.head_count_kv", s_.n_kv_heads);
        w.kv_u32(a + "attention.key_length", s_.head_dim);
        w.kv_u32(a + "attention.value_length", s_.head_dim);
        w.kv_f32(a + "attention.layer_norm_rms_epsilon", s_.eps);
        w.kv_f32(a + "rope.freq_base", s_.theta);
        if (s_.is_moe()) {
            w.kv_u32(a + "expert_count", s_.n_experts);
            w.kv_u32(a + "expert_used_count", s_.top_k);
            w.kv_u32(a + "expert_feed_forward_length", s_.expert_ffn);
        }
        if (s_.window > 0) w.kv_u32(a + "attention.sliding_window", s_.window);
        w.kv_string("tokenizer.ggml.model", "gpt2");
        w.kv_string("tokenizer.ggml.pre", "gpt-2");
        w.kv_u32("tokenizer.ggml.bos_token_id", kTinyBos);
        w.kv_u32("tokenizer.ggml.eos_token_id", kTinyEos);
        w.string("tokenizer.ggml.tokens");
        w.u32(9);
        w.u32(8);
        w.u64(kTinyTokens);
        int beyond = 256;
        for (int b = 0; b < 256; ++b) { // the printable alphabet for bytes of GPT-2
            const bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
            w.string(utf8(plain ? b : beyond++));
        }
        for (const char* t : {"<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"})
            w.string(t);
        w.string("tokenizer.ggml.token_type");
        w.u32(9);
        w.u32(5);
        w.u64(kTinyTokens);
        for (int i = 0; i < kTinyTokens; ++i)
            w.u32(i < 256 ? 1 : 3);
        w.string("tokenizer.ggml.merges");
        w.u32(9);
        w.u32(8);
        w.u64(0);
        const std::uint64_t n = (s_.window > 0 ? 20U : 19U) + (s_.is_moe() ? 3U : 0U);
        if (s_.chat_template.empty()) return n;
        w.kv_string("tokenizer.chat_template", s_.chat_template);
        return n + 1;
    }

    static std::string utf8(int cp) {
        if (cp < 0x80) return std::string(1, static_cast<char>(cp));
        return {static_cast<char>(0xc0 | cp >> 6), static_cast<char>(0x80 | (cp & 63))};
    }

    /// Row of the model that stands at row `r` of the file.
    int model_row(const std::string& name, int r) const {
        const bool permuted = s_.arch == "llama" && (name.find("attn_q.") != std::string::npos ||
                                                     name.find("attn_k.") != std::string::npos);
        if (!permuted) return r;
        const int head = r / s_.head_dim * s_.head_dim;
        const int i = r % s_.head_dim;
        return head + i / 2 + (i % 2) * s_.head_dim / 2;
    }

    void write_tensor(Writer& w, const std::string& name, const Tensor& t) const {
        const auto cols = static_cast<std::size_t>(t.cols);
        if (t.rows == 0) {
            w.raw(t.values.data(), cols * 4);
            return;
        }
        for (int r = 0; r < t.rows; ++r) {
            const auto from = static_cast<std::size_t>(model_row(name, r));
            if (!t.blocks.empty()) {
                w.raw(t.blocks.data() + from * cols / 32 * 34, cols / 32 * 34);
            } else {
                w.raw(t.values.data() + from * cols, cols * 4);
            }
        }
    }

    const Tensor& at(const std::string& name) const { return tensors_.at(name); }

    static Vec row(const Tensor& t, int r) {
        const auto first = t.values.begin() + static_cast<std::ptrdiff_t>(r) * t.cols;
        return {first, first + t.cols};
    }

    static Vec times(const Tensor& m, const Vec& x) {
        Vec y(static_cast<std::size_t>(m.rows), 0.0);
        for (std::size_t r = 0; r < y.size(); ++r) {
            for (std::size_t c = 0; c < x.size(); ++c)
                y[r] += static_cast<double>(m.values[r * x.size() + c]) * x[c];
        }
        return y;
    }

    Vec rms(const Vec& x, const std::string& weight) const {
        double sum = 0;
        for (const double v : x)
            sum += v * v;
        const double scale = 1.0 / std::sqrt(sum / static_cast<double>(x.size()) +
                                             static_cast<double>(static_cast<float>(s_.eps)));
        Vec y;
        for (std::size_t i = 0; i < x.size(); ++i)
            y.push_back(x[i] * scale * static_cast<double>(at(weight).values[i]));
        return y;
    }

    Vec project(const Vec& x, const std::string& p, const std::string& which) const {
        Vec y = times(at(p + which + ".weight"), x);
        if (const auto bias = tensors_.find(p + which + ".bias"); bias != tensors_.end()) {
            for (std::size_t i = 0; i < y.size(); ++i)
                y[i] += static_cast<double>(bias->second.values[i]);
        }
        return y;
    }

    void rotate(Vec& x, int n_heads, std::size_t position, const std::string& norm) const {
        const auto d = static_cast<std::size_t>(s_.head_dim);
        for (std::size_t h = 0; h < static_cast<std::size_t>(n_heads); ++h) {
            Vec head(x.begin() + static_cast<std::ptrdiff_t>(h * d),
                     x.begin() + static_cast<std::ptrdiff_t>((h + 1) * d));
            if (s_.has_qk_norm()) head = rms(head, norm);
            for (std::size_t j = 0; j < d / 2; ++j) {
                const double angle =
                    static_cast<double>(position) *
                    std::pow(s_.theta, -2.0 * static_cast<double>(j) / static_cast<double>(d));
                const double a = head[j];
                const double b = head[j + d / 2];
                x[h * d + j] = a * std::cos(angle) - b * std::sin(angle);
                x[h * d + j + d / 2] = b * std::cos(angle) + a * std::sin(angle);
            }
        }
    }

    void attention(std::vector<Vec>& h, const std::string& p) const {
        std::vector<Vec> q, k, v;
        for (std::size_t t = 0; t < h.size(); ++t) {
            const Vec a = rms(h[t], p + "attn_norm.weight");
            q.push_back(project(a, p, "attn_q"));
            k.push_back(project(a, p, "attn_k"));
            v.push_back(project(a, p, "attn_v"));
            rotate(q[t], s_.n_heads, t, p + "attn_q_norm.weight");
            rotate(k[t], s_.n_kv_heads, t, p + "attn_k_norm.weight");
        }
        const auto d = static_cast<std::size_t>(s_.head_dim);
        for (std::size_t t = 0; t < h.size(); ++t) {
            Vec out(q[t].size(), 0.0);
            for (std::size_t head = 0; head < static_cast<std::size_t>(s_.n_heads); ++head) {
                const std::size_t kv = head / static_cast<std::size_t>(s_.n_heads / s_.n_kv_heads);
                Vec weight;
                double total = 0;
                const auto window = static_cast<std::size_t>(s_.window);
                const std::size_t first = window == 0 || t < window ? 0 : t - window + 1;
                for (std::size_t r = first; r <= t; ++r) {
                    double dot = 0;
                    for (std::size_t i = 0; i < d; ++i)
                        dot += q[t][head * d + i] * k[r][kv * d + i];
                    weight.push_back(std::exp(dot / std::sqrt(static_cast<double>(d))));
                    total += weight.back();
                }
                for (std::size_t r = first; r <= t; ++r) {
                    for (std::size_t i = 0; i < d; ++i)
                        out[head * d + i] += weight[r - first] / total * v[r][kv * d + i];
                }
            }
            const Vec add = project(out, p, "attn_output");
            for (std::size_t i = 0; i < add.size(); ++i)
                h[t][i] += add[i];
        }
    }

    void feed_forward(std::vector<Vec>& h, const std::string& p) const {
        for (Vec& x : h) {
            const Vec b = rms(x, p + "ffn_norm.weight");
            if (s_.is_moe()) {
                add_experts(x, b, p);
                continue;
            }
            Vec gate = project(b, p, "ffn_gate");
            const Vec up = project(b, p, "ffn_up");
            for (std::size_t i = 0; i < gate.size(); ++i)
                gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
            const Vec add = project(gate, p, "ffn_down");
            for (std::size_t i = 0; i < add.size(); ++i)
                x[i] += add[i];
        }
    }

    /// Rows [e * rows, (e + 1) * rows) of a stack times x.
    Vec expert(const std::string& name, int e, const Vec& x) const {
        const Tensor& t = at(name);
        const auto rows = static_cast<std::size_t>(t.rows / s_.n_experts);
        const std::size_t first = static_cast<std::size_t>(e) * rows * x.size();
        Vec y(rows, 0.0);
        for (std::size_t i = 0; i < rows * x.size(); ++i)
            y[i / x.size()] += static_cast<double>(t.values[first + i]) * x[i % x.size()];
        return y;
    }

    void add_experts(Vec& x, const Vec& b, const std::string& p) const {
        const Vec logits = times(at(p + "ffn_gate_inp.weight"), b);
        std::vector<int> order(logits.size());
        std::iota(order.begin(), order.end(), 0);
        const auto logit = [&](int e) { return logits[static_cast<std::size_t>(e)]; };
        std::ranges::sort(order, [&](int i, int j) {
            return logit(i) != logit(j) ? logit(i) > logit(j) : i < j;
        });
        order.resize(static_cast<std::size_t>(s_.top_k));
        double total = 0; // the softmax's own denominator cancels
        for (const int e : order)
            total += std::exp(logit(e));
        for (const int e : order) {
            Vec gate = expert(p + "ffn_gate_exps.weight", e, b);
            const Vec up = expert(p + "ffn_up_exps.weight", e, b);
            for (std::size_t i = 0; i < gate.size(); ++i)
                gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
            const Vec down = expert(p + "ffn_down_exps.weight", e, gate);
            for (std::size_t i = 0; i < x.size(); ++i)
                x[i] += std::exp(logit(e)) / total * down[i];
        }
    }

    TinyShape s_;
    Rng rng_;
    std::map<std::string, Tensor> tensors_;
};

} // namespace bloom::test
