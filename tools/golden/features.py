"""References whose features can be broken one at a time, to see that each of them matters in the golden models."""
import math

import numpy as np
import torch

from golden.reference import GROUP, Base, edge_distance

MOVES = 1e-2  # a broken feature must change the logits by this much of their norm
N_TOKENS, N_KEPT = 67, 24
NOISE = 2e-7  # relative, of every product: int8 prompts on whose result it shows are not used


class Breakable(Base):
    """`broken`: mistakes that this reference makes on purpose, by name; none for the goldens."""

    def __init__(self, config, weights, formats, dtype=torch.float64, broken=()):
        super().__init__(config, weights, formats, dtype)
        self.broken = frozenset(broken)

    def wrong(self, mistake):
        assert mistake in self.MISTAKES
        return mistake in self.broken

    def edge(self, i, h):
        """What goes into keys and values: a rounding on an edge there shows at every later position."""
        group = GROUP.get(self.formats[f"{i}.wk"])
        return edge_distance(self.rms(h, f"{i}.attn_norm"), group) if group else math.inf

    def unit(self, x):
        """x over its root mean square, no weight."""
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.c.eps)

    def rotated(self, x, inv_freq):
        """x [n, heads, d]: pairs (j, j + r) of its first 2 r numbers, for r frequencies; the rest stays."""
        r = len(inv_freq)
        cos, sin = self.rotation(x.shape[0], inv_freq)
        a, b, rest = x[..., :r], x[..., r : 2 * r], x[..., 2 * r :]
        return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)

    def best_experts(self, selection, scale):
        """(indices of the top_k largest of `selection` [n, experts], the lower index first where two are equal; how
        far each row is from another choice, over `scale` [n])."""
        k = self.c.top_k
        order = torch.sort(selection, dim=-1, descending=True, stable=True)
        return order.indices[:, :k], (order.values[:, k - 1] - order.values[:, k]) / scale


def powers(theta, n, denominator):
    """theta^(-2 j / denominator) for j < n"""
    return theta ** (-2.0 * np.arange(n, dtype=np.float64) / denominator)


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def written(family, case):
    write = family.write_gguf if case["container"] == "gguf" else family.write_directory
    return write(case, case["config"], family.random_weights(case["config"], case["seed"]))


def check(family, name, case, text_ids):
    """Raises where a mistake leaves the logits of a long prompt as they were; case["hides"]: mistakes that this case
    cannot show, so that another has to."""
    w = written(family, case)
    rng = np.random.Generator(np.random.PCG64(case["seed"] + 2000))
    ids = [int(t) for t in rng.integers(*text_ids, N_TOKENS)]

    def kept(**broken):
        return family.Reference(case["config"], w.values, w.formats, **w.extra, **broken).logits(ids, False)[-N_KEPT:]

    right = kept()
    failures = []
    for mistake, least in family.Reference.MISTAKES.items():
        if mistake in case.get("hides", ()):
            continue
        moved = float((kept(broken=[mistake]) - right).norm() / right.norm())
        print(f"{name}: {mistake}: logits move by {moved:.1e}", flush=True)
        if not moved > least:
            failures.append(f"{mistake} ({moved:.1e}, expected {least:.1e})")
    if failures:
        raise SystemExit(f"{name}: these change too little: {'; '.join(failures)}")
