"""The network of darkbloom/nano: a dense Qwen3 (RMS norm, QK norm, rotary positions, grouped
queries, SwiGLU, tied head).

Written for a CPU: query, key and value share one matrix product, gate and up share another, and the head is evaluated
only at the positions that carry loss.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass(frozen=True)
class Config:
    vocab: int = 3072
    dim: int = 256
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 448
    rope_theta: float = 1e6
    eps: float = 1e-6
    context: int = 65536


class RmsNormFunction(torch.autograd.Function):
    """One node in the graph instead of six: the norms are a third of the element-wise work."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        return x * scale * weight

    @staticmethod
    def backward(ctx, grad):
        x, weight, scale = ctx.saved_tensors
        normed = x * scale
        dims = tuple(range(grad.dim() - weight.dim()))
        grad_weight = (grad * normed).sum(dims)
        grad = grad * weight
        grad_x = scale * (grad - normed * (grad * normed).mean(-1, keepdim=True))
        return grad_x, grad_weight, None


def rms_norm(x, weight, eps):
    return RmsNormFunction.apply(x.float(), weight, eps)


def rope_tables(positions, head_dim, theta):
    """cos and sin of shape [n, head_dim / 2]: computed in f64, rounded once."""
    inv_freq = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = positions.double()[:, None] * inv_freq
    return angles.cos().float(), angles.sin().float()


def rotate(x, cos, sin):
    """Half-split pairs (j, j + d/2); x is [batch, time, heads, head_dim]."""
    a, b = x.chunk(2, -1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def share(x, groups):
    """Each key or value head serves `groups` neighbouring query heads."""
    batch, time, heads, size = x.shape
    return x[:, :, :, None].expand(-1, -1, -1, groups, -1).reshape(batch, time, heads * groups, size)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        queries, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
        self.attn_norm = nn.Parameter(torch.ones(c.dim))
        self.qkv = nn.Parameter(torch.empty(queries + 2 * keys, c.dim))
        self.q_norm = nn.Parameter(torch.ones(c.head_dim))
        self.k_norm = nn.Parameter(torch.ones(c.head_dim))
        self.out = nn.Parameter(torch.empty(c.dim, queries))
        self.ffn_norm = nn.Parameter(torch.ones(c.dim))
        self.gate_up = nn.Parameter(torch.empty(2 * c.ffn, c.dim))
        self.down = nn.Parameter(torch.empty(c.dim, c.ffn))

    def forward(self, x, cos, sin, mask, past=None):
        c = self.c
        batch, time, _ = x.shape
        qkv = F.linear(rms_norm(x, self.attn_norm, c.eps), self.qkv)
        qkv = qkv.view(batch, time, c.heads + 2 * c.kv_heads, c.head_dim)
        qk, v = qkv.split((c.heads + c.kv_heads, c.kv_heads), 2)
        norm = torch.cat((self.q_norm.expand(c.heads, -1), self.k_norm.expand(c.kv_heads, -1)))
        qk = rotate(rms_norm(qk, norm, c.eps), cos, sin).to(v.dtype)
        q, k = qk.split((c.heads, c.kv_heads), 2)
        if past is not None:
            k, v = past.append(k, v)
        groups = c.heads // c.kv_heads
        q = q.transpose(1, 2)
        k = share(k, groups).permute(0, 2, 3, 1)
        v = share(v, groups).transpose(1, 2)
        scores = (q @ k).float() * (1 / math.sqrt(c.head_dim)) + mask
        mixed = torch.softmax(scores, -1).to(v.dtype) @ v
        x = x + F.linear(mixed.transpose(1, 2).reshape(batch, time, -1), self.out)
        gate, up = F.linear(rms_norm(x, self.ffn_norm, c.eps), self.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down)


class Past:
    """Keys and values of one layer during generation."""

    def __init__(self):
        self.k = self.v = None

    def append(self, k, v):
        if self.k is not None:
            k, v = torch.cat((self.k, k), 1), torch.cat((self.v, v), 1)
        self.k, self.v = k, v
        return k, v


def causal_mask(rows, columns):
    """Rows are the last `rows` of `columns` positions."""
    return torch.full((rows, columns), -1e9).triu(columns - rows + 1)


class Nano(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab, config.dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.ones(config.dim))

    def initialise(self, seed):
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                # Residual branches start small so that depth does not grow the stream.
                branch = name.endswith((".out", ".down"))
                std = 0.02 if name == "embedding" else p.shape[1] ** -0.5
                p.data.normal_(0, std * ((2 * self.config.layers) ** -0.5 if branch else 1), generator=generator)

    def hidden(self, tokens, past=None):
        c = self.config
        start = past[0].k.shape[1] if past is not None and past[0].k is not None else 0
        time = tokens.shape[1]
        cos, sin = rope_tables(torch.arange(start, start + time), c.head_dim, c.rope_theta)
        mask = causal_mask(time, start + time)
        x = F.embedding(tokens, self.embedding)
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin, mask, past[i] if past is not None else None)
        return rms_norm(x, self.norm, c.eps)

    def logits(self, hidden):
        return F.linear(hidden, self.embedding)

    @torch.no_grad()
    def generate(self, ids, stop, limit=160):
        """Greedy continuation: the ids without the stop token, and the smallest gap between the two best logits."""
        past = [Past() for _ in self.blocks]
        result, margin = [], math.inf
        inputs = torch.tensor([ids])
        while len(result) < limit:
            best = self.logits(self.hidden(inputs, past)[0, -1]).float().topk(2)
            margin = min(margin, float(best.values[0] - best.values[1]))
            token = int(best.indices[0])
            if token in stop:
                break
            result.append(token)
            inputs = torch.tensor([[token]])
        return result, margin
