"""What the families' references share. They are transformers in PyTorch, float64, written from the model
descriptions alone: no cache, no batching, every position from the whole prefix. They are the oracle for
the engine's logits.

Two modes. "precise" is the plain arithmetic over dequantised weights. "int8" does what the engine's fast
path defines as its result: before each product with an 8-bit matrix the activations are quantised per
token and group (amax / 127 in float32, rounding half to even), and keys and values are rounded to
float16; everything else stays float64. Routers and other gates of few outputs see unquantised activations
in both."""
import math

import numpy as np
import torch

GROUP = {"q8_0": 32, "affine8": 64}


def quantise_rows(x, group):
    """Activations as the int8 path sees them: float64 values of q * scale."""
    f = x.to(torch.float32).reshape(x.shape[0], -1, group)
    amax = f.abs().amax(-1, keepdim=True)
    safe = torch.where(amax > 0, amax, torch.ones_like(amax))
    q = torch.round(f * (torch.tensor(127.0, dtype=torch.float32) / safe))  # half to even
    scale = amax / torch.tensor(127.0, dtype=torch.float32)
    return (q.to(x.dtype) * scale.to(x.dtype)).reshape(x.shape)


def edge_distance(x, group):
    """How near any activation comes to the edge between two codes, in codes."""
    f = x.to(torch.float64).reshape(x.shape[0], -1, group)
    code = f * (127.0 / f.abs().amax(-1, keepdim=True))
    return float((code - torch.floor(code) - 0.5).abs().min())


def silu(x):
    return x * torch.sigmoid(x)


class Base:
    """weights: {name: float64 array}; matrices [out, in], by layer as "0.wq". formats: {name: "q8_0" |
    "affine8" | "plain"} for matrices. The model's own row order everywhere (half-split rotation).

    A family adds layer(i, h, int8) -> (hidden states after layer i, margins of its router by row or None).
    The config has n_layers, eps and tied."""

    def __init__(self, config, weights, formats, dtype=torch.float64):
        self.c, self.formats, self.dtype = config, formats, dtype
        self.noise, self.generator = 0.0, torch.Generator().manual_seed(1)  # noise: relative, of every product
        self.w = {name: torch.from_numpy(np.array(value, np.float64)).to(dtype) for name, value in weights.items()}

    def linear(self, name, x, int8, bias=None, expert=None):
        group = GROUP.get(self.formats[name])
        if int8 and group:
            x = quantise_rows(x, group)
        y = x @ (self.w[name] if expert is None else self.w[name][expert]).T
        if self.noise:
            y = y * (1 + self.noise * torch.randn(y.shape, dtype=y.dtype, generator=self.generator))
        return y if bias is None or bias not in self.w else y + self.w[bias]

    def unquantised(self, name, x):
        """A product that takes the activations as they are in every mode and format."""
        return x @ self.w[name].T

    def rms(self, x, name):
        return self.w[name] * x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.c.eps)

    def cached(self, x, int8):
        """Keys or values as the cache keeps them."""
        return x.to(torch.float32).to(torch.float16).to(self.dtype) if int8 else x

    def rotation(self, n, inv_freq, scale=1.0):
        """(cos, sin) [n, 1, frequencies] of positions 0 .. n - 1."""
        angle = torch.from_numpy(np.outer(np.arange(n, dtype=np.float64), inv_freq)).to(self.dtype)[:, None, :]
        return torch.cos(angle) * scale, torch.sin(angle) * scale

    def mixed_heads(self, q, k, v, window=0, scale=None):
        """Causal attention [n, heads * d] of q [n, heads, d] to k and v [n, fewer heads, d]; a window also hides
        what lies `window` or more positions back."""
        n, n_heads, d = q.shape
        p, r = torch.arange(n)[:, None], torch.arange(n)[None, :]
        hidden = (r > p) | ((r <= p - window) if window else torch.zeros_like(r > p))
        out = []
        for h in range(n_heads):
            g = h // (n_heads // k.shape[1])
            scores = q[:, h] @ k[:, g].T
            scores = scores / math.sqrt(d) if scale is None else scores * scale
            out.append(torch.softmax(scores.masked_fill(hidden, -math.inf), -1) @ v[:, g])
        return torch.cat(out, -1)

    def chosen_experts(self, i, b, chosen, weights, int8, activation=silu):
        """Sum over the experts `chosen` [n, k] of layer i with `weights` [n, k]."""
        out = torch.zeros_like(b)
        for e in range(self.w[f"{i}.w_gate_exps"].shape[0]):
            rows, place = torch.nonzero(chosen == e, as_tuple=True)
            if len(rows) == 0:
                continue
            gate = self.linear(f"{i}.w_gate_exps", b[rows], int8, expert=e)
            up = self.linear(f"{i}.w_up_exps", b[rows], int8, expert=e)
            y = self.linear(f"{i}.w_down_exps", activation(gate) * up, int8, expert=e)
            out[rows] += weights[rows, place][:, None] * y
        return out

    def embed(self, ids):
        return self.w["tok_embd"][torch.tensor(ids)]

    def layer(self, i, h, int8):
        raise NotImplementedError

    def hidden(self, ids, int8):
        """(hidden states after the last norm [len(ids), width], smallest margin of any router)."""
        h = self.embed(ids)
        smallest = math.inf
        for i in range(self.c.n_layers):
            h, margin = self.layer(i, h, int8)
            if margin is not None:
                smallest = min(smallest, float(margin.min()))
        return self.rms(h, "output_norm"), smallest

    def head(self, f, int8):
        return self.linear("tok_embd" if self.c.tied else "output", f, int8)

    def run(self, ids, int8):
        """(logits [len(ids), rows], smallest margin of any router)."""
        f, smallest = self.hidden(ids, int8)
        return self.head(f, int8), smallest

    def logits(self, ids, int8):
        return self.run(ids, int8)[0]
