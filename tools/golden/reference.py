"""The transformers in PyTorch, float64, written from the model description alone: no cache, no
batching, every position from the whole prefix. It is the oracle for the engine's logits.

Two modes. "precise" is the plain arithmetic over dequantised weights. "int8" does what the engine's fast
path defines as its result: before each product with an 8-bit matrix the activations are quantised per
token and group (amax / 127 in float32, rounding half to even), and keys and values are rounded to
float16; everything else stays float64. Routers see unquantised activations in both."""
import math
from dataclasses import dataclass, field

import numpy as np
import torch

GROUP = {"q8_0": 32, "affine8": 64}


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


def quantise_rows(x, group):
    """Activations as the int8 path sees them: float64 values of q * scale."""
    f = x.to(torch.float32).reshape(x.shape[0], -1, group)
    amax = f.abs().amax(-1, keepdim=True)
    safe = torch.where(amax > 0, amax, torch.ones_like(amax))
    q = torch.round(f * (torch.tensor(127.0, dtype=torch.float32) / safe))  # half to even
    scale = amax / torch.tensor(127.0, dtype=torch.float32)
    return (q.to(x.dtype) * scale.to(x.dtype)).reshape(x.shape)


class Reference:
    """weights: {name: float64 array}; matrices [out, in], by layer as "0.wq". formats: {name: "q8_0" |
    "affine8" | "plain"} for matrices. The model's own row order everywhere (half-split rotation)."""

    def __init__(self, config, weights, formats, divisors=None, dtype=torch.float64):
        self.c, self.formats, self.dtype = config, formats, dtype
        self.w = {name: torch.from_numpy(np.array(value, np.float64)).to(dtype) for name, value in weights.items()}
        self.inv_freq, self.rope_scale = rope_frequencies(config, divisors)

    def linear(self, name, x, int8, bias=None, expert=None):
        group = GROUP.get(self.formats[name])
        if int8 and group:
            x = quantise_rows(x, group)
        y = x @ (self.w[name] if expert is None else self.w[name][expert]).T
        return y if bias is None or bias not in self.w else y + self.w[bias]

    def rms(self, x, name):
        return self.w[name] * x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.c.eps)

    def rotate(self, x):
        """x [n, heads, d]: pairs (j, j + d/2)."""
        n, _, d = x.shape
        angle = torch.from_numpy(np.outer(np.arange(n, dtype=np.float64), self.inv_freq)).to(self.dtype)[:, None, :]
        cos, sin = torch.cos(angle) * self.rope_scale, torch.sin(angle) * self.rope_scale
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
        if int8:
            k, v = (t.to(torch.float32).to(torch.float16).to(self.dtype) for t in (k, v))
        window = c.windows[i] if c.windows else 0
        p, r = torch.arange(n)[:, None], torch.arange(n)[None, :]
        hidden = (r > p) | ((r <= p - window) if window else torch.zeros_like(r > p))
        out = []
        for h in range(c.n_heads):
            g = h // (c.n_heads // c.n_kv_heads)
            scores = q[:, h] @ k[:, g].T / math.sqrt(c.head_dim)
            out.append(torch.softmax(scores.masked_fill(hidden, -math.inf), -1) @ v[:, g])
        return self.linear(f"{i}.wo", torch.cat(out, -1), int8, f"{i}.bo")

    def feed_forward(self, i, b, int8):
        gate = self.linear(f"{i}.w_gate", b, int8, f"{i}.b_gate")
        up = self.linear(f"{i}.w_up", b, int8, f"{i}.b_up")
        return self.linear(f"{i}.w_down", gate * torch.sigmoid(gate) * up, int8, f"{i}.b_down")

    def experts(self, i, b, int8):
        """The chosen experts' sum, and how far each row was from another choice: the difference between the
        last chosen and the first refused logit, in units of the logits' root mean square."""
        c = self.c
        routed = b @ self.w[f"{i}.w_router"].T
        order = torch.sort(routed, dim=-1, descending=True, stable=True)
        chosen = order.indices[:, : c.top_k]
        weights = torch.softmax(routed, -1).gather(-1, chosen)
        if c.norm_topk:
            weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(b)
        for e in range(c.n_experts):
            rows, place = torch.nonzero(chosen == e, as_tuple=True)
            if len(rows) == 0:
                continue
            gate = self.linear(f"{i}.w_gate_exps", b[rows], int8, expert=e)
            up = self.linear(f"{i}.w_up_exps", b[rows], int8, expert=e)
            y = self.linear(f"{i}.w_down_exps", gate * torch.sigmoid(gate) * up, int8, expert=e)
            out[rows] += weights[rows, place][:, None] * y
        margin = order.values[:, c.top_k - 1] - order.values[:, c.top_k]
        return out, margin / routed.pow(2).mean(-1).sqrt()

    def layer(self, i, h, int8):
        """(hidden states after layer i, margins of its router or None)."""
        h = h + self.attention(i, self.rms(h, f"{i}.attn_norm"), int8)
        b = self.rms(h, f"{i}.ffn_norm")
        if not self.c.has_experts(i):
            return h + self.feed_forward(i, b, int8), None
        added, margin = self.experts(i, b, int8)
        return h + added, margin

    def run(self, ids, int8):
        """(logits [len(ids), rows], smallest margin of any router)."""
        h = self.w["tok_embd"][torch.tensor(ids)]
        smallest = math.inf
        for i in range(self.c.n_layers):
            h, margin = self.layer(i, h, int8)
            if margin is not None:
                smallest = min(smallest, float(margin.min()))
        head = "tok_embd" if self.c.tied else "output"
        return self.linear(head, self.rms(h, "output_norm"), int8), smallest

    def logits(self, ids, int8):
        return self.run(ids, int8)[0]
