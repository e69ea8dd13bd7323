"""Dense Qwen3.5 once more, for training: batches of short texts, the delta rule in its chunked form, any
precision. The weights are tensors by the names of the family's random_weights."""
import math

import torch

from golden import delta_rule
from golden.reference import silu


def rms(x, weight, eps):
    return weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def rotated(x, c):
    """x [batch, heads, n, d]"""
    r = c.rotary
    inv_freq = c.theta ** (-2.0 * torch.arange(r // 2, dtype=torch.float64) / r)
    angle = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * inv_freq
    cos, sin = torch.cos(angle).to(x.dtype), torch.sin(angle).to(x.dtype)
    a, b = x[..., : r // 2], x[..., r // 2 : r]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, x[..., r:]], -1)


def batch_attention(c, w, i, u):
    batch, n, _ = u.shape

    def heads(name):
        return (u @ w[f"{i}.{name}"].T).reshape(batch, n, -1, c.head_dim).transpose(1, 2)

    repeats = c.n_heads // c.n_kv_heads
    q = rotated(rms(heads("wq"), w[f"{i}.q_norm"], c.eps), c)
    k = rotated(rms(heads("wk"), w[f"{i}.k_norm"], c.eps), c).repeat_interleave(repeats, 1)
    v = heads("wv").repeat_interleave(repeats, 1)
    hidden = torch.ones(n, n, dtype=torch.bool).triu(1)
    scores = (q @ k.transpose(-1, -2) / math.sqrt(c.head_dim)).masked_fill(hidden, -math.inf)
    mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(batch, n, -1)
    return (mixed * torch.sigmoid(u @ w[f"{i}.attn_gate"].T)) @ w[f"{i}.wo"].T


def batch_delta(c, w, i, u):
    batch, n, _ = u.shape
    x = torch.nn.functional.pad(u @ w[f"{i}.w_qkv"].T, (0, 0, 3, 0))
    taps = w[f"{i}.conv"].reshape(-1, 4)
    y = silu(sum(x[:, j : j + n] * taps[:, j] for j in range(4)))
    keys = c.key_heads * c.key_dim
    repeats = c.value_heads // c.key_heads

    def heads(part, size):
        return part.reshape(batch, n, -1, size).transpose(1, 2)

    q, k = (delta_rule.unit(heads(y[..., part], c.key_dim)).repeat_interleave(repeats, 1)
            for part in (slice(0, keys), slice(keys, 2 * keys)))
    beta = torch.sigmoid(u @ w[f"{i}.w_beta"].T).transpose(1, 2)
    a = u @ w[f"{i}.w_alpha"].T + w[f"{i}.dt_bias"]
    g = (w[f"{i}.decay"] * torch.nn.functional.softplus(a)).transpose(1, 2)
    o, _ = delta_rule.chunked(q / math.sqrt(c.key_dim), k, heads(y[..., 2 * keys :], c.value_dim), g, beta)
    o = rms(o, w[f"{i}.delta_norm"], c.eps) * silu(heads(u @ w[f"{i}.w_z"].T, c.value_dim))
    return o.transpose(1, 2).reshape(batch, n, -1) @ w[f"{i}.w_delta_out"].T


def batch_layer(c, w, i, h):
    u = rms(h, w[f"{i}.attn_norm"], c.eps)
    h = h + (batch_attention if c.is_full(i) else batch_delta)(c, w, i, u)
    v = rms(h, w[f"{i}.ffn_norm"], c.eps)
    return h + (silu(v @ w[f"{i}.w_gate"].T) * (v @ w[f"{i}.w_up"].T)) @ w[f"{i}.w_down"].T


def batch_hidden(c, w, ids):
    h = w["tok_embd"][ids]
    for i in range(c.n_layers):
        h = batch_layer(c, w, i, h)
    return rms(h, w["output_norm"], c.eps)


def forward(c, w, ids):
    """Logits [batch, n, rows] of ids [batch, n]."""
    return batch_hidden(c, w, ids) @ w["tok_embd" if c.tied else "output"].T


def losses(c, w, ids):
    """Of the next token and of the draft head, which learns from the other's hidden states without changing them."""
    i, head = c.n_layers, w["tok_embd" if c.tied else "output"]

    def loss(hidden, targets):
        return torch.nn.functional.cross_entropy((hidden @ head.T).flatten(0, 1), targets.flatten())

    f = batch_hidden(c, w, ids[:, :-1])
    e = rms(w["tok_embd"][ids[:, 1:]], w[f"{i}.mtp_embd_norm"], c.eps)
    s = rms(f.detach(), w[f"{i}.mtp_hidden_norm"], c.eps)
    r = rms(batch_layer(c, w, i, torch.cat([e, s], -1) @ w[f"{i}.mtp_fc"].T), w[f"{i}.mtp_norm"], c.eps)
    return {"main": loss(f, ids[:, 1:]), "draft": loss(r[:, :-1], ids[:, 2:])}
