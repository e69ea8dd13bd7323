"""Qwen3.5, dense and with experts: gated delta rule layers, gated full attention, a draft head."""
import math
import sys
from dataclasses import dataclass

import numpy as np
import torch

from golden import containers, delta_rule, qwen35_batch, qwen35_check, vocab, writers
from golden.reference import Base, silu

ROWS = 304  # of the embedding: four more than there are tokens
N_NOISY, N_STEADY = 24, 6
NOISE = 2e-7  # relative, of every product: int8 prompts on whose result it shows are not used
EXTRAS = {"delta_rule": delta_rule.write}


@dataclass
class Config:
    arch: str
    n_layers: int  # without the draft head's
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    rotary: int  # dimensions of a head that are rotated
    key_heads: int  # of the delta rule
    value_heads: int
    key_dim: int
    value_dim: int
    rows: int = ROWS
    ffn: int = 0
    interval: int = 4  # every so many layers one of full attention ...
    full: tuple = ()  # ... unless they are listed
    eps: float = 1e-6
    theta: float = 1e7
    ctx: int = 1024
    tied: bool = False
    mtp: bool = False
    n_experts: int = 0
    top_k: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0

    def is_full(self, i):
        """The draft head's layer, which follows the others, is always of full attention."""
        return i == self.n_layers or (i in self.full if self.full else (i + 1) % self.interval == 0)

    @property
    def blocks(self):
        return self.n_layers + self.mtp

    @property
    def channels(self):
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim


# Draft heads in three of them; only one model can have heads of 128 without growing large.
CASES = {
    "qwen35-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=31, int8_tokens=5,
        config=Config("qwen35", 5, 96, 4, 2, 32, 8, 2, 4, 32, 32, ffn=96, mtp=True)),
    "qwen35-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=32, int8_tokens=5, shards=2, vision=True,
        config=Config("qwen35", 6, 64, 3, 1, 64, 16, 2, 6, 32, 32, ffn=64, interval=3)),
    "qwen35-hf-bf16": dict(
        container="hf", kind="bf16", seed=33, vision=True,
        config=Config("qwen35", 5, 64, 4, 2, 32, 8, 1, 2, 128, 128, ffn=96, full=(2, 4), mtp=True)),
    "qwen35moe-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=34, int8_tokens=5,
        config=Config("qwen35moe", 4, 64, 4, 1, 64, 16, 2, 4, 32, 32, interval=2, mtp=True,
                      n_experts=6, top_k=2, expert_ffn=32, shared_ffn=64)),
    "qwen35moe-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=35, int8_tokens=5,
        config=Config("qwen35moe", 3, 64, 2, 1, 64, 16, 1, 3, 64, 64, full=(1,),
                      n_experts=5, top_k=3, expert_ffn=64, shared_ffn=64)),
    "qwen35moe-hf-bf16": dict(
        container="hf", kind="bf16", seed=36,
        config=Config("qwen35moe", 3, 48, 4, 2, 32, 8, 2, 4, 32, 32, full=(1,), mtp=True,
                      n_experts=7, top_k=2, expert_ffn=40, shared_ffn=24)),
}

GGUF_NAMES = {
    "tok_embd": "token_embd.weight", "output_norm": "output_norm.weight", "output": "output.weight",
    "attn_norm": "attn_norm.weight", "ffn_norm": "post_attention_norm.weight",
    "wq": "attn_q.weight", "wk": "attn_k.weight", "wv": "attn_v.weight", "wo": "attn_output.weight",
    "q_norm": "attn_q_norm.weight", "k_norm": "attn_k_norm.weight",
    "w_qkv": "attn_qkv.weight", "w_z": "attn_gate.weight", "w_beta": "ssm_beta.weight", "w_alpha": "ssm_alpha.weight",
    "conv": "ssm_conv1d.weight", "decay": "ssm_a", "dt_bias": "ssm_dt.bias", "delta_norm": "ssm_norm.weight",
    "w_delta_out": "ssm_out.weight",
    "w_gate": "ffn_gate.weight", "w_up": "ffn_up.weight", "w_down": "ffn_down.weight",
    "w_router": "ffn_gate_inp.weight", "w_gate_exps": "ffn_gate_exps.weight", "w_up_exps": "ffn_up_exps.weight",
    "w_down_exps": "ffn_down_exps.weight", "w_shared_gate": "ffn_gate_inp_shexp.weight",
    "w_gate_shexp": "ffn_gate_shexp.weight", "w_up_shexp": "ffn_up_shexp.weight",
    "w_down_shexp": "ffn_down_shexp.weight",
    "mtp_fc": "nextn.eh_proj.weight", "mtp_embd_norm": "nextn.enorm.weight", "mtp_hidden_norm": "nextn.hnorm.weight",
    "mtp_norm": "nextn.shared_head_norm.weight",
}
HF_NAMES = {
    "tok_embd": "embed_tokens.weight", "output_norm": "norm.weight", "output": "lm_head.weight",
    "attn_norm": "input_layernorm.weight", "ffn_norm": "post_attention_layernorm.weight",
    "wq": "self_attn.q_proj.weight", "wk": "self_attn.k_proj.weight", "wv": "self_attn.v_proj.weight",
    "wo": "self_attn.o_proj.weight", "q_norm": "self_attn.q_norm.weight", "k_norm": "self_attn.k_norm.weight",
    "w_qkv": "linear_attn.in_proj_qkv.weight", "w_z": "linear_attn.in_proj_z.weight",
    "w_beta": "linear_attn.in_proj_b.weight", "w_alpha": "linear_attn.in_proj_a.weight",
    "conv": "linear_attn.conv1d.weight", "decay": "linear_attn.A_log", "dt_bias": "linear_attn.dt_bias",
    "delta_norm": "linear_attn.norm.weight", "w_delta_out": "linear_attn.out_proj.weight",
    "w_gate": "mlp.gate_proj.weight", "w_up": "mlp.up_proj.weight", "w_down": "mlp.down_proj.weight",
    "w_router": "mlp.gate.weight", "w_gate_exps": "mlp.switch_mlp.gate_proj.weight",
    "w_up_exps": "mlp.switch_mlp.up_proj.weight", "w_down_exps": "mlp.switch_mlp.down_proj.weight",
    "w_shared_gate": "mlp.shared_expert_gate.weight", "w_gate_shexp": "mlp.shared_expert.gate_proj.weight",
    "w_up_shexp": "mlp.shared_expert.up_proj.weight", "w_down_shexp": "mlp.shared_expert.down_proj.weight",
    "mtp_fc": "fc.weight", "mtp_embd_norm": "pre_fc_norm_embedding.weight",
    "mtp_hidden_norm": "pre_fc_norm_hidden.weight", "mtp_norm": "norm.weight",
}
MTP_GLOBALS = ("mtp_fc", "mtp_embd_norm", "mtp_hidden_norm", "mtp_norm")
SHIFTED = ("output_norm", "attn_norm", "ffn_norm", "q_norm", "k_norm", "mtp_embd_norm", "mtp_hidden_norm", "mtp_norm")


def random_weights(c, seed):
    """Scaled as for the other families. Heads of the delta rule remember for between one token and dozens."""
    d = writers.Drawer(seed)
    d.matrix("tok_embd", c.rows, c.d_model, 0.22 * np.sqrt(c.d_model))
    d.vector("output_norm", c.d_model, 1.0, 0.1)
    if not c.tied:
        d.matrix("output", c.rows, c.d_model, 2.5)
    for i in range(c.blocks):
        d.vector(f"{i}.attn_norm", c.d_model, 1.0, 0.1)
        draw_attention(d, c, i) if c.is_full(i) else draw_delta(d, c, i)
        d.vector(f"{i}.ffn_norm", c.d_model, 1.0, 0.1)
        draw_ffn(d, c, i)
    if c.mtp:
        d.matrix(f"{c.n_layers}.mtp_fc", c.d_model, 2 * c.d_model, 1.0)
        for name in MTP_GLOBALS[1:]:
            d.vector(f"{c.n_layers}.{name}", c.d_model, 1.0, 0.1)
    return d.w


def draw_attention(d, c, i):
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    for name, rows, k, gain in (("wq", q, c.d_model, 1.3), ("attn_gate", q, c.d_model, 1.5), ("wk", kv, c.d_model, 1.3),
                                ("wv", kv, c.d_model, 1.2), ("wo", c.d_model, q, 1.8)):
        d.matrix(f"{i}.{name}", rows, k, gain)
    d.vector(f"{i}.q_norm", c.head_dim, 1.1, 0.15)
    d.vector(f"{i}.k_norm", c.head_dim, 1.1, 0.15)


def draw_delta(d, c, i):
    inner = c.value_heads * c.value_dim
    d.matrix(f"{i}.w_qkv", c.channels, c.d_model, 1.3)
    d.vector(f"{i}.conv", 4 * c.channels, 0.0, 0.5)
    d.w[f"{i}.conv"][3::4] += 0.5  # the present counts most
    # A query is alike to its key. Were they independent, what a token reads of itself would be nearly nothing,
    # the norm behind it would enlarge that, and every rounding with it.
    keys = c.key_heads * c.key_dim
    for name, size in (("w_qkv", keys), ("conv", 4 * keys)):
        w = d.w[f"{i}.{name}"]
        w[:size] = 0.5 * w[:size] + 0.8 * w[size : 2 * size]
    d.matrix(f"{i}.w_z", inner, c.d_model, 1.3)
    d.matrix(f"{i}.w_beta", c.value_heads, c.d_model, 1.2)
    d.matrix(f"{i}.w_alpha", c.value_heads, c.d_model, 1.0)
    d.vector(f"{i}.decay", c.value_heads, 0.0, 0.8)
    d.w[f"{i}.decay"] = -np.exp(d.w[f"{i}.decay"])
    d.vector(f"{i}.dt_bias", c.value_heads, -1.5, 1.0)
    d.vector(f"{i}.delta_norm", c.value_dim, 1.0, 0.15)
    d.matrix(f"{i}.w_delta_out", c.d_model, inner, 1.2)


def draw_ffn(d, c, i):
    if not c.n_experts:
        d.matrix(f"{i}.w_gate", c.ffn, c.d_model, 1.4)
        d.matrix(f"{i}.w_up", c.ffn, c.d_model, 1.2)
        d.matrix(f"{i}.w_down", c.d_model, c.ffn, 1.0)
        return
    d.matrix(f"{i}.w_router", c.n_experts, c.d_model, 1.6)
    d.stack(f"{i}.w_gate_exps", c.n_experts, c.expert_ffn, c.d_model, 1.4)
    d.stack(f"{i}.w_up_exps", c.n_experts, c.expert_ffn, c.d_model, 1.2)
    d.stack(f"{i}.w_down_exps", c.n_experts, c.d_model, c.expert_ffn, 1.6)
    d.matrix(f"{i}.w_shared_gate", 1, c.d_model, 1.5)
    d.matrix(f"{i}.w_gate_shexp", c.shared_ffn, c.d_model, 1.4)
    d.matrix(f"{i}.w_up_shexp", c.shared_ffn, c.d_model, 1.2)
    d.matrix(f"{i}.w_down_shexp", c.d_model, c.shared_ffn, 1.4)


def split(name):
    """(layer or None, role)"""
    layer, _, role = name.rpartition(".")
    return (int(layer) if layer else None), role


def interleaved(q, gate, head_dim):
    """Rows of q_proj: the query of a head, then its gate, head after head."""
    parts = [w.reshape(-1, head_dim, w.shape[-1]) for w in (q, gate)]
    return np.concatenate(parts, 1).reshape(-1, q.shape[-1])


def queries_and_gates(w, head_dim):
    both = w.reshape(-1, 2, head_dim, w.shape[-1])
    return both[:, 0].reshape(-1, w.shape[-1]), both[:, 1].reshape(-1, w.shape[-1])


# --- GGUF ----------------------------------------------------------------------------------------------
def tiled(c, role, w, inverse=False):
    """The value heads in the order of GGUF, where head h belongs to key head h mod key_heads, instead of to
    h div (value heads for each key head)."""
    repeats = c.value_heads // c.key_heads
    order = np.array([h % c.key_heads * repeats + h // c.key_heads for h in range(c.value_heads)])
    if inverse:
        order = np.argsort(order)

    def heads(x, size):  # along the first axis
        return x.reshape(c.value_heads, size, *x.shape[1:])[order].reshape(x.shape)

    if role in ("w_beta", "w_alpha", "decay", "dt_bias"):
        return heads(w, 1)
    if role == "w_z":
        return heads(w, c.value_dim)
    if role == "w_delta_out":
        return np.ascontiguousarray(heads(w.T, c.value_dim).T)
    if role in ("w_qkv", "conv"):
        of_row = 4 if role == "conv" else 1
        start = 2 * c.key_heads * c.key_dim * of_row
        return np.concatenate([w[:start], heads(w[start:], c.value_dim * of_row)])
    return w


def put_config(g, case, c):
    a = c.arch
    g.put("general.architecture", a)
    g.put("general.name", f"golden {a} {case['kind']}")
    g.put(f"{a}.block_count", c.blocks)
    if c.mtp:
        g.put(f"{a}.nextn_predict_layers", 1)
    g.put(f"{a}.context_length", c.ctx)
    g.put(f"{a}.embedding_length", c.d_model)
    if c.ffn:
        g.put(f"{a}.feed_forward_length", c.ffn)
    g.put(f"{a}.attention.head_count", c.n_heads)
    g.put(f"{a}.attention.head_count_kv", c.n_kv_heads)
    g.put(f"{a}.attention.key_length", c.head_dim)
    g.put(f"{a}.attention.value_length", c.head_dim)
    g.put(f"{a}.attention.layer_norm_rms_epsilon", c.eps)
    g.put(f"{a}.rope.dimension_count", c.rotary)
    sections = [math.ceil(c.rotary / 6), math.ceil(c.rotary / 6)]
    g.put(f"{a}.rope.dimension_sections", [*sections, c.rotary // 2 - sum(sections), 0])
    g.put(f"{a}.rope.freq_base", c.theta)
    g.put(f"{a}.ssm.conv_kernel", 4)
    g.put(f"{a}.ssm.state_size", c.key_dim)
    g.put(f"{a}.ssm.group_count", c.key_heads)
    g.put(f"{a}.ssm.time_step_rank", c.value_heads)
    g.put(f"{a}.ssm.inner_size", c.value_heads * c.value_dim)
    g.put(f"{a}.full_attention_interval", c.interval)
    if c.n_experts:
        g.put(f"{a}.expert_count", c.n_experts)
        g.put(f"{a}.expert_used_count", c.top_k)
        g.put(f"{a}.expert_feed_forward_length", c.expert_ffn)
        g.put(f"{a}.expert_shared_feed_forward_length", c.shared_ffn)


def gguf_shape(role, w):
    if role == "conv":
        return (w.size // 4, 4)
    return (w.size,) if role == "w_shared_gate" else w.shape


def write_gguf(case, c, weights):
    g = containers.Gguf()
    put_config(g, case, c)
    case.get("vocabulary", vocab).put_gguf(g, "qwen35", c.rows)
    out = writers.Written({}, {}, {})
    for name, w in weights.items():
        layer, role = split(name)
        if role == "attn_gate":
            continue  # within wq
        if role == "wq":
            w = interleaved(w, weights[f"{layer}.attn_gate"], c.head_dim)
        w = tiled(c, role, w)
        kind = "f32" if w.ndim == 1 or role in ("w_router", "w_shared_gate") else case["kind"]
        raw, value, form = writers.encode(w, kind)
        full = GGUF_NAMES[role] if layer is None else f"blk.{layer}.{GGUF_NAMES[role]}"
        g.add(full, gguf_shape(role, w), kind, raw)
        if role == "wq":
            out.values[name], out.values[f"{layer}.attn_gate"] = queries_and_gates(value, c.head_dim)
            out.formats[name] = out.formats[f"{layer}.attn_gate"] = form
            continue
        out.values[name], out.formats[name], out.stored[name] = tiled(c, role, value, inverse=True), form, value
    out.files["model.gguf"] = g.build()
    return out


# --- Hugging Face and MLX ------------------------------------------------------------------------------
def hf_config(case, c):
    moe = "_moe" if c.n_experts else ""
    text = {
        "model_type": f"qwen3_5{moe}_text", "hidden_act": "silu", "hidden_size": c.d_model,
        "num_hidden_layers": c.n_layers, "num_attention_heads": c.n_heads, "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim, "attention_bias": False, "attn_output_gate": True, "vocab_size": c.rows,
        "max_position_embeddings": c.ctx, "rms_norm_eps": c.eps, "tie_word_embeddings": c.tied, "dtype": "bfloat16",
        "linear_conv_kernel_dim": 4, "linear_num_key_heads": c.key_heads, "linear_num_value_heads": c.value_heads,
        "linear_key_head_dim": c.key_dim, "linear_value_head_dim": c.value_dim, "mamba_ssm_dtype": "float32",
        "full_attention_interval": c.interval,
        "rope_parameters": {"rope_type": "default", "rope_theta": c.theta, "partial_rotary_factor": c.rotary / c.head_dim,
                            "mrope_interleaved": True, "mrope_section": [c.rotary // 4, c.rotary // 8, c.rotary // 8]},
        "mtp_num_hidden_layers": 1, "mtp_use_dedicated_embeddings": False, "eos_token_id": vocab.EOT,
    }
    if c.full:  # against the interval: the list wins
        text["layer_types"] = ["full_attention" if c.is_full(i) else "linear_attention" for i in range(c.n_layers)]
    if c.n_experts:
        text |= {"num_experts": c.n_experts, "num_experts_per_tok": c.top_k, "moe_intermediate_size": c.expert_ffn,
                 "shared_expert_intermediate_size": c.shared_ffn}
    else:
        text["intermediate_size"] = c.ffn
    out = {"architectures": [f"Qwen3_5{'Moe' if c.n_experts else ''}ForConditionalGeneration"],
           "model_type": f"qwen3_5{moe}", "image_token_id": vocab.EOT, "tie_word_embeddings": c.tied, "text_config": text,
           "vision_config": {"model_type": f"qwen3_5{moe}", "depth": 1, "hidden_size": 16, "num_heads": 2,
                             "out_hidden_size": c.d_model, "patch_size": 16, "spatial_merge_size": 2}}
    if case["kind"] == "affine8":
        out |= writers.mlx_quantization(
            f"language_model.model.layers.{i}.mlp.{gate}" for i in range(c.n_layers) if c.n_experts
            for gate in ("gate", "shared_expert_gate"))
    return out


def hf_name(case, c, layer, role):
    prefix = "language_model.model." if case["container"] == "mlx" else "model.language_model."
    if role == "output":
        return "language_model.lm_head.weight" if case["container"] == "mlx" else "lm_head.weight"
    if layer is None:
        return prefix + HF_NAMES[role]
    if layer == c.n_layers:
        return "mtp." + ("" if role in MTP_GLOBALS else "layers.0.") + HF_NAMES[role]
    return f"{prefix}layers.{layer}.{HF_NAMES[role]}"


def vision_tensors(case, c):
    """A few, that a reader of the text model must pass over."""
    prefix = "vision_tower." if case["container"] == "mlx" else "model.visual."
    rng = np.random.Generator(np.random.PCG64(case["seed"] + 500))
    shapes = {"patch_embed.proj.weight": (16, 3, 2, 2, 2), "blocks.0.norm1.weight": (16,),
              "blocks.0.attn.qkv.weight": (48, 16), "blocks.0.attn.qkv.bias": (48,), "pos_embed.weight": (9, 16),
              "merger.linear_fc2.weight": (c.d_model, 16)}
    for name, shape in shapes.items():
        yield prefix + name, shape, "bf16", containers.encode_plain(rng.standard_normal(shape), "bf16")[0]


def plain_tensor(case, role, w):
    """(shape, kind, bytes, values) of what is not quantised."""
    if role == "decay":
        raw, log = containers.encode_plain(np.log(-w), "f32")
        return w.shape, "f32", raw, -np.exp(log)
    if role == "conv":
        shape = (w.size // 4, 4, 1) if case["container"] == "mlx" else (w.size // 4, 1, 4)
        return shape, "bf16", *containers.encode_plain(w, "bf16")
    if role in SHIFTED and case["container"] == "hf":
        raw, value = containers.encode_plain(w - 1, "bf16")
        return w.shape, "bf16", raw, value + 1
    kind = "f32" if role == "delta_norm" and case["container"] == "hf" else "bf16"
    return w.shape, kind, *containers.encode_plain(w, kind)


def write_directory(case, c, weights):
    tensors, out = [], writers.Written({}, {}, {})

    def keep(name, value, form):
        out.values[name], out.formats[name] = value, form

    for name, w in weights.items():
        layer, role = split(name)
        full = hf_name(case, c, layer, role) if role != "attn_gate" else None
        if role == "attn_gate" or role == "w_up_exps" and case["container"] == "hf":
            continue  # within wq, within w_gate_exps
        if role == "wq":
            w = interleaved(w, weights[f"{layer}.attn_gate"], c.head_dim)
        if role == "w_gate_exps" and case["container"] == "hf":
            w = np.concatenate([w, weights[f"{layer}.w_up_exps"]], 1)
            full = full.replace("switch_mlp.gate_proj.weight", "experts.gate_up_proj")
        if role == "w_down_exps" and case["container"] == "hf":
            full = full.replace("switch_mlp.down_proj.weight", "experts.down_proj")
        if case["kind"] == "affine8" and w.ndim >= 2:
            parts, value = writers.affine8(full.removesuffix(".weight"), w)
            tensors += parts
            form = "affine8"
        else:
            shape, kind, raw, value = plain_tensor(case, role, w)
            tensors.append((full, shape, kind, raw))
            form = "plain"
        if role == "wq":
            queries, gates = queries_and_gates(value, c.head_dim)
            keep(name, queries, form)
            keep(f"{layer}.attn_gate", gates, form)
        elif role == "w_gate_exps" and case["container"] == "hf":
            keep(name, value[:, : c.expert_ffn], form)
            keep(f"{layer}.w_up_exps", value[:, c.expert_ffn :], form)
        else:
            keep(name, value, form)
    if case.get("vision"):
        tensors[len(tensors) // 2 : len(tensors) // 2] = vision_tensors(case, c)
    producer = "mlx" if case["container"] == "mlx" else "pt"
    out.files = writers.directory(hf_config(case, c), tensors, producer, case.get("shards", 1),
                                  vocab.hf_files("qwen35"))
    return out


# --- reference -----------------------------------------------------------------------------------------
class Reference(Base):
    """Value heads in the order of Hugging Face: head h belongs to key head h div (value heads for each)."""

    unit = staticmethod(delta_rule.unit)

    def rotate(self, x):
        """x [n, heads, d]: pairs (j, j + rotary/2) of the first `rotary` dimensions, the others stay."""
        r = self.c.rotary
        inv_freq = self.c.theta ** (-2.0 * np.arange(r // 2, dtype=np.float64) / r)
        cos, sin = self.rotation(x.shape[0], inv_freq)
        a, b = x[..., : r // 2], x[..., r // 2 : r]
        return torch.cat([a * cos - b * sin, b * cos + a * sin, x[..., r:]], -1)

    def attention(self, i, u, int8):
        c, n = self.c, u.shape[0]
        q = self.linear(f"{i}.wq", u, int8).reshape(n, c.n_heads, c.head_dim)
        gate = self.linear(f"{i}.attn_gate", u, int8)
        k = self.linear(f"{i}.wk", u, int8).reshape(n, c.n_kv_heads, c.head_dim)
        v = self.linear(f"{i}.wv", u, int8).reshape(n, c.n_kv_heads, c.head_dim)
        q, k = self.rotate(self.rms(q, f"{i}.q_norm")), self.rotate(self.rms(k, f"{i}.k_norm"))
        mixed = self.mixed_heads(q, self.cached(k, int8), self.cached(v, int8))
        return self.linear(f"{i}.wo", mixed * torch.sigmoid(gate), int8)

    def convolved(self, i, x):
        """x [n, channels]: each channel with its last four values, tap 3 for the present one; SiLU."""
        taps = self.w[f"{i}.conv"].reshape(-1, 4)
        padded = torch.cat([torch.zeros(3, x.shape[1], dtype=x.dtype), x])
        return silu(sum(taps[:, j] * padded[j : j + len(x)] for j in range(4)))

    def delta(self, i, u, int8):
        c, n = self.c, u.shape[0]
        y = self.convolved(i, self.linear(f"{i}.w_qkv", u, int8))
        keys = c.key_heads * c.key_dim
        q, k, v = y[:, :keys], y[:, keys : 2 * keys], y[:, 2 * keys :].reshape(n, c.value_heads, c.value_dim)
        q, k = (self.unit(t.reshape(n, c.key_heads, c.key_dim)) for t in (q, k))
        repeats = c.value_heads // c.key_heads
        q, k = (t.repeat_interleave(repeats, 1) for t in (q / math.sqrt(c.key_dim), k))
        beta = torch.sigmoid(self.unquantised(f"{i}.w_beta", u))
        a = self.unquantised(f"{i}.w_alpha", u) + self.w[f"{i}.dt_bias"]
        g = self.w[f"{i}.decay"] * (a.clamp(min=0) + torch.log1p(torch.exp(-a.abs())))
        o, _ = delta_rule.recurrent(q, k, v, g, beta)
        z = self.linear(f"{i}.w_z", u, int8).reshape(o.shape)
        gated = self.rms(o, f"{i}.delta_norm") * silu(z)
        return self.linear(f"{i}.w_delta_out", gated.reshape(n, -1), int8)

    def swiglu(self, i, v, int8, suffix=""):
        gate = self.linear(f"{i}.w_gate{suffix}", v, int8)
        return self.linear(f"{i}.w_down{suffix}", silu(gate) * self.linear(f"{i}.w_up{suffix}", v, int8), int8)

    def experts(self, i, v, int8):
        """(their sum and the shared one, margins of the router as in the other families)."""
        routed = self.unquantised(f"{i}.w_router", v)
        order = torch.sort(routed, dim=-1, descending=True, stable=True)
        k = self.c.top_k
        out = self.chosen_experts(i, v, order.indices[:, :k], torch.softmax(order.values[:, :k], -1), int8)
        share = torch.sigmoid(self.unquantised(f"{i}.w_shared_gate", v))
        margin = (order.values[:, k - 1] - order.values[:, k]) / routed.pow(2).mean(-1).sqrt()
        return out + share * self.swiglu(i, v, int8, "_shexp"), margin

    def layer(self, i, h, int8):
        u = self.rms(h, f"{i}.attn_norm")
        h = h + (self.attention(i, u, int8) if self.c.is_full(i) else self.delta(i, u, int8))
        v = self.rms(h, f"{i}.ffn_norm")
        if not self.c.n_experts:
            return h + self.swiglu(i, v, int8), None
        added, margin = self.experts(i, v, int8)
        return h + added, margin

    def draft_hidden(self, f, ids, int8):
        """Of the draft head: f [n, width] after the last norm at positions 0 .. n - 1, ids the tokens that follow
        each. What comes out is to be used like f."""
        i = self.c.n_layers
        e, s = self.rms(self.embed(ids), f"{i}.mtp_embd_norm"), self.rms(f, f"{i}.mtp_hidden_norm")
        x, _ = self.layer(i, self.linear(f"{i}.mtp_fc", torch.cat([e, s], -1), int8), int8)
        return self.rms(x, f"{i}.mtp_norm")


TRAINED = {
    "qwen35-trained": dict(
        container="gguf", kind="q8_0", seed=37,
        config=Config("qwen35", 4, 128, 2, 1, 64, 16, 2, 4, 32, 32, rows=3072, ffn=192, theta=1e4, ctx=4096, tied=True,
                      mtp=True)),
}
NEGATIVE = ("decay",)
forward, losses = qwen35_batch.forward, qwen35_batch.losses


# --- the draft head's goldens --------------------------------------------------------------------------
DRAFTS = 3  # drafted one after another by feedback


def draft_chain(reference, ids, following, int8, drafts=None):
    """(f, drafted tokens, logits [len(ids) + DRAFTS - 1, rows]): the first row for each position of the prompt, then
    those of the feedback. Given `drafts` follow these instead of their own."""
    f, _ = reference.hidden(ids, int8)
    chain, tokens, own = f, [*ids[1:], following], []
    for step in range(DRAFTS):
        r = reference.draft_hidden(chain, tokens, int8)
        logits = reference.head(r, int8)
        own.append(int(logits[-1, : vocab.TEXT_IDS[1]].argmax()))
        chain = torch.cat([chain, r[-1:]])
        tokens.append((drafts or own)[step])
    return f, own, logits


def add_checks(case, reference, roughs, golden, case_dir):
    if not reference.c.mtp:
        return
    golden["mtp"] = []
    for i, prompt in enumerate(golden["prompts"]):
        entry = {}
        for mode in ("precise", "int8"):
            if f"greedy_{mode}" not in prompt:
                continue
            int8, following = mode == "int8", prompt[f"greedy_{mode}"][0]
            f, drafts, logits = draft_chain(reference, prompt["ids"], following, int8)
            others = (draft_chain(rough, prompt["ids"], following, int8, drafts)[2] for rough in roughs)
            if any(float((other.double() - logits).norm() / logits.norm()) > 3e-4 for other in others):
                print(f"  no {mode} draft for prompt {i}: a rounding lies on an edge")
                continue
            kept = prompt["n_logits_positions"] + DRAFTS - 1
            files = {"hidden_file": (f"mtp_hidden_{mode}_{i}.bin", f), "logits_file": (f"mtp_logits_{mode}_{i}.bin", logits[-kept:])}
            entry[mode] = {key: file for key, (file, _) in files.items()} | {"next": following, "drafts": drafts}
            for file, value in files.values():
                (case_dir / file).write_bytes(value.to(torch.float32).numpy().astype("<f4").tobytes())
        golden["mtp"].append(entry)


def self_check():
    qwen35_check.run(sys.modules[__name__])
