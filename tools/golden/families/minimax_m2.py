"""MiniMax M2: full attention with a norm over the whole projections of q and k, half of each head rotated, experts
chosen by biased sigmoid scores in every layer."""
import math
from dataclasses import dataclass

import torch

from golden import containers, features, vocab_bytes, writers
from golden.features import Breakable, powers

VOCABULARY = vocab_bytes.minimax_m2()
NOISE, N_NOISY, N_STEADY = features.NOISE, 24, 4
ROWS = 304  # of the embedding: four more than there are tokens


@dataclass
class Config:
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    rotary_dim: int
    n_experts: int
    top_k: int
    expert_ffn: int
    rows: int = ROWS
    arch: str = "minimax-m2"
    eps: float = 1e-6
    theta: float = 5e6
    ctx: int = 1024
    tied: bool = False


CASES = {
    "minimax-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=61, int8_tokens=8,
        config=Config(3, 96, 6, 2, 32, 16, 5, 2, 32)),
    "minimax-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=62, shards=2, int8_tokens=8,
        config=Config(2, 64, 6, 2, 32, 16, 4, 2, 192)),
    # The rotated part as a factor, as newer files have it.
    "minimax-hf-bf16": dict(
        container="hf", kind="bf16", seed=63,
        config=Config(3, 48, 6, 2, 16, 8, 7, 3, 40)),
}

GGUF_NAMES = {
    "tok_embd": "token_embd.weight", "output_norm": "output_norm.weight", "output": "output.weight",
    "attn_norm": "attn_norm.weight", "wq": "attn_q.weight", "wk": "attn_k.weight", "wv": "attn_v.weight",
    "wo": "attn_output.weight", "q_norm": "attn_q_norm.weight", "k_norm": "attn_k_norm.weight",
    "ffn_norm": "ffn_norm.weight", "w_router": "ffn_gate_inp.weight", "selection_bias": "exp_probs_b.bias",
    "w_gate_exps": "ffn_gate_exps.weight", "w_up_exps": "ffn_up_exps.weight", "w_down_exps": "ffn_down_exps.weight",
}
HF_NAMES = {
    "tok_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight", "output": "lm_head.weight",
    "attn_norm": "input_layernorm.weight", "wq": "self_attn.q_proj.weight", "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight", "wo": "self_attn.o_proj.weight", "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight", "ffn_norm": "post_attention_layernorm.weight",
    "w_router": "block_sparse_moe.gate.weight", "selection_bias": "block_sparse_moe.e_score_correction_bias",
    "w_gate_exps": "block_sparse_moe.switch_mlp.gate_proj.weight",
    "w_up_exps": "block_sparse_moe.switch_mlp.up_proj.weight",
    "w_down_exps": "block_sparse_moe.switch_mlp.down_proj.weight",
}
EXPERT_NAMES = {"w_gate_exps": "w1", "w_up_exps": "w3", "w_down_exps": "w2"}


def random_weights(c, seed):
    d = writers.Drawer(seed)
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    d.matrix("tok_embd", c.rows, c.d_model, 0.25 * math.sqrt(c.d_model))
    d.vector("output_norm", c.d_model, 1.0, 0.2)
    d.matrix("output", c.rows, c.d_model, 2.5)
    for i in range(c.n_layers):
        d.vector(f"{i}.attn_norm", c.d_model, 1.0, 0.2)
        d.matrix(f"{i}.wq", q, c.d_model, 1.2)
        d.matrix(f"{i}.wk", kv, c.d_model, 1.2)
        # Heads of different size, so that a norm over all of them is another than one over each.
        for role, n in (("wq", c.n_heads), ("wk", c.n_kv_heads)):
            sizes = 0.5 + d.rng.random(n)
            d.w[f"{i}.{role}"] *= sizes.repeat(c.head_dim)[:, None]
        d.matrix(f"{i}.wv", kv, c.d_model, 1.2)
        d.vector(f"{i}.q_norm", q, 1.3, 0.25)
        d.vector(f"{i}.k_norm", kv, 1.3, 0.25)
        d.matrix(f"{i}.wo", c.d_model, q, 1.2)
        d.vector(f"{i}.ffn_norm", c.d_model, 1.0, 0.2)
        d.matrix(f"{i}.w_router", c.n_experts, c.d_model, 1.4)
        d.vector(f"{i}.selection_bias", c.n_experts, 0.0, 0.25)
        d.stack(f"{i}.w_gate_exps", c.n_experts, c.expert_ffn, c.d_model, 1.5)
        d.stack(f"{i}.w_up_exps", c.n_experts, c.expert_ffn, c.d_model, 1.2)
        d.stack(f"{i}.w_down_exps", c.n_experts, c.d_model, c.expert_ffn, 2.2)
    return d.w


# --- containers ----------------------------------------------------------------------------------------
def full_name(name, names, layers):
    layer, _, role = name.rpartition(".")
    return f"{layers}.{layer}.{names[role]}" if layer else names[role]


def write_gguf(case, c, weights):
    g = containers.Gguf()

    def put(key, value):
        g.put(f"minimax-m2.{key}", value)

    g.put("general.architecture", "minimax-m2")
    g.put("general.name", f"golden minimax-m2 {case['kind']}")
    put("block_count", c.n_layers)
    put("context_length", c.ctx)
    put("embedding_length", c.d_model)
    put("feed_forward_length", c.expert_ffn)
    put("expert_feed_forward_length", c.expert_ffn)
    put("attention.head_count", c.n_heads)
    put("attention.head_count_kv", c.n_kv_heads)
    put("attention.key_length", c.head_dim)
    put("attention.value_length", c.head_dim)
    put("attention.layer_norm_rms_epsilon", c.eps)
    put("rope.dimension_count", c.rotary_dim)
    put("rope.freq_base", c.theta)
    put("expert_count", c.n_experts)
    put("expert_used_count", c.top_k)
    put("expert_gating_func", 2)
    VOCABULARY.put_gguf(g, c.rows)
    values, formats = {}, {}
    for name, w in weights.items():
        kind = "f32" if w.ndim == 1 or name.endswith("w_router") else case["kind"]
        raw, values[name], formats[name] = writers.encode(w, kind)
        g.add(full_name(name, GGUF_NAMES, "blk"), w.shape, kind, raw)
    return writers.Written({"model.gguf": g.build()}, values, formats)


def hf_config(case, c):
    out = {
        "architectures": ["MiniMaxM2ForCausalLM"], "model_type": "minimax_m2", "hidden_act": "silu",
        "hidden_size": c.d_model, "num_hidden_layers": c.n_layers, "attn_type_list": [1] * c.n_layers,
        "num_attention_heads": c.n_heads, "num_key_value_heads": c.n_kv_heads, "head_dim": c.head_dim,
        "use_qk_norm": True, "qk_norm_type": "per_layer", "intermediate_size": c.expert_ffn,
        "shared_intermediate_size": 0, "num_local_experts": c.n_experts, "num_experts_per_tok": c.top_k,
        "scoring_func": "sigmoid", "use_routing_bias": True, "rms_norm_eps": c.eps, "max_position_embeddings": c.ctx,
        "tie_word_embeddings": False, "vocab_size": c.rows, "use_mtp": True, "num_mtp_modules": 3,
        "mtp_transformer_layers": 1, "torch_dtype": "bfloat16",
        "bos_token_id": VOCABULARY.role_id("bos"), "eos_token_id": VOCABULARY.role_id("eos"),
    }
    if case["container"] == "hf":
        out["rope_parameters"] = {"rope_theta": c.theta, "rope_type": "default",
                                  "partial_rotary_factor": c.rotary_dim / c.head_dim}
    else:
        out |= {"rope_theta": c.theta, "rotary_dim": c.rotary_dim}
        out |= writers.mlx_quantization(f"model.layers.{i}.block_sparse_moe.gate" for i in range(c.n_layers))
    return out


def write_directory(case, c, weights):
    mlx = case["container"] == "mlx"
    tensors, values, formats = [], {}, {}
    for name, w in weights.items():
        full = full_name(name, HF_NAMES, "model.layers")
        if mlx and w.ndim >= 2:
            parts, values[name] = writers.affine8(full.removesuffix(".weight"), w)
            formats[name] = "affine8"
            tensors += parts
            continue
        kind = "f32" if name.endswith("selection_bias") else "bf16"
        raw, values[name], formats[name] = writers.encode(w, kind)
        if w.ndim == 3:  # every expert is a module of its own
            layer, _, role = name.rpartition(".")
            size = len(raw) // len(w)
            for e in range(len(w)):
                part = f"model.layers.{layer}.block_sparse_moe.experts.{e}.{EXPERT_NAMES[role]}.weight"
                tensors.append((part, w[e].shape, kind, raw[e * size : (e + 1) * size]))
        else:
            tensors.append((full, w.shape, kind, raw))
    files = writers.directory(hf_config(case, c), tensors, "mlx" if mlx else "pt", case.get("shards", 1),
                              VOCABULARY.hf_files())
    return writers.Written(files, values, formats)


# --- the model -----------------------------------------------------------------------------------------
class Reference(Breakable):
    MISTAKES = {mistake: features.MOVES for mistake in (
        "norms of each head", "no query norm", "no key norm", "no rotation", "rotation of the whole head",
        "pairs half a head apart", "exponents over the head", "scores over the root of the rotated part",
        "heads dealt to KV heads in turn", "bias ignored", "bias in the weights", "weights not normalised",
        "softmax scores", "gate and up exchanged", "one plus the norms")}

    def rms(self, x, name):
        return (self.w[name] + 1 if self.wrong("one plus the norms") else self.w[name]) * self.unit(x)

    def normed(self, x, name):
        """x [n, heads * d], before it is cut into heads"""
        if not self.wrong("norms of each head"):
            return self.rms(x, name)
        heads = x.reshape(x.shape[0], -1, self.c.head_dim)
        return self.w[name] * self.unit(heads).reshape(x.shape)

    def turned(self, x):
        c = self.c
        if self.wrong("no rotation"):
            return x
        if self.wrong("rotation of the whole head"):
            return self.rotated(x, powers(c.theta, c.head_dim // 2, c.head_dim))
        exponents_over = c.head_dim if self.wrong("exponents over the head") else c.rotary_dim
        inverse = powers(c.theta, c.rotary_dim // 2, exponents_over)
        if self.wrong("pairs half a head apart"):
            still = [0.0] * (c.head_dim // 2 - len(inverse))
            return self.rotated(x, [*inverse, *still])
        return self.rotated(x, inverse)

    def attention(self, i, a, int8):
        c, n = self.c, a.shape[0]
        q, k = self.linear(f"{i}.wq", a, int8), self.linear(f"{i}.wk", a, int8)
        q = q if self.wrong("no query norm") else self.normed(q, f"{i}.q_norm")
        k = k if self.wrong("no key norm") else self.normed(k, f"{i}.k_norm")
        q, k = (self.turned(x.reshape(n, -1, c.head_dim)) for x in (q, k))
        v = self.linear(f"{i}.wv", a, int8).reshape(n, c.n_kv_heads, c.head_dim)
        k, v = self.cached(k, int8), self.cached(v, int8)
        if self.wrong("heads dealt to KV heads in turn"):
            turns = torch.arange(c.n_heads) % c.n_kv_heads
            k, v = k[:, turns], v[:, turns]
        width = c.rotary_dim if self.wrong("scores over the root of the rotated part") else c.head_dim
        return self.linear(f"{i}.wo", self.mixed_heads(q, k, v, scale=1 / math.sqrt(width)), int8)

    def experts(self, i, b, int8):
        """(the experts' sum, margins of the choice in units of the logits' root mean square: a score moves by at
        most a quarter of what its logit moves)."""
        z = self.unquantised(f"{i}.w_router", b)
        scores = torch.softmax(z, -1) if self.wrong("softmax scores") else torch.sigmoid(z)
        biased = scores + self.w[f"{i}.selection_bias"]
        chosen, margin = self.best_experts(scores if self.wrong("bias ignored") else biased,
                                           z.pow(2).mean(-1).sqrt() / 4)
        weights = (biased if self.wrong("bias in the weights") else scores).gather(-1, chosen)
        if not self.wrong("weights not normalised"):
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return self.chosen_experts(i, b, chosen, weights, int8), margin

    def linear(self, name, x, int8, bias=None, expert=None):
        if self.wrong("gate and up exchanged"):
            other = {"w_gate_exps": "w_up_exps", "w_up_exps": "w_gate_exps"}
            layer, _, role = name.rpartition(".")
            name = f"{layer}.{other.get(role, role)}" if layer else name
        return super().linear(name, x, int8, bias, expert)

    def layer(self, i, h, int8):
        h = h + self.attention(i, self.rms(h, f"{i}.attn_norm"), int8)
        y, margin = self.experts(i, self.rms(h, f"{i}.ffn_norm"), int8)
        return h + y, margin


def self_check():
    import sys

    for name, case in CASES.items():
        features.check(sys.modules[__name__], name, case, VOCABULARY.TEXT_IDS)
