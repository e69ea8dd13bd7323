"""Llama, Qwen2, Qwen3 and Qwen3-MoE."""
import math
from dataclasses import dataclass, field

import numpy as np
import torch

from golden import containers, vocab, writers
from golden.reference import Base, silu

ROWS = 304  # of the embedding: four more than there are tokens


@dataclass
class Config:
    arch: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn: int
    rows: int
    eps: float = 1e-5
    theta: float = 10000.0
    ctx: int = 1024
    tied: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    rope: dict = field(default_factory=dict)  # {"type": "llama3" | "yarn", ...}
    windows: tuple = ()  # of each layer, 0 = full
    n_experts: int = 0
    top_k: int = 0
    expert_ffn: int = 0
    norm_topk: bool = True
    sparse_step: int = 1  # layer i has experts when this divides i + 1 ...
    mlp_only: tuple = ()  # ... and i is not listed here

    def has_experts(self, i):
        return self.n_experts > 0 and (i + 1) % self.sparse_step == 0 and i not in self.mlp_only


def llama3_divisors(c):
    r = c.rope
    out = []
    for j in range(c.head_dim // 2):
        inv_freq = c.theta ** (-2.0 * j / c.head_dim)
        wavelength = 2 * math.pi / inv_freq
        if wavelength < r["original"] / r["high"]:
            out.append(1.0)
        elif wavelength > r["original"] / r["low"]:
            out.append(r["factor"])
        else:
            t = (r["original"] / wavelength - r["low"]) / (r["high"] - r["low"])
            out.append(1.0 / ((1 - t) / r["factor"] + t))
    return out


def rope_frequencies(c, divisors=None):
    """(inverse frequencies float64 [d/2], multiplier of q and k)."""
    j = np.arange(c.head_dim // 2, dtype=np.float64)
    inv_freq = c.theta ** (-2.0 * j / c.head_dim)
    kind = c.rope.get("type")
    if kind is None:
        return inv_freq, 1.0
    if kind == "llama3":
        return inv_freq / np.asarray(llama3_divisors(c) if divisors is None else divisors, np.float64), 1.0
    s, n0, d = c.rope["factor"], c.rope["original"], c.head_dim

    def pair_with(rotations):
        return d * math.log(n0 / (2 * math.pi * rotations)) / (2 * math.log(c.theta))

    low = max(math.floor(pair_with(32)), 0)
    high = min(math.ceil(pair_with(1)), d - 1)
    ramp = np.clip((j - low) / ((high - low) if high != low else 0.001), 0, 1)
    return inv_freq * (1 - ramp) + inv_freq / s * ramp, 0.1 * math.log(s) + 1


LLAMA3 = {"type": "llama3", "factor": 8.0, "low": 1.0, "high": 4.0, "original": 32}
YARN = {"type": "yarn", "factor": 4.0, "original": 64}

CASES = {
    "llama-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=11,
        config=Config("llama", 2, 128, 4, 2, 32, 192, ROWS, rope=LLAMA3)),
    "llama-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=12, shards=2,
        config=Config("llama", 2, 128, 4, 2, 32, 192, ROWS, theta=50000.0, rope=LLAMA3)),
    "llama-hf-bf16": dict(
        container="hf", kind="bf16", seed=13,
        config=Config("llama", 2, 64, 4, 4, 16, 96, ROWS, qkv_bias=True, out_bias=True, mlp_bias=True, rope=YARN,
                      windows=(24, 0))),
    "qwen2-gguf-f16": dict(
        container="gguf", kind="f16", seed=14,
        config=Config("qwen2", 2, 64, 4, 2, 16, 96, ROWS, eps=1e-6, theta=1e6, tied=True, qkv_bias=True)),
    "qwen3-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=15,
        config=Config("qwen3", 3, 96, 4, 2, 32, 160, ROWS, eps=1e-6, theta=1e6, tied=True, qk_norm=True)),
    "qwen3-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=16,
        config=Config("qwen3", 2, 128, 3, 1, 64, 192, ROWS, eps=1e-6, theta=1e6, tied=True, qk_norm=True)),
    "qwen3moe-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=17,
        config=Config("qwen3moe", 2, 64, 4, 2, 32, 96, ROWS, eps=1e-6, theta=1e6, qk_norm=True,
                      n_experts=8, top_k=3, expert_ffn=64)),
    "qwen3moe-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=18,
        config=Config("qwen3moe", 2, 128, 4, 1, 32, 192, ROWS, eps=1e-6, theta=1e6, tied=True, qk_norm=True,
                      n_experts=6, top_k=2, expert_ffn=64, norm_topk=False, mlp_only=(0,))),
    "qwen3moe-hf-bf16": dict(
        container="hf", kind="bf16", seed=19,
        config=Config("qwen3moe", 2, 64, 4, 2, 16, 96, ROWS, eps=1e-6, theta=1e6, tied=True, qk_norm=True,
                      n_experts=7, top_k=2, expert_ffn=48, sparse_step=2)),
}

GGUF_NAMES = {
    "tok_embd": "token_embd.weight", "output_norm": "output_norm.weight", "output": "output.weight",
    "attn_norm": "attn_norm.weight", "wq": "attn_q.weight", "wk": "attn_k.weight", "wv": "attn_v.weight",
    "wo": "attn_output.weight", "bq": "attn_q.bias", "bk": "attn_k.bias", "bv": "attn_v.bias",
    "bo": "attn_output.bias", "q_norm": "attn_q_norm.weight", "k_norm": "attn_k_norm.weight",
    "ffn_norm": "ffn_norm.weight", "w_gate": "ffn_gate.weight", "w_up": "ffn_up.weight",
    "w_down": "ffn_down.weight", "b_gate": "ffn_gate.bias", "b_up": "ffn_up.bias", "b_down": "ffn_down.bias",
    "w_router": "ffn_gate_inp.weight", "w_gate_exps": "ffn_gate_exps.weight", "w_up_exps": "ffn_up_exps.weight",
    "w_down_exps": "ffn_down_exps.weight",
}
HF_NAMES = {
    "tok_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight", "output": "lm_head.weight",
    "attn_norm": "input_layernorm.weight", "wq": "self_attn.q_proj.weight", "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight", "wo": "self_attn.o_proj.weight", "bq": "self_attn.q_proj.bias",
    "bk": "self_attn.k_proj.bias", "bv": "self_attn.v_proj.bias", "bo": "self_attn.o_proj.bias",
    "q_norm": "self_attn.q_norm.weight", "k_norm": "self_attn.k_norm.weight",
    "ffn_norm": "post_attention_layernorm.weight", "w_gate": "mlp.gate_proj.weight", "w_up": "mlp.up_proj.weight",
    "w_down": "mlp.down_proj.weight", "b_gate": "mlp.gate_proj.bias", "b_up": "mlp.up_proj.bias",
    "b_down": "mlp.down_proj.bias", "w_router": "mlp.gate.weight", "w_gate_exps": "mlp.switch_mlp.gate_proj.weight",
    "w_up_exps": "mlp.switch_mlp.up_proj.weight", "w_down_exps": "mlp.switch_mlp.down_proj.weight",
}


def random_weights(c, seed):
    """Scaled so that attention is neither flat nor one-hot, that no layer drowns the others, and that
    logits have a deviation of a few units."""
    d = writers.Drawer(seed)
    matrix, vector, w = d.matrix, d.vector, d.w
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    matrix("tok_embd", c.rows, c.d_model, 0.22 * np.sqrt(c.d_model))
    vector("output_norm", c.d_model, 1.0, 0.1)
    if not c.tied:
        matrix("output", c.rows, c.d_model, 2.5)
    for i in range(c.n_layers):
        vector(f"{i}.attn_norm", c.d_model, 1.0, 0.1)
        matrix(f"{i}.wq", q, c.d_model, 1.3)
        matrix(f"{i}.wk", kv, c.d_model, 1.3)
        matrix(f"{i}.wv", kv, c.d_model, 1.2)
        matrix(f"{i}.wo", c.d_model, q, 1.2)
        if c.qkv_bias:
            vector(f"{i}.bq", q, 0.0, 0.5)
            vector(f"{i}.bk", kv, 0.0, 0.5)
            w[f"{i}.bk"][:: c.head_dim] += 6.0  # a few channels of large magnitude, as the family has them
            vector(f"{i}.bv", kv, 0.0, 0.3)
        if c.out_bias:
            vector(f"{i}.bo", c.d_model, 0.0, 0.1)
        if c.qk_norm:
            vector(f"{i}.q_norm", c.head_dim, 1.1, 0.15)
            vector(f"{i}.k_norm", c.head_dim, 1.1, 0.15)
        vector(f"{i}.ffn_norm", c.d_model, 1.0, 0.1)
        if c.has_experts(i):
            matrix(f"{i}.w_router", c.n_experts, c.d_model, 1.6)
            for name, rows, k, gain in (("w_gate_exps", c.expert_ffn, c.d_model, 1.4),
                                        ("w_up_exps", c.expert_ffn, c.d_model, 1.2),
                                        ("w_down_exps", c.d_model, c.expert_ffn, 2.2)):
                d.stack(f"{i}.{name}", c.n_experts, rows, k, gain)
            continue
        matrix(f"{i}.w_gate", c.ffn, c.d_model, 1.4)
        matrix(f"{i}.w_up", c.ffn, c.d_model, 1.2)
        matrix(f"{i}.w_down", c.d_model, c.ffn, 1.5)
        if c.mlp_bias:
            vector(f"{i}.b_gate", c.ffn, 0.0, 0.2)
            vector(f"{i}.b_up", c.ffn, 0.0, 0.2)
            vector(f"{i}.b_down", c.d_model, 0.0, 0.1)
    return w


def plain_name(name, names, layer_prefix):
    layer, _, role = name.rpartition(".")
    return f"{layer_prefix}.{layer}.{names[role]}" if layer else names[role]


def permute_rows(w, head_dim):
    """What the GGUF converter does to q and k of llama: new[2j] = old[j], new[2j + 1] = old[j + d/2]."""
    heads = w.reshape(-1, 2, head_dim // 2, *w.shape[1:])
    return heads.swapaxes(1, 2).reshape(w.shape)


def gguf_kind(name, value, kind):
    """Vectors and routers in F32; in the F16 file one matrix in BF16 and one in F32, for such mixtures exist."""
    if value.ndim == 1 or name.endswith("w_router"):
        return "f32"
    if kind == "f16" and name == "0.w_up":
        return "bf16"
    if kind == "f16" and name == "1.wv":
        return "f32"
    return kind


def write_gguf(case, c, weights):
    g = containers.Gguf()
    a = c.arch
    g.put("general.architecture", a)
    g.put("general.name", f"golden {a} {case['kind']}")
    g.put(f"{a}.block_count", c.n_layers)
    g.put(f"{a}.context_length", c.ctx)
    g.put(f"{a}.embedding_length", c.d_model)
    g.put(f"{a}.feed_forward_length", c.ffn)
    g.put(f"{a}.attention.head_count", c.n_heads)
    g.put(f"{a}.attention.head_count_kv", c.n_kv_heads)
    if c.d_model != c.n_heads * c.head_dim:
        g.put(f"{a}.attention.key_length", c.head_dim)
        g.put(f"{a}.attention.value_length", c.head_dim)
    if c.n_experts:
        g.put(f"{a}.expert_count", c.n_experts)
        g.put(f"{a}.expert_used_count", c.top_k)
        g.put(f"{a}.expert_feed_forward_length", c.expert_ffn)
    g.put(f"{a}.attention.layer_norm_rms_epsilon", c.eps)
    g.put(f"{a}.rope.freq_base", c.theta)
    vocab.put_gguf(g, "llama-bpe" if a == "llama" else "qwen2", c.rows)
    values, formats, divisors = {}, {}, None
    if c.rope:
        divisors = np.asarray(llama3_divisors(c), np.float32)
        g.add("rope_freqs.weight", divisors.shape, "f32", divisors.tobytes())
    for name, w in weights.items():
        kind = gguf_kind(name, w, case["kind"])
        permuted = a == "llama" and name.rpartition(".")[2] in ("wq", "wk", "bq", "bk")
        stored = permute_rows(w, c.head_dim) if permuted else w
        raw, _, formats[name] = writers.encode(stored, kind)
        values[name] = writers.encode(w, kind)[1]  # row by row, so their order does not matter
        g.add(plain_name(name, GGUF_NAMES, "blk"), w.shape, kind, raw)
    return writers.Written({"model.gguf": g.build()}, values, formats, {"divisors": divisors})


def hf_config(case, c):
    out = {
        "architectures": [{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
                           "qwen3moe": "Qwen3MoeForCausalLM"}[c.arch]],
        "model_type": "qwen3_moe" if c.n_experts else c.arch, "hidden_act": "silu",
        "hidden_size": c.d_model, "intermediate_size": c.ffn,
        "num_hidden_layers": c.n_layers, "num_attention_heads": c.n_heads, "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim, "vocab_size": c.rows, "max_position_embeddings": c.ctx, "rms_norm_eps": c.eps,
        "rope_theta": c.theta, "tie_word_embeddings": c.tied, "torch_dtype": "bfloat16",
        "bos_token_id": vocab.BOS, "eos_token_id": vocab.IM_END,
    }
    if c.arch == "llama":
        out["attention_bias"], out["mlp_bias"] = c.qkv_bias, c.mlp_bias
    if c.rope.get("type") == "llama3":
        out["rope_scaling"] = {"rope_type": "llama3", "factor": c.rope["factor"], "low_freq_factor": c.rope["low"],
                               "high_freq_factor": c.rope["high"],
                               "original_max_position_embeddings": c.rope["original"]}
    elif c.rope:
        out["rope_scaling"] = {"type": "yarn", "factor": c.rope["factor"],
                               "original_max_position_embeddings": c.rope["original"]}
    if c.windows:
        out["layer_types"] = ["sliding_attention" if w else "full_attention" for w in c.windows]
        out["sliding_window"] = max(c.windows)
    if c.n_experts:
        out |= {"num_experts": c.n_experts, "num_experts_per_tok": c.top_k, "moe_intermediate_size": c.expert_ffn,
                "norm_topk_prob": c.norm_topk, "decoder_sparse_step": c.sparse_step,
                "mlp_only_layers": list(c.mlp_only)}
    if case["kind"] == "affine8":
        out |= writers.mlx_quantization(f"model.layers.{i}.mlp.gate" for i in range(c.n_layers) if c.has_experts(i))
    return out


def write_directory(case, c, weights):
    tensors, values, formats = [], {}, {}
    for name, w in weights.items():
        full = plain_name(name, HF_NAMES, "model.layers")
        if w.ndim == 3 and case["container"] == "hf":  # every expert is a module of its own
            parts = []
            for e in range(len(w)):
                raw, value = containers.encode_plain(w[e], "bf16")
                parts.append(value)
                tensors.append((full.replace("switch_mlp", f"experts.{e}"), w[e].shape, "bf16", raw))
            values[name], formats[name] = np.stack(parts), "plain"
        elif case["kind"] == "affine8" and w.ndim >= 2:
            parts, values[name] = writers.affine8(full.removesuffix(".weight"), w)
            tensors += parts
            formats[name] = "affine8"
        else:
            raw, values[name] = containers.encode_plain(w, "bf16")
            formats[name] = "plain"
            tensors.append((full, w.shape, "bf16", raw))
    producer = "mlx" if case["container"] == "mlx" else "pt"
    texts = vocab.hf_files("llama-bpe" if c.arch == "llama" else "qwen2")
    files = writers.directory(hf_config(case, c), tensors, producer, case.get("shards", 1), texts)
    return writers.Written(files, values, formats)


class Reference(Base):
    def __init__(self, config, weights, formats, divisors=None, dtype=torch.float64):
        super().__init__(config, weights, formats, dtype)
        self.inv_freq, self.rope_scale = rope_frequencies(config, divisors)

    def rotate(self, x):
        """x [n, heads, d]: pairs (j, j + d/2)."""
        n, _, d = x.shape
        cos, sin = self.rotation(n, self.inv_freq, self.rope_scale)
        a, b = x[..., : d // 2], x[..., d // 2 :]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, i, a, int8):
        c, n = self.c, a.shape[0]
        q = self.linear(f"{i}.wq", a, int8, f"{i}.bq").reshape(n, c.n_heads, c.head_dim)
        k = self.linear(f"{i}.wk", a, int8, f"{i}.bk").reshape(n, c.n_kv_heads, c.head_dim)
        v = self.linear(f"{i}.wv", a, int8, f"{i}.bv").reshape(n, c.n_kv_heads, c.head_dim)
        if c.qk_norm:
            q, k = self.rms(q, f"{i}.q_norm"), self.rms(k, f"{i}.k_norm")
        q, k = self.rotate(q), self.rotate(k)
        mixed = self.mixed_heads(q, self.cached(k, int8), self.cached(v, int8), c.windows[i] if c.windows else 0)
        return self.linear(f"{i}.wo", mixed, int8, f"{i}.bo")

    def feed_forward(self, i, b, int8):
        gate = self.linear(f"{i}.w_gate", b, int8, f"{i}.b_gate")
        up = self.linear(f"{i}.w_up", b, int8, f"{i}.b_up")
        return self.linear(f"{i}.w_down", silu(gate) * up, int8, f"{i}.b_down")

    def experts(self, i, b, int8):
        """The chosen experts' sum, and how far each row was from another choice: the difference between the
        last chosen and the first refused logit, in units of the logits' root mean square."""
        c = self.c
        routed = self.unquantised(f"{i}.w_router", b)
        order = torch.sort(routed, dim=-1, descending=True, stable=True)
        chosen = order.indices[:, : c.top_k]
        weights = torch.softmax(routed, -1).gather(-1, chosen)
        if c.norm_topk:
            weights = weights / weights.sum(-1, keepdim=True)
        margin = order.values[:, c.top_k - 1] - order.values[:, c.top_k]
        return self.chosen_experts(i, b, chosen, weights, int8), margin / routed.pow(2).mean(-1).sqrt()

    def layer(self, i, h, int8):
        h = h + self.attention(i, self.rms(h, f"{i}.attn_norm"), int8)
        b = self.rms(h, f"{i}.ffn_norm")
        if not self.c.has_experts(i):
            return h + self.feed_forward(i, b, int8), None
        added, margin = self.experts(i, b, int8)
        return h + added, margin
