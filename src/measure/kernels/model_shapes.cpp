#include <bloom/measure/kernel_bench.hpp>

namespace bloom::measure {

std::vector<KernelShape> shapes_of_model(const engine::SyntheticShape& model,
                                         kernels::WeightFormat format, std::int32_t context) {
    const engine::ModelConfig& c = model.config;
    std::vector<KernelShape> out;
    const auto add = [&](KernelShape shape, std::string_view role) {
        shape.format = format;
        shape.name = model.name + " " + std::string(role);
        out.push_back(std::move(shape));
    };
    const auto dense = [&](std::int64_t k, std::int64_t m, std::string_view role) {
        KernelShape shape;
        shape.k = k;
        shape.m = m;
        add(std::move(shape), role);
    };
    dense(c.d_model, c.q_dim(), "q");
    dense(c.d_model, c.kv_dim(), "k v");
    dense(c.q_dim(), c.d_model, "attention out");
    if (c.ffn_dim > 0) {
        dense(c.d_model, c.ffn_dim, "gate up");
        dense(c.ffn_dim, c.d_model, "down");
    }
    if (c.experts.n_experts > 0) {
        KernelShape moe;
        moe.op = KernelOp::moe;
        moe.k = c.d_model;
        moe.m = c.experts.ffn_dim;
        moe.n_experts = static_cast<std::int32_t>(c.experts.n_experts);
        moe.top_k = static_cast<std::int32_t>(c.experts.top_k);
        add(std::move(moe), "experts");
    }
    if (c.linear.n_v_heads > 0) {
        dense(c.d_model, c.linear.channels(), "qkv");
        dense(c.d_model, c.linear.v_width(), "z");
        dense(c.linear.v_width(), c.d_model, "delta out");
        KernelShape delta;
        delta.op = KernelOp::delta;
        delta.n_k_heads = static_cast<std::int32_t>(c.linear.n_k_heads);
        delta.n_v_heads = static_cast<std::int32_t>(c.linear.n_v_heads);
        delta.k_dim = static_cast<std::int32_t>(c.linear.k_dim);
        delta.v_dim = static_cast<std::int32_t>(c.linear.v_dim);
        add(std::move(delta), "delta rule");
    }
    dense(c.d_model, c.vocab_rows, "head");
    KernelShape attention;
    attention.op = KernelOp::attention;
    attention.n_heads = static_cast<std::int32_t>(c.n_heads);
    attention.n_kv_heads = static_cast<std::int32_t>(c.n_kv_heads);
    attention.head_dim = static_cast<std::int32_t>(c.head_dim);
    attention.context = context;
    add(std::move(attention), "attention");
    return out;
}

} // namespace bloom::measure
