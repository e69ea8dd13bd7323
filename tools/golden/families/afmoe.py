"""AFMoE (Trinity): dense layers first, then experts chosen by biased sigmoid scores beside a shared one; an output
gate on attention, no rotation on full layers, norms on both sides of every branch."""
import math
from dataclasses import dataclass

import numpy as np
import torch

from golden import containers, features, vocab_bytes, writers
from golden.features import Breakable, powers
from golden.reference import silu

VOCABULARY = vocab_bytes.afmoe()
NOISE, N_NOISY, N_STEADY = features.NOISE, 24, 4
ROWS = 304  # of the embedding: four more than there are tokens


@dataclass
class Config:
    kinds: str  # of the layers: s sliding, f full
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn: int  # of the dense layers
    n_experts: int
    top_k: int
    expert_ffn: int
    window: int
    n_shared: int = 1
    n_dense: int = 2
    every: int = 4  # of the layers' pattern, where the file does not list them
    route_scale: float = 2.826
    rows: int = ROWS
    arch: str = "afmoe"
    eps: float = 1e-5
    theta: float = 1e4
    ctx: int = 1024
    tied: bool = False

    @property
    def n_layers(self):
        return len(self.kinds)

    def is_full(self, i):
        return self.kinds[i] == "f"


CASES = {
    "afmoe-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=51, int8_tokens=8,
        config=Config("sssfs", 96, 4, 2, 16, 96, 5, 2, 32, window=12)),
    # The layers are listed, and not at equal distances.
    "afmoe-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=52, shards=2, int8_tokens=8,
        config=Config("sfssf", 64, 4, 2, 32, 192, 4, 2, 64, window=24)),
    # Every third layer is full; two shared experts are one of twice the width.
    "afmoe-hf-bf16": dict(
        container="hf", kind="bf16", seed=53,
        config=Config("ssfss", 48, 6, 2, 16, 80, 6, 3, 24, window=12, n_shared=2, every=3)),
}

GGUF_NAMES = {
    "tok_embd": "token_embd.weight", "output_norm": "output_norm.weight", "output": "output.weight",
    "attn_norm": "attn_norm.weight", "wq": "attn_q.weight", "wk": "attn_k.weight", "wv": "attn_v.weight",
    "wo": "attn_output.weight", "attn_gate": "attn_gate.weight", "q_norm": "attn_q_norm.weight",
    "k_norm": "attn_k_norm.weight", "attn_post_norm": "post_attention_norm.weight", "ffn_norm": "ffn_norm.weight",
    "ffn_post_norm": "post_ffw_norm.weight", "w_gate": "ffn_gate.weight", "w_up": "ffn_up.weight",
    "w_down": "ffn_down.weight", "w_router": "ffn_gate_inp.weight", "selection_bias": "exp_probs_b.bias",
    "w_gate_exps": "ffn_gate_exps.weight", "w_up_exps": "ffn_up_exps.weight", "w_down_exps": "ffn_down_exps.weight",
    "w_gate_shexp": "ffn_gate_shexp.weight", "w_up_shexp": "ffn_up_shexp.weight",
    "w_down_shexp": "ffn_down_shexp.weight",
}
HF_NAMES = {
    "tok_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight", "output": "lm_head.weight",
    "attn_norm": "input_layernorm.weight", "wq": "self_attn.q_proj.weight", "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight", "wo": "self_attn.o_proj.weight", "attn_gate": "self_attn.gate_proj.weight",
    "q_norm": "self_attn.q_norm.weight", "k_norm": "self_attn.k_norm.weight",
    "attn_post_norm": "post_attention_layernorm.weight", "ffn_norm": "pre_mlp_layernorm.weight",
    "ffn_post_norm": "post_mlp_layernorm.weight", "w_gate": "mlp.gate_proj.weight", "w_up": "mlp.up_proj.weight",
    "w_down": "mlp.down_proj.weight", "w_router": "mlp.router.gate.weight", "selection_bias": "mlp.expert_bias",
    "w_gate_exps": "mlp.experts.gate_proj.weight", "w_up_exps": "mlp.experts.up_proj.weight",
    "w_down_exps": "mlp.experts.down_proj.weight", "w_gate_shexp": "mlp.shared_experts.gate_proj.weight",
    "w_up_shexp": "mlp.shared_experts.up_proj.weight", "w_down_shexp": "mlp.shared_experts.down_proj.weight",
}


def random_weights(c, seed):
    d = writers.Drawer(seed)
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    d.matrix("tok_embd", c.rows, c.d_model, 1.0)
    d.vector("output_norm", c.d_model, 1.0, 0.2)
    d.matrix("output", c.rows, c.d_model, 2.5)
    for i in range(c.n_layers):
        d.vector(f"{i}.attn_norm", c.d_model, 1.0, 0.2)
        d.matrix(f"{i}.wq", q, c.d_model, 1.2)
        d.matrix(f"{i}.wk", kv, c.d_model, 1.2)
        d.matrix(f"{i}.wv", kv, c.d_model, 1.2)
        d.matrix(f"{i}.attn_gate", q, c.d_model, 1.5)
        d.vector(f"{i}.q_norm", c.head_dim, 1.3, 0.25)
        d.vector(f"{i}.k_norm", c.head_dim, 1.3, 0.25)
        d.matrix(f"{i}.wo", c.d_model, q, 1.2)
        d.vector(f"{i}.attn_post_norm", c.d_model, 0.7, 0.2)
        d.vector(f"{i}.ffn_norm", c.d_model, 1.0, 0.2)
        if i < c.n_dense:
            d.matrix(f"{i}.w_gate", c.ffn, c.d_model, 1.4)
            d.matrix(f"{i}.w_up", c.ffn, c.d_model, 1.2)
            d.matrix(f"{i}.w_down", c.d_model, c.ffn, 1.5)
        else:
            shared = c.n_shared * c.expert_ffn
            d.matrix(f"{i}.w_router", c.n_experts, c.d_model, 1.4)
            d.vector(f"{i}.selection_bias", c.n_experts, 0.0, 0.25)
            d.stack(f"{i}.w_gate_exps", c.n_experts, c.expert_ffn, c.d_model, 1.4)
            d.stack(f"{i}.w_up_exps", c.n_experts, c.expert_ffn, c.d_model, 1.2)
            d.stack(f"{i}.w_down_exps", c.n_experts, c.d_model, c.expert_ffn, 1.0)
            d.matrix(f"{i}.w_gate_shexp", shared, c.d_model, 1.4)
            d.matrix(f"{i}.w_up_shexp", shared, c.d_model, 1.2)
            d.matrix(f"{i}.w_down_shexp", c.d_model, shared, 1.5)
        d.vector(f"{i}.ffn_post_norm", c.d_model, 0.8, 0.25)
    return d.w


# --- containers ----------------------------------------------------------------------------------------
def full_name(name, names, layers):
    layer, _, role = name.rpartition(".")
    return f"{layers}.{layer}.{names[role]}" if layer else names[role]


def write_gguf(case, c, weights):
    """Without the layers' pattern: every fourth layer is full where a file does not say."""
    g = containers.Gguf()

    def put(key, value):
        g.put(f"afmoe.{key}", value)

    g.put("general.architecture", "afmoe")
    g.put("general.name", f"golden afmoe {case['kind']}")
    put("block_count", c.n_layers)
    put("context_length", c.ctx)
    put("embedding_length", c.d_model)
    put("feed_forward_length", c.ffn)
    put("expert_feed_forward_length", c.expert_ffn)
    put("attention.head_count", c.n_heads)
    put("attention.head_count_kv", c.n_kv_heads)
    put("attention.key_length", c.head_dim)
    put("attention.value_length", c.head_dim)
    put("attention.layer_norm_rms_epsilon", c.eps)
    put("attention.sliding_window", c.window)
    put("rope.freq_base", c.theta)
    put("rope.dimension_count", c.head_dim)
    put("expert_count", c.n_experts)
    put("expert_used_count", c.top_k)
    put("expert_shared_count", c.n_shared)
    put("expert_group_count", 1)
    put("expert_group_used_count", 1)
    put("expert_gating_func", 2)
    put("expert_weights_norm", True)
    put("expert_weights_scale", c.route_scale)
    put("leading_dense_block_count", c.n_dense)
    put("vocab_size", c.rows)
    VOCABULARY.put_gguf(g, c.rows)
    values, formats = {}, {}
    for name, w in weights.items():
        kind = "f32" if w.ndim == 1 or name.endswith("w_router") else case["kind"]
        raw, values[name], formats[name] = writers.encode(w, kind)
        g.add(full_name(name, GGUF_NAMES, "blk"), w.shape, kind, raw)
    scale = float(np.float32(c.route_scale))
    return writers.Written({"model.gguf": g.build()}, values, formats, {"route_scale": scale})


def hf_config(case, c):
    out = {
        "architectures": ["AfmoeForCausalLM"], "model_type": "afmoe", "hidden_act": "silu", "hidden_size": c.d_model,
        "num_hidden_layers": c.n_layers, "num_attention_heads": c.n_heads, "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim, "intermediate_size": c.ffn, "moe_intermediate_size": c.expert_ffn,
        "num_dense_layers": c.n_dense, "num_experts": c.n_experts, "num_experts_per_tok": c.top_k,
        "num_shared_experts": c.n_shared, "score_func": "sigmoid", "route_norm": True, "route_scale": c.route_scale,
        "n_group": 1, "topk_group": 1, "num_expert_groups": 1, "num_limited_groups": 1, "sliding_window": c.window,
        "global_attn_every_n_layers": c.every, "rope_theta": c.theta, "rope_scaling": None,
        "max_position_embeddings": c.ctx, "rms_norm_eps": c.eps, "mup_enabled": True, "tie_word_embeddings": False,
        "vocab_size": c.rows, "attention_bias": False, "torch_dtype": "bfloat16",
        "bos_token_id": VOCABULARY.role_id("bos"), "eos_token_id": VOCABULARY.role_id("eos"),
    }
    if case["container"] == "mlx":
        out["layer_types"] = ["full_attention" if c.is_full(i) else "sliding_attention" for i in range(c.n_layers)]
        out |= writers.mlx_quantization(f"model.layers.{i}.mlp.router.gate" for i in range(c.n_dense, c.n_layers))
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
            size = len(raw) // len(w)
            for e in range(len(w)):
                part = full.replace("mlp.experts", f"mlp.experts.{e}")
                tensors.append((part, w[e].shape, kind, raw[e * size : (e + 1) * size]))
        else:
            tensors.append((full, w.shape, kind, raw))
    if not mlx:  # as old files have them, to be passed over
        frequencies = powers(c.theta, c.head_dim // 2, c.head_dim).astype(np.float32)
        tensors.append(("model.layers.0.self_attn.rotary_emb.inv_freq", frequencies.shape, "f32",
                        frequencies.tobytes()))
    files = writers.directory(hf_config(case, c), tensors, "mlx" if mlx else "pt", case.get("shards", 1),
                              VOCABULARY.hf_files())
    return writers.Written(files, values, formats)


# --- the model -----------------------------------------------------------------------------------------
class Reference(Breakable):
    MISTAKES = {mistake: features.MOVES for mistake in (
        "no window", "rotation on full layers", "no rotation on sliding layers", "norms after the rotation",
        "no query norm", "no key norm", "heads dealt to KV heads in turn", "no output gate",
        "output gate from the raw stream", "silu in the output gate", "bias ignored", "bias in the weights",
        "weights not normalised", "no route scale", "route scale on the shared expert", "softmax scores",
        "no shared expert", "no attn_post_norm", "no ffn_post_norm", "post norms on the sum", "no embedding scale",
        "one plus the norms")}
    MISTAKES |= {"window off by one": 5e-3}

    def __init__(self, config, weights, formats, dtype=torch.float64, broken=(), route_scale=None):
        super().__init__(config, weights, formats, dtype, broken)
        self.route_scale = config.route_scale if route_scale is None else route_scale

    def embed(self, ids):
        rows = self.w["tok_embd"][torch.tensor(ids)]
        return rows if self.wrong("no embedding scale") else rows * math.sqrt(self.c.d_model)

    def rms(self, x, name):
        return (self.w[name] + 1 if self.wrong("one plus the norms") else self.w[name]) * self.unit(x)

    def attention(self, i, h, int8):
        c, n = self.c, h.shape[0]
        a = self.rms(h, f"{i}.attn_norm")
        q = self.linear(f"{i}.wq", a, int8).reshape(n, c.n_heads, c.head_dim)
        k = self.linear(f"{i}.wk", a, int8).reshape(n, c.n_kv_heads, c.head_dim)
        v = self.linear(f"{i}.wv", a, int8).reshape(n, c.n_kv_heads, c.head_dim)
        g = self.linear(f"{i}.attn_gate", h if self.wrong("output gate from the raw stream") else a, int8)

        def normed(q, k):
            return (q if self.wrong("no query norm") else self.rms(q, f"{i}.q_norm"),
                    k if self.wrong("no key norm") else self.rms(k, f"{i}.k_norm"))

        late = self.wrong("norms after the rotation")
        if not late:
            q, k = normed(q, k)
        mistake = "rotation on full layers" if c.is_full(i) else "no rotation on sliding layers"
        if c.is_full(i) == self.wrong(mistake):
            inverse = powers(c.theta, c.head_dim // 2, c.head_dim)
            q, k = self.rotated(q, inverse), self.rotated(k, inverse)
        if late:
            q, k = normed(q, k)
        window = 0 if c.is_full(i) or self.wrong("no window") else c.window + self.wrong("window off by one")
        k, v = self.cached(k, int8), self.cached(v, int8)
        if self.wrong("heads dealt to KV heads in turn"):
            turns = torch.arange(c.n_heads) % c.n_kv_heads
            k, v = k[:, turns], v[:, turns]
        mixed = self.mixed_heads(q, k, v, window)
        if not self.wrong("no output gate"):
            mixed = mixed * (silu(g) if self.wrong("silu in the output gate") else torch.sigmoid(g))
        return self.linear(f"{i}.wo", mixed, int8)

    def swiglu(self, i, b, suffix, int8):
        up = self.linear(f"{i}.w_up{suffix}", b, int8)
        return self.linear(f"{i}.w_down{suffix}", silu(self.linear(f"{i}.w_gate{suffix}", b, int8)) * up, int8)

    def experts(self, i, b, int8):
        """(routed and shared experts' sum, margins of the choice in units of the logits' root mean square: a score
        moves by at most a quarter of what its logit moves)."""
        z = self.unquantised(f"{i}.w_router", b)
        scores = torch.softmax(z, -1) if self.wrong("softmax scores") else torch.sigmoid(z)
        biased = scores + self.w[f"{i}.selection_bias"]
        chosen, margin = self.best_experts(scores if self.wrong("bias ignored") else biased,
                                           z.pow(2).mean(-1).sqrt() / 4)
        weights = (biased if self.wrong("bias in the weights") else scores).gather(-1, chosen)
        if not self.wrong("weights not normalised"):
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        if not self.wrong("no route scale"):
            weights = weights * self.route_scale
        out = self.chosen_experts(i, b, chosen, weights, int8)
        if self.wrong("no shared expert"):
            return out, margin
        factor = self.route_scale if self.wrong("route scale on the shared expert") else 1.0
        return out + self.swiglu(i, b, "_shexp", int8) * factor, margin

    def add(self, h, y, i, role):
        if self.wrong(f"no {role}"):
            return h + y
        if self.wrong("post norms on the sum"):
            return self.rms(h + y, f"{i}.{role}")
        return h + self.rms(y, f"{i}.{role}")

    def layer(self, i, h, int8):
        h = self.add(h, self.attention(i, h, int8), i, "attn_post_norm")
        b = self.rms(h, f"{i}.ffn_norm")
        y, margin = (self.swiglu(i, b, "", int8), None) if i < self.c.n_dense else self.experts(i, b, int8)
        return self.add(h, y, i, "ffn_post_norm"), margin


def self_check():
    import sys

    for name, case in CASES.items():
        features.check(sys.modules[__name__], name, case, VOCABULARY.TEXT_IDS)
