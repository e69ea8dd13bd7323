#include <algorithm>

#include <bloom/measure/kernel_bench.hpp>

namespace bloom::measure {
namespace {

using engine::ModelConfig;

/// A layer of each kind of attention: heads of one shape, one window.
std::vector<std::int64_t> attention_kinds(const ModelConfig& c) {
    std::vector<std::int64_t> out;
    for (std::int64_t i = 0; i < c.n_layers; ++i) {
        const auto is_like = [&](std::int64_t other) {
            return c.is_global(i) == c.is_global(other) && c.window(i) == c.window(other);
        };
        if (!c.is_linear(i) && std::ranges::none_of(out, is_like)) out.push_back(i);
    }
    return out;
}

class Shapes {
public:
    Shapes(const engine::SyntheticShape& model, kernels::WeightFormat format)
        : name_(model.name), config_(model.config), format_(format) {}

    void dense(std::int64_t k, std::int64_t m, std::string_view role) {
        KernelShape shape;
        shape.k = k;
        shape.m = m;
        add(std::move(shape), role);
    }

    void attention_products() {
        bool has_plain = false;
        bool has_global = false;
        for (const std::int64_t layer : attention_kinds(config_)) {
            bool& has = config_.is_global(layer) ? has_global : has_plain;
            if (has) continue;
            has = true;
            const std::string full = config_.is_global(layer) ? "full " : "";
            const std::int64_t dim = config_.head_dim_of(layer);
            const std::int64_t width = config_.n_heads * dim;
            dense(config_.d_model, width, full + "q");
            dense(config_.d_model, config_.kv_heads_of(layer) * dim, full + "k v");
            dense(width, config_.d_model, full + "attention out");
        }
    }

    void feed_forward() {
        const ModelConfig& c = config_;
        if (c.ffn_dim > 0) {
            dense(c.d_model, c.ffn_dim, "gate up");
            dense(c.ffn_dim, c.d_model, "down");
        }
        if (c.experts.n_experts == 0) return;
        if (c.experts.shared_ffn_dim > 0) {
            dense(c.d_model, c.experts.shared_ffn_dim, "shared gate up");
            dense(c.experts.shared_ffn_dim, c.d_model, "shared down");
        }
        KernelShape moe;
        moe.op = KernelOp::moe;
        moe.k = c.d_model;
        moe.m = c.experts.ffn_dim;
        moe.n_experts = static_cast<std::int32_t>(c.experts.n_experts);
        moe.top_k = static_cast<std::int32_t>(c.experts.top_k);
        add(std::move(moe), "experts");
    }

    void linear_attention() {
        const engine::LinearConfig& l = config_.linear;
        if (l.n_v_heads == 0) return;
        dense(config_.d_model, l.channels(), "qkv");
        dense(config_.d_model, l.v_width(), "z");
        dense(l.v_width(), config_.d_model, "delta out");
        KernelShape delta;
        delta.op = KernelOp::delta;
        delta.n_k_heads = static_cast<std::int32_t>(l.n_k_heads);
        delta.n_v_heads = static_cast<std::int32_t>(l.n_v_heads);
        delta.k_dim = static_cast<std::int32_t>(l.k_dim);
        delta.v_dim = static_cast<std::int32_t>(l.v_dim);
        add(std::move(delta), "delta rule");
    }

    void attention(std::int32_t context) {
        for (const std::int64_t layer : attention_kinds(config_)) {
            const std::int64_t window = config_.window(layer);
            KernelShape shape;
            shape.op = KernelOp::attention;
            shape.n_heads = static_cast<std::int32_t>(config_.n_heads);
            shape.n_kv_heads = static_cast<std::int32_t>(config_.kv_heads_of(layer));
            shape.head_dim = static_cast<std::int32_t>(config_.head_dim_of(layer));
            shape.context =
                window == 0 ? context
                            : static_cast<std::int32_t>(std::min<std::int64_t>(context, window));
            add(std::move(shape), window == 0 ? "attention" : "attention in a window");
        }
    }

    std::vector<KernelShape> all() && { return std::move(all_); }

private:
    void add(KernelShape shape, std::string_view role) {
        shape.format = format_;
        shape.name = name_ + " " + std::string(role);
        all_.push_back(std::move(shape));
    }

    const std::string& name_;
    const ModelConfig& config_;
    kernels::WeightFormat format_;
    std::vector<KernelShape> all_;
};

} // namespace

std::vector<KernelShape> shapes_of_model(const engine::SyntheticShape& model,
                                         kernels::WeightFormat format, std::int32_t context) {
    Shapes shapes(model, format);
    shapes.attention_products();
    shapes.feed_forward();
    shapes.linear_attention();
    shapes.dense(model.config.d_model, model.config.vocab_rows, "head");
    shapes.attention(context);
    return std::move(shapes).all();
}

} // namespace bloom::measure
