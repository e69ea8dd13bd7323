"""The gated delta rule by itself, in both of its forms, and a golden of it in float64."""
import json

import numpy as np
import torch

CHUNK = 64
LENGTHS = [(1, -20.0), (2, -20.0), (63, -20.0), (64, -20.0), (65, -20.0), (200, -20.0), (65, -100.0)]
KEY_HEADS, VALUE_HEADS, DIM = 2, 4, 32
SEED = 41


def unit(x):
    """Rows of length one."""
    return x / torch.sqrt((x * x).sum(-1, keepdim=True) + 1e-6)


def recurrent(q, k, v, g, beta):
    """q, k [n, heads, key dim], v [n, heads, value dim], g, beta [n, heads]; (o [n, heads, value dim],
    state [heads, key dim, value dim]). The state is zero at first and decays before it is read."""
    state = torch.zeros(k.shape[1], k.shape[2], v.shape[2], dtype=v.dtype)
    decay, out = torch.exp(g), []
    for t in range(len(q)):
        state = state * decay[t, :, None, None]
        memory = (k[t, :, None, :] @ state)[:, 0]
        written = beta[t, :, None] * (v[t] - memory)
        state = state + k[t, :, :, None] * written[:, None, :]
        out.append((q[t, :, None, :] @ state)[:, 0])
    return torch.stack(out), state


def chunked(q, k, v, g, beta, chunk=CHUNK):
    """The same, [..., heads, n, dim] and [..., heads, n] with any axes in front; every chunk by matrix products."""
    n = q.shape[-2]
    state = torch.zeros(*q.shape[:-2], k.shape[-1], v.shape[-1], dtype=v.dtype)
    out = []
    for start in range(0, n, chunk):
        part = slice(start, min(start + chunk, n))
        o, state = one_chunk(q[..., part, :], k[..., part, :], v[..., part, :], g[..., part], beta[..., part], state)
        out.append(o)
    return torch.cat(out, -2), state


def one_chunk(q, k, v, g, beta, state):
    total = g.cumsum(-1)
    lower = torch.ones(g.shape[-1], g.shape[-1], dtype=torch.bool).tril()
    # Differences above the diagonal are positive: taken out before exp, lest it overflow.
    decay = torch.exp((total[..., :, None] - total[..., None, :]).masked_fill(~lower, 0)) * lower
    start = torch.exp(total)[..., None]
    a = (beta[..., None] * (k @ k.transpose(-1, -2)) * decay).tril(-1)
    right = beta[..., None] * (v - start * (k @ state))
    written = torch.linalg.solve_triangular(a + torch.eye(a.shape[-1], dtype=a.dtype), right, upper=False)
    o = start * (q @ state) + ((q @ k.transpose(-1, -2)) * decay) @ written
    left = torch.exp(total[..., -1:] - total)[..., None] * k
    return o, torch.exp(total[..., -1])[..., None, None] * state + left.transpose(-1, -2) @ written


def heads_of(x, conv, tiled):
    """q (scaled), k, v [n, VALUE_HEADS, DIM] from the products x [n, channels] before the convolution."""
    padded = torch.cat([torch.zeros(3, x.shape[1], dtype=x.dtype), x])
    y = sum(conv[:, j] * padded[j : j + len(x)] for j in range(4))
    y = (y * torch.sigmoid(y)).reshape(len(x), -1, DIM)
    q, k, v = y[:, :KEY_HEADS], y[:, KEY_HEADS : 2 * KEY_HEADS], y[:, 2 * KEY_HEADS :]
    of = [h % KEY_HEADS if tiled else h * KEY_HEADS // VALUE_HEADS for h in range(VALUE_HEADS)]
    return unit(q)[:, of] / DIM ** 0.5, unit(k)[:, of], v


def both_forms(q, k, v, g, beta):
    """The recurrent form's results, after the chunked one has been found to agree."""
    o, state = recurrent(q, k, v, g, beta)
    by_head = [t.transpose(0, 1) for t in (q, k, v, g, beta)]
    for chunk in (CHUNK, 16, 7):
        other, other_state = chunked(*by_head, chunk)
        for a, b in ((other.transpose(0, 1), o), (other_state, state)):
            difference = float((a - b).abs().max() / b.abs().max())
            assert difference < 1e-12, (len(q), chunk, difference)
    return o, state


def write(out_dir):
    """delta_rule.json and delta_rule.bin."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    channels = (2 * KEY_HEADS + VALUE_HEADS) * DIM
    data, cases = b"", []

    def put(value, kind):
        nonlocal data
        data += b"\0" * (-len(data) % 4)
        start = len(data)
        data += np.ascontiguousarray(value).astype(kind).tobytes()
        return start

    for index, (n, lowest) in enumerate(LENGTHS):
        x = rng.standard_normal((n, channels)).astype(np.float16)
        conv = rng.standard_normal((channels, 4)).astype(np.float16)
        # From forgetting everything to nothing; a few writes of full strength and none.
        g = -(10 ** rng.uniform(-4, np.log10(-lowest), (n, VALUE_HEADS))).astype(np.float32)
        beta = rng.uniform(0, 1, (n, VALUE_HEADS)).astype(np.float32)
        if lowest == -100:
            g[n // 2] = lowest
        tiled = index % 2 == 0
        exact = [torch.from_numpy(a.astype(np.float64)) for a in (x, conv, g, beta)]
        o, state = both_forms(*heads_of(exact[0], exact[1], tiled), exact[2], exact[3])
        cases.append({"n": n, "tiled": tiled, "x": put(x, "<f2"), "conv": put(conv, "<f2"), "g": put(g, "<f4"),
                      "beta": put(beta, "<f4"), "o": put(o.numpy(), "<f4"),
                      "state": put(state.numpy().swapaxes(1, 2), "<f4")})
    golden = {"file": "delta_rule.bin", "seed": SEED, "key_heads": KEY_HEADS, "value_heads": VALUE_HEADS, "key_dim": DIM,
              "value_dim": DIM, "cases": cases}
    (out_dir / "delta_rule.bin").write_bytes(data)
    (out_dir / "delta_rule.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(f"delta_rule: {len(cases)} cases, {len(data)} bytes")
