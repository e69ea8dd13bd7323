"""Gemma 4 with experts: sliding and full layers of different heads, V from K on full layers, a dense branch beside
the experts, the router on the raw stream."""
import math
from dataclasses import dataclass

import numpy as np
import torch

from golden import containers, features, vocab_pieces, writers
from golden.features import Breakable, gelu, powers
from golden.reference import silu

VOCABULARY = vocab_pieces
NOISE, N_NOISY, N_STEADY = features.NOISE, 24, 4
ROWS = 400  # of the embedding: more than there are tokens
FIRST_CHECKED = 300  # token where a prompt of the self-check begins
ROPE_NEVER = 1e30  # divisor of a frequency that does not turn


@dataclass
class Config:
    kinds: str  # of the layers: s sliding, f full
    d_model: int
    n_heads: int
    head_dim: int  # of sliding layers, as n_kv_heads
    n_kv_heads: int
    full_head_dim: int
    n_full_kv_heads: int
    ffn: int
    n_experts: int
    top_k: int
    expert_ffn: int
    window: int
    rows: int = ROWS
    arch: str = "gemma4"
    eps: float = 1e-6
    theta: float = 1e6
    theta_sliding: float = 1e4
    partial: float = 0.25
    softcap: float = 30.0
    ctx: int = 1024
    tied: bool = True
    fresh: bool = False  # weights to begin training with

    @property
    def n_layers(self):
        return len(self.kinds)

    def is_full(self, i):
        return self.kinds[i] == "f"

    def heads(self, i):
        """(head dim, KV heads) of layer i"""
        return (self.full_head_dim, self.n_full_kv_heads) if self.is_full(i) else (self.head_dim, self.n_kv_heads)


# A norm follows the experts' sum, so what scales it as a whole shows only through the norm's epsilon.
NORMED_AWAY = ("weights not renormalised", "expert scale before renormalising")

CASES = {
    # An irregular pattern, so that it has to be read; a width of 3 groups.
    "gemma4-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=41, int8_tokens=8, hides=NORMED_AWAY,
        config=Config("ssfsssf", 96, 4, 16, 2, 32, 1, 96, 4, 2, 32, window=12)),
    "gemma4-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=42, shards=2, int8_tokens=8,
        hides=(*NORMED_AWAY, "embedding scale not rounded"),  # the root of 64 needs no rounding
        config=Config("sssssff", 64, 4, 16, 2, 32, 1, 192, 4, 2, 64, window=24)),
    # No layer_types: every sixth layer is full, and so is the last one. The large epsilon tells branches of different
    # size apart.
    "gemma4-hf-bf16": dict(
        container="hf", kind="bf16", seed=43,
        config=Config("sssssff", 48, 4, 16, 2, 32, 1, 40, 6, 3, 24, window=12, eps=0.0625)),
}

def corpus_texts():
    import corpus  # of tools/nano, which the trainer knows

    return ("".join(part for part, _ in parts) for _, parts in zip(range(6000), corpus.stream(7, long_share=0)))


TRAINED = {
    "gemma4-trained": dict(
        container="gguf", kind="q8_0", seed=45, vocabulary=vocab_pieces.CorpusVocabulary(2048, corpus_texts),
        config=Config("sssssf", 96, 4, 32, 2, 64, 1, 160, 4, 2, 64, window=32, rows=2048, ctx=4096, fresh=True)),
}

GGUF_NAMES = {
    "tok_embd": "token_embd.weight", "output_norm": "output_norm.weight",
    "attn_norm": "attn_norm.weight", "wq": "attn_q.weight", "wk": "attn_k.weight", "wv": "attn_v.weight",
    "wo": "attn_output.weight", "q_norm": "attn_q_norm.weight", "k_norm": "attn_k_norm.weight",
    "attn_post_norm": "post_attention_norm.weight", "ffn_norm": "ffn_norm.weight",
    "w_gate": "ffn_gate.weight", "w_up": "ffn_up.weight", "w_down": "ffn_down.weight",
    "dense_post_norm": "post_ffw_norm_1.weight", "experts_norm": "pre_ffw_norm_2.weight",
    "experts_post_norm": "post_ffw_norm_2.weight", "ffn_post_norm": "post_ffw_norm.weight",
    "w_router": "ffn_gate_inp.weight", "router_scale": "ffn_gate_inp.scale", "expert_scale": "ffn_down_exps.scale",
    "w_gate_up_exps": "ffn_gate_up_exps.weight", "w_gate_exps": "ffn_gate_exps.weight",
    "w_up_exps": "ffn_up_exps.weight", "w_down_exps": "ffn_down_exps.weight",
    "layer_scale": "layer_output_scale.weight",
}
HF_NAMES = {
    "tok_embd": "embed_tokens.weight", "output_norm": "norm.weight",
    "attn_norm": "input_layernorm.weight", "wq": "self_attn.q_proj.weight", "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight", "wo": "self_attn.o_proj.weight", "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight", "attn_post_norm": "post_attention_layernorm.weight",
    "ffn_norm": "pre_feedforward_layernorm.weight", "w_gate": "mlp.gate_proj.weight", "w_up": "mlp.up_proj.weight",
    "w_down": "mlp.down_proj.weight", "dense_post_norm": "post_feedforward_layernorm_1.weight",
    "experts_norm": "pre_feedforward_layernorm_2.weight", "experts_post_norm": "post_feedforward_layernorm_2.weight",
    "ffn_post_norm": "post_feedforward_layernorm.weight", "w_router": "router.proj.weight",
    "router_scale": "router.scale", "expert_scale": "router.per_expert_scale",
    "w_gate_up_exps": "experts.gate_up_proj", "w_gate_exps": "experts.switch_glu.gate_proj.weight",
    "w_up_exps": "experts.switch_glu.up_proj.weight", "w_down_exps": "experts.switch_glu.down_proj.weight",
    "layer_scale": "layer_scalar",
}


def random_weights(c, seed):
    """Heads get norms that leave the scores a deviation of about two, for nothing else scales them; the norms of
    branches differ much within, or skipping one would only scale."""
    d = writers.Drawer(seed)
    d.matrix("tok_embd", c.rows, c.d_model, 0.6)
    d.vector("output_norm", c.d_model, 15.0, 3.5)
    for i in range(c.n_layers):
        head_dim, n_kv = c.heads(i)
        q = c.n_heads * head_dim
        sharpness = math.sqrt(2.0 / math.sqrt(head_dim))
        d.vector(f"{i}.attn_norm", c.d_model, 1.0, 0.2)
        d.matrix(f"{i}.wq", q, c.d_model, 1.2)
        d.vector(f"{i}.q_norm", head_dim, sharpness, 0.25 * sharpness)
        d.matrix(f"{i}.wk", n_kv * head_dim, c.d_model, 1.2)
        d.vector(f"{i}.k_norm", head_dim, sharpness, 0.25 * sharpness)
        if not c.is_full(i):
            d.matrix(f"{i}.wv", n_kv * head_dim, c.d_model, 0.7)
        d.matrix(f"{i}.wo", c.d_model, q, 1.2)
        d.vector(f"{i}.attn_post_norm", c.d_model, 0.6, 0.2)
        d.vector(f"{i}.ffn_norm", c.d_model, 1.0, 0.2)
        d.matrix(f"{i}.w_gate", c.ffn, c.d_model, 1.6)
        d.matrix(f"{i}.w_up", c.ffn, c.d_model, 1.2)
        d.matrix(f"{i}.w_down", c.d_model, c.ffn, 1.5)
        d.vector(f"{i}.dense_post_norm", c.d_model, 0.8, 0.25)
        d.vector(f"{i}.experts_norm", c.d_model, 1.2, 0.4)
        d.matrix(f"{i}.w_router", c.n_experts, c.d_model, 0.6 * math.sqrt(c.d_model))
        d.vector(f"{i}.router_scale", c.d_model, 2.5, 0.6)
        d.vector(f"{i}.expert_scale", c.n_experts, 1.1, 0.4)
        d.stack(f"{i}.w_gate_exps", c.n_experts, c.expert_ffn, c.d_model, 1.4)
        d.stack(f"{i}.w_up_exps", c.n_experts, c.expert_ffn, c.d_model, 1.2)
        d.stack(f"{i}.w_down_exps", c.n_experts, c.d_model, c.expert_ffn, 0.5)
        d.vector(f"{i}.experts_post_norm", c.d_model, 1.0, 0.3)
        d.vector(f"{i}.ffn_post_norm", c.d_model, 0.7, 0.25)
        d.vector(f"{i}.layer_scale", 1, 0.8, 0.1)
    if c.fresh:
        fresh_vectors(d.w)
    return d.w


def fresh_vectors(w):
    """Norms and scales that favour nothing."""
    sizes = {"q_norm": 0.6, "k_norm": 0.6, "attn_post_norm": 0.5, "ffn_post_norm": 0.5, "router_scale": 2.0}
    for name, value in w.items():
        if value.ndim == 1:
            value[:] = sizes.get(name.rpartition(".")[2], 1.0)


# --- containers ----------------------------------------------------------------------------------------
def full_name(name, names, layers, top=""):
    layer, _, role = name.rpartition(".")
    return f"{layers}.{layer}.{names[role]}" if layer else top + names[role]


def merged_experts(weights):
    """(name, array) as the files hold them: the experts' gate rows, then their up rows, in one tensor."""
    for name, w in weights.items():
        if name.endswith("w_gate_exps"):
            up = weights[name.replace("w_gate_exps", "w_up_exps")]
            yield name.replace("w_gate_exps", "w_gate_up_exps"), np.concatenate([w, up], axis=1)
        elif not name.endswith("w_up_exps"):
            yield name, w


def split_experts(values, formats):
    """The opposite, for what a reader makes of it."""
    out, kinds = {}, {}
    for name, w in values.items():
        if name.endswith("w_gate_up_exps"):
            half = w.shape[1] // 2
            for role, part in (("w_gate_exps", w[:, :half]), ("w_up_exps", w[:, half:])):
                out[name.replace("w_gate_up_exps", role)] = part
                kinds[name.replace("w_gate_up_exps", role)] = formats[name]
        else:
            out[name], kinds[name] = w, formats[name]
    return out, kinds


def rope_divisors(c):
    """Of the frequencies of full layers, as GGUF stores them."""
    pairs = c.full_head_dim // 2
    turning = int(c.partial * pairs)
    return np.array([1.0] * turning + [ROPE_NEVER] * (pairs - turning), np.float32)


def put_metadata(g, c, name, scalar_ffn):
    def put(key, value):
        g.put(f"gemma4.{key}", value)

    g.put("general.architecture", "gemma4")
    g.put("general.name", name)
    put("block_count", c.n_layers)
    put("context_length", c.ctx)
    put("embedding_length", c.d_model)
    put("embedding_length_per_layer_input", 0)
    put("feed_forward_length", c.ffn if scalar_ffn else [c.ffn] * c.n_layers)
    put("attention.head_count", c.n_heads)
    put("attention.head_count_kv", [c.heads(i)[1] for i in range(c.n_layers)])
    put("attention.key_length", c.full_head_dim)
    put("attention.value_length", c.full_head_dim)
    put("attention.key_length_swa", c.head_dim)
    put("attention.value_length_swa", c.head_dim)
    put("attention.sliding_window", c.window)
    put("attention.sliding_window_pattern", [not c.is_full(i) for i in range(c.n_layers)])
    put("attention.shared_kv_layers", 0)
    put("attention.layer_norm_rms_epsilon", c.eps)
    put("rope.freq_base", c.theta)
    put("rope.freq_base_swa", c.theta_sliding)
    put("rope.dimension_count", c.full_head_dim)
    put("rope.dimension_count_swa", c.head_dim)
    put("expert_count", c.n_experts)
    put("expert_used_count", c.top_k)
    put("expert_feed_forward_length", c.expert_ffn)
    put("final_logit_softcapping", c.softcap)


def write_gguf(case, c, weights):
    """A model with a vocabulary of its own also has the experts' gate and up rows in tensors of their own."""
    g = containers.Gguf()
    vocabulary = case.get("vocabulary")
    put_metadata(g, c, f"golden gemma4 {case['kind']}", vocabulary is not None)
    (vocabulary or vocab_pieces).put_gguf(g, c.rows)
    divisors = rope_divisors(c)
    g.add("rope_freqs.weight", divisors.shape, "f32", divisors.tobytes())
    values, formats = {}, {}
    for name, w in weights.items() if vocabulary else merged_experts(weights):
        kind = "f32" if w.ndim == 1 or name.endswith("w_router") else case["kind"]
        raw, values[name], formats[name] = writers.encode(w, kind)
        g.add(full_name(name, GGUF_NAMES, "blk"), w.shape, kind, raw)
    return writers.Written({"model.gguf": g.build()}, *split_experts(values, formats))


def hf_config(case, c):
    text = {
        "model_type": "gemma4_text", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": c.d_model,
        "intermediate_size": c.ffn, "num_hidden_layers": c.n_layers, "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads, "head_dim": c.head_dim, "global_head_dim": c.full_head_dim,
        "num_global_key_value_heads": c.n_full_kv_heads, "attention_k_eq_v": True, "attention_bias": False,
        "sliding_window": c.window, "enable_moe_block": True, "num_experts": c.n_experts, "top_k_experts": c.top_k,
        "moe_intermediate_size": c.expert_ffn, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 0,
        "use_double_wide_mlp": False, "use_bidirectional_attention": "vision",
        "final_logit_softcapping": c.softcap, "vocab_size": c.rows, "max_position_embeddings": c.ctx,
        "rms_norm_eps": c.eps, "tie_word_embeddings": True,
        "rope_parameters": {
            "full_attention": {"rope_theta": c.theta, "rope_type": "proportional", "partial_rotary_factor": c.partial},
            "sliding_attention": {"rope_theta": c.theta_sliding, "rope_type": "default"}},
        "bos_token_id": vocab_pieces.BOS, "eos_token_id": vocab_pieces.EOS, "pad_token_id": vocab_pieces.PAD,
    }
    if case["container"] == "mlx":
        text["layer_types"] = ["full_attention" if c.is_full(i) else "sliding_attention" for i in range(c.n_layers)]
    out = {
        "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "text_config": text,
        "vision_config": {"model_type": "gemma4_vision", "hidden_size": 8, "num_hidden_layers": 1},
        "image_token_id": vocab_pieces.SPECIALS.index("<|image|>"), "tie_word_embeddings": True,
        "eos_token_id": [vocab_pieces.EOS, vocab_pieces.TURN_END], "dtype": "bfloat16",
    }
    if case["kind"] == "affine8":
        out |= writers.mlx_quantization(
            f"language_model.model.layers.{i}.router.proj" for i in range(c.n_layers))
    return out


def vision_tensors(top):
    """A little of the vision tower, which a text model must pass over."""
    out = []
    for name, shape in (("vision_tower.patch_embedder.input_proj.weight", (8, 48)),
                        ("vision_tower.encoder.layers.0.self_attn.q_proj.linear.weight", (8, 8)),
                        ("vision_tower.encoder.layers.0.input_layernorm.weight", (8,)),
                        ("vision_tower.std_bias", (8,)),
                        ("embed_vision.embedding_projection.weight", (48, 8))):
        raw, _ = containers.encode_plain(np.full(shape, 0.25), "bf16")
        out.append((top + name, shape, "bf16", raw))
    return out


def write_directory(case, c, weights):
    mlx = case["container"] == "mlx"
    prefix = "language_model.model." if mlx else "model.language_model."
    names = HF_NAMES if mlx else HF_NAMES | {"w_down_exps": "experts.down_proj"}
    tensors, values, formats = vision_tensors("" if mlx else "model."), {}, {}
    for name, w in weights.items() if mlx else merged_experts(weights):
        full = full_name(name, names, prefix + "layers", prefix)
        if mlx and w.ndim >= 2:
            parts, values[name] = writers.affine8(full.removesuffix(".weight"), w)
            formats[name] = "affine8"
            tensors += parts
        else:
            raw, values[name], formats[name] = writers.encode(w, "bf16")
            tensors.append((full, w.shape, "bf16", raw))
    files = writers.directory(hf_config(case, c), tensors, "mlx" if mlx else "pt", case.get("shards", 1),
                              vocab_pieces.hf_files())
    return writers.Written(files, *split_experts(values, formats))


# --- the model -----------------------------------------------------------------------------------------
def rounded_to_bf16(x):
    return float(containers.bf16_value(containers.bf16_bits(np.array([x])))[0])


class Reference(Breakable):
    MISTAKES = {mistake: features.MOVES for mistake in (
        "no window", "sliding theta on full layers", "full layers rotate everything",
        "full layers rotate the first quarter", "exponents over the rotated part", "no rotation on full layers",
        "values without norm", "values after the key norm", "scores over the root of the width",
        "heads dealt to KV heads in turn", "no query norm", "no key norm", "one plus the norms",
        "router on the normed stream", "router without its scale", "router without the root of the width",
        "router without norm", "weights not renormalised", "expert scale ignored", "expert scale before renormalising",
        "experts on the raw stream", "experts share the dense norm", "no dense branch", "no experts", "silu",
        "no attn_post_norm", "no dense_post_norm", "no experts_post_norm", "no ffn_post_norm",
        "layer scale ignored", "layer scale on the branches", "no softcap", "no embedding scale")}
    # What is only seen closely: still more than the tolerance of the goldens.
    MISTAKES |= {"window off by one": 5e-3, "embedding scale not rounded": 1.2e-3}

    def embed(self, ids):
        scale = math.sqrt(self.c.d_model)
        if not self.wrong("embedding scale not rounded"):
            scale = rounded_to_bf16(scale)
        return self.w["tok_embd"][torch.tensor(ids)] * (1.0 if self.wrong("no embedding scale") else scale)

    def rms(self, x, name):
        weight = self.w[name] + 1 if self.wrong("one plus the norms") else self.w[name]
        return weight * self.unit(x)

    def post_norm(self, x, i, role):
        return x if self.wrong(f"no {role}") else self.rms(x, f"{i}.{role}")

    def frequencies(self, i):
        """Inverse frequencies of layer i, 0 where a pair does not turn."""
        c, d = self.c, self.c.heads(i)[0]
        if not c.is_full(i):
            return powers(c.theta_sliding, d // 2, d)
        theta = c.theta_sliding if self.wrong("sliding theta on full layers") else c.theta
        turning = int(c.partial * (d // 2))
        if self.wrong("no rotation on full layers"):
            return np.zeros(d // 2)
        if self.wrong("full layers rotate everything"):
            return powers(theta, d // 2, d)
        if self.wrong("full layers rotate the first quarter"):
            return powers(theta, turning, d)
        inverse = powers(theta, d // 2, 2 * turning if self.wrong("exponents over the rotated part") else d)
        inverse[turning:] = 0
        return inverse

    def attention(self, i, u, int8):
        c, n = self.c, u.shape[0]
        d, n_kv = c.heads(i)
        q = self.linear(f"{i}.wq", u, int8).reshape(n, c.n_heads, d)
        k = self.linear(f"{i}.wk", u, int8).reshape(n, n_kv, d)
        v = k if c.is_full(i) else self.linear(f"{i}.wv", u, int8).reshape(n, n_kv, d)
        q = self.unit(q) if self.wrong("no query norm") else self.rms(q, f"{i}.q_norm")
        k = self.unit(k) if self.wrong("no key norm") else self.rms(k, f"{i}.k_norm")
        if c.is_full(i) and self.wrong("values after the key norm"):
            v = k
        elif not self.wrong("values without norm"):
            v = self.unit(v)
        q, k = self.rotated(q, self.frequencies(i)), self.rotated(k, self.frequencies(i))
        window = 0 if c.is_full(i) or self.wrong("no window") else c.window + self.wrong("window off by one")
        if self.wrong("heads dealt to KV heads in turn"):
            turns = [h for g in range(n_kv) for h in range(g, c.n_heads, n_kv)]
            back = [turns.index(h) for h in range(c.n_heads)]
            mixed = self.mixed_heads(q[:, turns], self.cached(k, int8), self.cached(v, int8), window, 1.0)
            mixed = mixed.reshape(n, c.n_heads, d)[:, back].reshape(n, -1)
        else:
            scale = 1 / math.sqrt(d) if self.wrong("scores over the root of the width") else 1.0
            mixed = self.mixed_heads(q, self.cached(k, int8), self.cached(v, int8), window, scale)
        return self.linear(f"{i}.wo", mixed, int8)

    def route(self, i, h):
        """(chosen experts, their weights, margins) from the raw stream."""
        x = h if self.wrong("router without norm") else self.unit(h)
        if not self.wrong("router without its scale"):
            x = x * self.w[f"{i}.router_scale"]
        if not self.wrong("router without the root of the width"):
            x = x * self.c.d_model**-0.5
        z = self.unquantised(f"{i}.w_router", x)
        chosen, margin = self.best_experts(z, z.pow(2).mean(-1).sqrt())
        share = torch.softmax(z, -1).gather(-1, chosen)
        scale = self.w[f"{i}.expert_scale"][chosen]
        if self.wrong("expert scale ignored"):
            scale = torch.ones_like(scale)
        if self.wrong("expert scale before renormalising"):
            share = share * scale
            return chosen, share / share.sum(-1, keepdim=True), margin
        if not self.wrong("weights not renormalised"):
            share = share / share.sum(-1, keepdim=True)
        return chosen, share * scale, margin

    def layer(self, i, h, int8):
        act = silu if self.wrong("silu") else gelu
        before = h
        h = h + self.post_norm(self.attention(i, self.rms(h, f"{i}.attn_norm"), int8), i, "attn_post_norm")
        b = self.rms(h, f"{i}.ffn_norm")
        dense = act(self.linear(f"{i}.w_gate", b, int8)) * self.linear(f"{i}.w_up", b, int8)
        dense = self.post_norm(self.linear(f"{i}.w_down", dense, int8), i, "dense_post_norm")
        y = self.rms(h, f"{i}.experts_norm")
        chosen, weights, margin = self.route(i, y if self.wrong("router on the normed stream") else h)
        y = h if self.wrong("experts on the raw stream") else b if self.wrong("experts share the dense norm") else y
        added = self.chosen_experts(i, y, chosen, weights, int8, act)
        added = self.post_norm(added, i, "experts_post_norm")
        if self.wrong("no dense branch"):
            dense = torch.zeros_like(dense)
        if self.wrong("no experts"):
            added = torch.zeros_like(added)
        h = h + self.post_norm(dense + added, i, "ffn_post_norm")
        if self.wrong("layer scale ignored"):
            return h, margin
        if self.wrong("layer scale on the branches"):
            return before + (h - before) * self.w[f"{i}.layer_scale"], margin
        return h * self.w[f"{i}.layer_scale"], margin

    def head(self, f, int8):
        z = super().head(f, int8)
        return z if self.wrong("no softcap") else self.c.softcap * torch.tanh(z / self.c.softcap)


def forward(c, w, ids):
    """The same model over a batch ids [b, n], differentiable, in the weights' own precision: for training, and a
    second version of it for checking."""

    def unit(x):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + c.eps)

    def rms(x, name):
        return unit(x) * w[name]

    b, n = ids.shape
    back = torch.arange(n)[:, None] - torch.arange(n)[None, :]
    h = w["tok_embd"][ids] * rounded_to_bf16(math.sqrt(c.d_model))
    for i in range(c.n_layers):
        d, n_kv = c.heads(i)
        full = c.is_full(i)
        inverse = torch.tensor(powers(c.theta if full else c.theta_sliding, d // 2, d), dtype=h.dtype)
        if full:
            inverse = torch.where(torch.arange(d // 2) < c.partial * (d // 2), inverse, torch.zeros_like(inverse))
        angle = torch.arange(n, dtype=h.dtype)[:, None] * inverse
        cos, sin = torch.cos(angle).repeat(1, 2), torch.sin(angle).repeat(1, 2)

        def heads(x, count):
            return x.reshape(b, n, count, d).transpose(1, 2)

        def turned(x):
            return x * cos + torch.cat([-x[..., d // 2 :], x[..., : d // 2]], -1) * sin

        u = rms(h, f"{i}.attn_norm")
        k = heads(u @ w[f"{i}.wk"].T, n_kv)
        v = unit(k if full else heads(u @ w[f"{i}.wv"].T, n_kv))
        q = turned(rms(heads(u @ w[f"{i}.wq"].T, c.n_heads), f"{i}.q_norm"))
        k = turned(rms(k, f"{i}.k_norm"))
        k, v = (x.repeat_interleave(c.n_heads // n_kv, 1) for x in (k, v))
        seen = (back >= 0) & (back < (n if full else c.window))
        scores = (q @ k.transpose(-1, -2)).masked_fill(~seen, -math.inf)
        mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, n, -1)
        h = h + rms(mixed @ w[f"{i}.wo"].T, f"{i}.attn_post_norm")

        x = rms(h, f"{i}.ffn_norm")
        dense = (gelu(x @ w[f"{i}.w_gate"].T) * (x @ w[f"{i}.w_up"].T)) @ w[f"{i}.w_down"].T
        share = torch.softmax((unit(h) * w[f"{i}.router_scale"] * c.d_model**-0.5) @ w[f"{i}.w_router"].T, -1)
        least = share.topk(c.top_k, -1).values[..., -1:]
        share = torch.where(share >= least, share, torch.zeros_like(share))
        share = share / share.sum(-1, keepdim=True) * w[f"{i}.expert_scale"]
        y = rms(h, f"{i}.experts_norm")
        gate = torch.einsum("bnd,efd->bnef", y, w[f"{i}.w_gate_exps"])
        up = torch.einsum("bnd,efd->bnef", y, w[f"{i}.w_up_exps"])
        added = torch.einsum("bnef,edf->bnd", gelu(gate) * up * share[..., None], w[f"{i}.w_down_exps"])
        both = rms(dense, f"{i}.dense_post_norm") + rms(added, f"{i}.experts_post_norm")
        h = (h + rms(both, f"{i}.ffn_post_norm")) * w[f"{i}.layer_scale"]
    return c.softcap * torch.tanh(rms(h, "output_norm") @ w["tok_embd"].T / c.softcap)


def add_checks(case, reference, rough, golden, case_dir):
    """What texts are to the vocabulary."""
    encoder = vocab_pieces.Encoder()
    golden["texts"] = [{"text": text, "ids": encoder.encode(text)} for text in vocab_pieces.TEXTS]


def self_check():
    import sys

    for name, case in CASES.items():
        w = features.written(sys.modules[__name__], case)
        reference = Reference(case["config"], w.values, w.formats)
        ids = torch.arange(FIRST_CHECKED, FIRST_CHECKED + 40)
        apart = forward(case["config"], reference.w, ids[None])[0] - reference.logits(ids.tolist(), False)
        assert apart.abs().max() < 1e-9, f"{name}: the two forms are {apart.abs().max():.1e} apart"
    for name, case in CASES.items():
        features.check(sys.modules[__name__], name, case, vocab_pieces.TEXT_IDS)
