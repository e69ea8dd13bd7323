"""Whether everything that makes Qwen3.5 shows in the golden models' logits, and whether both forms agree."""
from dataclasses import replace

import numpy as np
import torch

from golden import qwen35_batch, vocab


def in_halves(r, i):
    """q_proj read as all queries, then all gates."""
    both = torch.stack([r.w[f"{i}.{name}"].reshape(r.c.n_heads, r.c.head_dim, -1) for name in ("wq", "attn_gate")], 1)
    r.w[f"{i}.wq"], r.w[f"{i}.attn_gate"] = both.reshape(-1, both.shape[-1]).chunk(2)


def other_key_heads(r, i):
    """Head h with key head h mod key_heads: its values and gates move, its queries and keys stay."""
    c, w = r.c, r.w[f"{i}.w_qkv"]
    start = 2 * c.key_heads * c.key_dim
    values = w[start:].reshape(c.key_heads, -1, c.value_dim, w.shape[-1]).transpose(0, 1)
    r.w[f"{i}.w_qkv"] = torch.cat([w[:start], values.reshape(-1, w.shape[-1])])


def assign(role, value):
    """A mutation: the weight with this role becomes value(weight)."""
    def mutate(r, i):
        if f"{i}.{role}" in r.w:
            r.w[f"{i}.{role}"] = value(r.w[f"{i}.{role}"])
    return mutate


def without_history(conv):
    return (conv.reshape(-1, 4) * torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=conv.dtype)).reshape(-1)


FULL_MUTATIONS = {
    "no rotation": lambda r, i: setattr(r, "rotate", lambda x: x),
    "whole heads rotated": lambda r, i: setattr(r, "c", replace(r.c, rotary=r.c.head_dim)),
    "gates in the second half": in_halves,
    "no gate": assign("attn_gate", torch.zeros_like),
    "queries without weights of their norm": assign("q_norm", torch.ones_like),
    "keys without weights of their norm": assign("k_norm", torch.ones_like),
}
LINEAR_MUTATIONS = {
    "no history before the convolution": assign("conv", without_history),
    "taps in reverse": assign("conv", lambda w: w.reshape(-1, 4).flip(1).reshape(-1)),
    "no forgetting": assign("decay", torch.zeros_like),
    "decay as a logarithm": assign("decay", lambda w: -torch.log(-w).abs()),
    "no bias of the decay": assign("dt_bias", torch.zeros_like),
    "half of the write strength": assign("w_beta", torch.zeros_like),
    "key heads in the order of GGUF": other_key_heads,
    "no weights of the output's norm": assign("delta_norm", torch.ones_like),
    "keys as long as they come": lambda r, i: setattr(r, "unit", lambda x: x),
}
EXPERT_MUTATIONS = {
    "shared expert not gated": assign("w_shared_gate", torch.zeros_like),
    "no shared expert": assign("w_down_shexp", torch.zeros_like),
    "one expert less": lambda r, i: setattr(r, "c", replace(r.c, top_k=r.c.top_k - 1)),
}


def check_mutations(family, name, case, ids):
    c = case["config"]
    weights = family.random_weights(c, case["seed"])
    written = (family.write_gguf if case["container"] == "gguf" else family.write_directory)(case, c, weights)
    true = family.Reference(c, written.values, written.formats).logits(ids, False)
    mutations = FULL_MUTATIONS | LINEAR_MUTATIONS | (EXPERT_MUTATIONS if c.n_experts else {})
    for what, mutate in mutations.items():
        if mutate is other_key_heads and c.key_heads == 1:
            continue
        mutated = family.Reference(c, written.values, written.formats)
        for i in range(c.n_layers):
            if what in EXPERT_MUTATIONS or c.is_full(i) == (what in FULL_MUTATIONS):
                mutate(mutated, i)
        change = float((mutated.logits(ids, False) - true).norm() / true.norm())
        print(f"{name}: {what}: logits change by {change:.3f}")
        assert change > 1e-2, what
    if c.mtp:
        check_draft(family, name, written, c, ids)


def check_draft(family, name, written, c, ids):
    true = family.Reference(c, written.values, written.formats)
    f, _ = true.hidden(ids[:-1], False)
    logits = true.head(true.draft_hidden(f, ids[1:], False), False)
    i = c.n_layers
    swapped = written.values | {f"{i}.mtp_fc": np.roll(written.values[f"{i}.mtp_fc"], c.d_model, 1)}
    same = written.values | {f"{i}.mtp_norm": written.values["output_norm"]}
    for what, values in (("halves of fc in the other order", swapped), ("the main norm at the end", same)):
        other = family.Reference(c, values, written.formats)
        change = float((other.head(other.draft_hidden(f, ids[1:], False), False) - logits).norm() / logits.norm())
        print(f"{name}: draft head: {what}: logits change by {change:.3f}")
        assert change > 1e-2, what


def check_forms(family, ids):
    """The batched model that is trained, with its chunks, is the reference's."""
    c = replace(family.TRAINED["qwen35-trained"]["config"], rows=304)
    weights = family.random_weights(c, 1)
    reference = family.Reference(c, weights, {name: "plain" for name in weights})
    w = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    texts = [ids, ids[::-1]]
    for row, text in zip(qwen35_batch.forward(c, w, torch.tensor(texts)), texts):
        assert torch.allclose(row, reference.logits(text, False), rtol=0, atol=1e-10)
    f, _ = reference.hidden(ids[:-1], False)
    drafts = reference.head(reference.draft_hidden(f, ids[1:], False), False)[:-1]
    expected = torch.nn.functional.cross_entropy(drafts, torch.tensor(ids[2:]))
    assert abs(float(qwen35_batch.losses(c, w, torch.tensor([ids]))["draft"] - expected)) < 1e-10
    print("qwen35: the batched form with chunks agrees with the recurrent one")


def run(family):
    ids = [int(t) for t in np.random.Generator(np.random.PCG64(9)).integers(*vocab.TEXT_IDS, 150)]
    check_forms(family, ids)
    for name, case in family.CASES.items():
        check_mutations(family, name, case, ids[:40])
