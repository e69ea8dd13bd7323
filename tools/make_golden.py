#!/usr/bin/env python3
"""Makes the golden models of tests/golden/engine/data: small random transformers in every container and
weight format the engine reads, with logits and greedy continuations from an independent float64 reference.

Usage: tools/make_golden.py [OUT_DIR] [--case NAME]. Needs python3-torch and python3-numpy. The same
script and library versions give the same files; seeds are recorded in each golden.json."""
import argparse
import json
import pathlib
import shutil
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from golden import containers, vocab  # noqa: E402
from golden.reference import Config, Reference, llama3_divisors  # noqa: E402

FIRST_SPECIAL = vocab.N_TOKENS - len(vocab.SPECIALS)
ROWS = 304  # of the embedding: four more than there are tokens
TOLERANCE = 1e-3  # of the norm of the logits
MARGIN = 20 * TOLERANCE  # of their root mean square, between the best two at every greedy step
SENSITIVITY = 3e-4  # largest change of the int8 logits when all other arithmetic is float32
ROUTE_MARGIN = 5e-3  # of every choice of experts, where a prompt must come out the same
LAYER_ROUTE_MARGIN = 0.03  # of a position that is compared after one layer
N_GREEDY = 16
MIN_DISTINCT = 6  # different tokens in a greedy continuation
PROMPTS = [(5, 5), (18, 18), (67, 24)]  # tokens, positions whose logits are kept (the last ones)
LONG = 32  # prompts beyond it have roundings on an edge somewhere: their layers are also compared one by one

LLAMA3 = {"type": "llama3", "factor": 8.0, "low": 1.0, "high": 4.0, "original": 32}
YARN = {"type": "yarn", "factor": 4.0, "original": 64}

CASES = {
    "llama-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=11,
        config=Config("llama", 2, 128, 4, 2, 32, 192, ROWS, rope=LLAMA3)),
    "llama-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=12, shards=2,
        config=Config("llama", 2, 128, 4, 2, 32, 192, ROWS, theta=50000.0, rope=LLAMA3)),
    "llama-hf-bf16": dict(
        container="hf", kind="bf16", seed=13,
        config=Config("llama", 2, 64, 4, 4, 16, 96, ROWS, qkv_bias=True, out_bias=True, mlp_bias=True, rope=YARN,
                      windows=(24, 0))),
    "qwen2-gguf-f16": dict(
        container="gguf", kind="f16", seed=14,
        config=Config("qwen2", 2, 64, 4, 2, 16, 96, ROWS, eps=1e-6, theta=1e6, tied=True, qkv_bias=True)),
    "qwen3-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=15,
        config=Config("qwen3", 3, 96, 4, 2, 32, 160, ROWS, eps=1e-6, theta=1e6, tied=True, qk_norm=True)),
    "qwen3-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=16,
        config=Config("qwen3", 2, 128, 3, 1, 64, 192, ROWS, eps=1e-6, theta=1e6, tied=True, qk_norm=True)),
    "qwen3moe-gguf-q8_0": dict(
        container="gguf", kind="q8_0", seed=17,
        config=Config("qwen3moe", 2, 64, 4, 2, 32, 96, ROWS, eps=1e-6, theta=1e6, qk_norm=True,
                      n_experts=8, top_k=3, expert_ffn=64)),
    "qwen3moe-mlx-affine8": dict(
        container="mlx", kind="affine8", seed=18,
        config=Config("qwen3moe", 2, 128, 4, 1, 32, 192, ROWS, eps=1e-6, theta=1e6, tied=True, qk_norm=True,
                      n_experts=6, top_k=2, expert_ffn=64, norm_topk=False, mlp_only=(0,))),
    "qwen3moe-hf-bf16": dict(
        container="hf", kind="bf16", seed=19,
        config=Config("qwen3moe", 2, 64, 4, 2, 16, 96, ROWS, eps=1e-6, theta=1e6, tied=True, qk_norm=True,
                      n_experts=7, top_k=2, expert_ffn=48, sparse_step=2)),
}

GGUF_NAMES = {
    "tok_embd": "token_embd.weight", "output_norm": "output_norm.weight", "output": "output.weight",
    "attn_norm": "attn_norm.weight", "wq": "attn_q.weight", "wk": "attn_k.weight", "wv": "attn_v.weight",
    "wo": "attn_output.weight", "bq": "attn_q.bias", "bk": "attn_k.bias", "bv": "attn_v.bias",
    "bo": "attn_output.bias", "q_norm": "attn_q_norm.weight", "k_norm": "attn_k_norm.weight",
    "ffn_norm": "ffn_norm.weight", "w_gate": "ffn_gate.weight", "w_up": "ffn_up.weight",
    "w_down": "ffn_down.weight", "b_gate": "ffn_gate.bias", "b_up": "ffn_up.bias", "b_down": "ffn_down.bias",
    "w_router": "ffn_gate_inp.weight", "w_gate_exps": "ffn_gate_exps.weight", "w_up_exps": "ffn_up_exps.weight",
    "w_down_exps": "ffn_down_exps.weight",
}
HF_NAMES = {
    "tok_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight", "output": "lm_head.weight",
    "attn_norm": "input_layernorm.weight", "wq": "self_attn.q_proj.weight", "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight", "wo": "self_attn.o_proj.weight", "bq": "self_attn.q_proj.bias",
    "bk": "self_attn.k_proj.bias", "bv": "self_attn.v_proj.bias", "bo": "self_attn.o_proj.bias",
    "q_norm": "self_attn.q_norm.weight", "k_norm": "self_attn.k_norm.weight",
    "ffn_norm": "post_attention_layernorm.weight", "w_gate": "mlp.gate_proj.weight", "w_up": "mlp.up_proj.weight",
    "w_down": "mlp.down_proj.weight", "b_gate": "mlp.gate_proj.bias", "b_up": "mlp.up_proj.bias",
    "b_down": "mlp.down_proj.bias", "w_router": "mlp.gate.weight", "w_gate_exps": "mlp.switch_mlp.gate_proj.weight",
    "w_up_exps": "mlp.switch_mlp.up_proj.weight", "w_down_exps": "mlp.switch_mlp.down_proj.weight",
}


def random_weights(c, seed):
    """Scaled so that attention is neither flat nor one-hot, that no layer drowns the others, and that
    logits have a deviation of a few units."""
    rng = np.random.Generator(np.random.PCG64(seed))
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    w = {}

    def matrix(name, rows, k, gain):
        w[name] = rng.standard_normal((rows, k)) * (gain / np.sqrt(k))

    def vector(name, n, mean, deviation):
        w[name] = mean + rng.standard_normal(n) * deviation

    matrix("tok_embd", c.rows, c.d_model, 0.22 * np.sqrt(c.d_model))
    vector("output_norm", c.d_model, 1.0, 0.1)
    if not c.tied:
        matrix("output", c.rows, c.d_model, 2.5)
    for i in range(c.n_layers):
        vector(f"{i}.attn_norm", c.d_model, 1.0, 0.1)
        matrix(f"{i}.wq", q, c.d_model, 1.3)
        matrix(f"{i}.wk", kv, c.d_model, 1.3)
        matrix(f"{i}.wv", kv, c.d_model, 1.2)
        matrix(f"{i}.wo", c.d_model, q, 1.2)
        if c.qkv_bias:
            vector(f"{i}.bq", q, 0.0, 0.5)
            vector(f"{i}.bk", kv, 0.0, 0.5)
            w[f"{i}.bk"][:: c.head_dim] += 6.0  # a few channels of large magnitude, as the family has them
            vector(f"{i}.bv", kv, 0.0, 0.3)
        if c.out_bias:
            vector(f"{i}.bo", c.d_model, 0.0, 0.1)
        if c.qk_norm:
            vector(f"{i}.q_norm", c.head_dim, 1.1, 0.15)
            vector(f"{i}.k_norm", c.head_dim, 1.1, 0.15)
        vector(f"{i}.ffn_norm", c.d_model, 1.0, 0.1)
        if c.has_experts(i):
            matrix(f"{i}.w_router", c.n_experts, c.d_model, 1.6)
            for name, rows, k, gain in (("w_gate_exps", c.expert_ffn, c.d_model, 1.4),
                                        ("w_up_exps", c.expert_ffn, c.d_model, 1.2),
                                        ("w_down_exps", c.d_model, c.expert_ffn, 2.2)):
                w[f"{i}.{name}"] = rng.standard_normal((c.n_experts, rows, k)) * (gain / np.sqrt(k))
            continue
        matrix(f"{i}.w_gate", c.ffn, c.d_model, 1.4)
        matrix(f"{i}.w_up", c.ffn, c.d_model, 1.2)
        matrix(f"{i}.w_down", c.d_model, c.ffn, 1.5)
        if c.mlp_bias:
            vector(f"{i}.b_gate", c.ffn, 0.0, 0.2)
            vector(f"{i}.b_up", c.ffn, 0.0, 0.2)
            vector(f"{i}.b_down", c.d_model, 0.0, 0.1)
    return w


def plain_name(name, names, layer_prefix):
    layer, _, role = name.rpartition(".")
    return f"{layer_prefix}.{layer}.{names[role]}" if layer else names[role]


def rows_of(w):
    """Stacked experts as one matrix, anything else as it is."""
    return w.reshape(-1, w.shape[-1]) if w.ndim == 3 else w


# --- containers ----------------------------------------------------------------------------------------
def permute_rows(w, head_dim):
    """What the GGUF converter does to q and k of llama: new[2j] = old[j], new[2j + 1] = old[j + d/2]."""
    heads = w.reshape(-1, 2, head_dim // 2, *w.shape[1:])
    return heads.swapaxes(1, 2).reshape(w.shape)


def gguf_kind(name, value, kind):
    """Vectors and routers in F32; in the F16 file one matrix in BF16 and one in F32, for such mixtures exist."""
    if value.ndim == 1 or name.endswith("w_router"):
        return "f32"
    if kind == "f16" and name == "0.w_up":
        return "bf16"
    if kind == "f16" and name == "1.wv":
        return "f32"
    return kind


def write_gguf(case, c, weights):
    """(image, values by name, formats by name, divisors)."""
    g = containers.Gguf()
    a = c.arch
    g.put("general.architecture", a)
    g.put("general.name", f"golden {a} {case['kind']}")
    g.put(f"{a}.block_count", c.n_layers)
    g.put(f"{a}.context_length", c.ctx)
    g.put(f"{a}.embedding_length", c.d_model)
    g.put(f"{a}.feed_forward_length", c.ffn)
    g.put(f"{a}.attention.head_count", c.n_heads)
    g.put(f"{a}.attention.head_count_kv", c.n_kv_heads)
    if c.d_model != c.n_heads * c.head_dim:
        g.put(f"{a}.attention.key_length", c.head_dim)
        g.put(f"{a}.attention.value_length", c.head_dim)
    if c.n_experts:
        g.put(f"{a}.expert_count", c.n_experts)
        g.put(f"{a}.expert_used_count", c.top_k)
        g.put(f"{a}.expert_feed_forward_length", c.expert_ffn)
    g.put(f"{a}.attention.layer_norm_rms_epsilon", c.eps)
    g.put(f"{a}.rope.freq_base", c.theta)
    vocab.put_gguf(g, "llama-bpe" if a == "llama" else "qwen2", c.rows)
    values, formats, divisors = {}, {}, None
    if c.rope:
        divisors = np.asarray(llama3_divisors(c), np.float32)
        g.add("rope_freqs.weight", divisors.shape, "f32", divisors.tobytes())
    for name, w in weights.items():
        kind = gguf_kind(name, w, case["kind"])
        permuted = a == "llama" and name.rpartition(".")[2] in ("wq", "wk", "bq", "bk")
        stored = permute_rows(w, c.head_dim) if permuted else w
        encode = containers.encode_q8_0 if kind == "q8_0" else lambda x, k=kind: containers.encode_plain(x, k)
        raw, _ = encode(rows_of(stored))
        values[name] = encode(rows_of(w))[1].reshape(w.shape)  # row by row, so their order does not matter
        formats[name] = kind if kind == "q8_0" else "plain"
        g.add(plain_name(name, GGUF_NAMES, "blk"), w.shape, kind, raw)
    return g.build(), values, formats, divisors


def hf_config(case, c):
    out = {
        "architectures": [{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
                           "qwen3moe": "Qwen3MoeForCausalLM"}[c.arch]],
        "model_type": "qwen3_moe" if c.n_experts else c.arch, "hidden_act": "silu",
        "hidden_size": c.d_model, "intermediate_size": c.ffn,
        "num_hidden_layers": c.n_layers, "num_attention_heads": c.n_heads, "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim, "vocab_size": c.rows, "max_position_embeddings": c.ctx, "rms_norm_eps": c.eps,
        "rope_theta": c.theta, "tie_word_embeddings": c.tied, "torch_dtype": "bfloat16",
        "bos_token_id": vocab.BOS, "eos_token_id": vocab.IM_END,
    }
    if c.arch == "llama":
        out["attention_bias"], out["mlp_bias"] = c.qkv_bias, c.mlp_bias
    if c.rope.get("type") == "llama3":
        out["rope_scaling"] = {"rope_type": "llama3", "factor": c.rope["factor"], "low_freq_factor": c.rope["low"],
                               "high_freq_factor": c.rope["high"],
                               "original_max_position_embeddings": c.rope["original"]}
    elif c.rope:
        out["rope_scaling"] = {"type": "yarn", "factor": c.rope["factor"],
                               "original_max_position_embeddings": c.rope["original"]}
    if c.windows:
        out["layer_types"] = ["sliding_attention" if w else "full_attention" for w in c.windows]
        out["sliding_window"] = max(c.windows)
    if c.n_experts:
        out |= {"num_experts": c.n_experts, "num_experts_per_tok": c.top_k, "moe_intermediate_size": c.expert_ffn,
                "norm_topk_prob": c.norm_topk, "decoder_sparse_step": c.sparse_step,
                "mlp_only_layers": list(c.mlp_only)}
    if case["kind"] == "affine8":
        settings = {"group_size": 64, "bits": 8}
        routers = {f"model.layers.{i}.mlp.gate": settings for i in range(c.n_layers) if c.has_experts(i)}
        out["quantization"] = settings | routers
        out["quantization_config"] = settings | routers
    return out


def write_directory(case, c, weights):
    """({file name: bytes}, values by name, formats by name)."""
    tensors, values, formats = [], {}, {}
    for name, w in weights.items():
        full = plain_name(name, HF_NAMES, "model.layers")
        if w.ndim == 3 and case["container"] == "hf":  # every expert is a module of its own
            parts = []
            for e in range(len(w)):
                raw, value = containers.encode_plain(w[e], "bf16")
                parts.append(value)
                tensors.append((full.replace("switch_mlp", f"experts.{e}"), w[e].shape, "bf16", raw))
            values[name], formats[name] = np.stack(parts), "plain"
        elif case["kind"] == "affine8" and w.ndim >= 2:
            (codes, scales, biases), value = containers.encode_affine8(rows_of(w))
            values[name], formats[name] = value.reshape(w.shape), "affine8"
            module, groups = full.removesuffix(".weight"), (*w.shape[:-1], w.shape[-1] // 64)
            tensors.append((full, (*w.shape[:-1], w.shape[-1] // 4), "u32", codes))
            tensors.append((module + ".scales", groups, "bf16", scales))
            tensors.append((module + ".biases", groups, "bf16", biases))
        else:
            raw, values[name] = containers.encode_plain(w, "bf16")
            formats[name] = "plain"
            tensors.append((full, w.shape, "bf16", raw))
    producer = "mlx" if case["container"] == "mlx" else "pt"
    files = {"config.json": json.dumps(hf_config(case, c), indent=1).encode()}
    n_shards = case.get("shards", 1)
    if n_shards == 1:
        files["model.safetensors"] = containers.safetensors(tensors, producer)
    else:
        weight_map = {}
        for s in range(n_shards):
            part = tensors[s * len(tensors) // n_shards : (s + 1) * len(tensors) // n_shards]
            file = f"model-{s + 1:05}-of-{n_shards:05}.safetensors"
            files[file] = containers.safetensors(part, producer)
            weight_map.update({t[0]: file for t in part})
        total = sum(len(t[3]) for t in tensors)
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        files["model.safetensors.index.json"] = json.dumps(index, indent=1).encode()
    for name, text in vocab.hf_files("llama-bpe" if c.arch == "llama" else "qwen2").items():
        files[name] = text.encode()
    return files, values, formats


# --- prompts -------------------------------------------------------------------------------------------
def greedy(reference, ids, int8):
    """(continuation, smallest margin in units of the logits' root mean square), or None where two
    candidates are too close to call, a router nearly chooses another expert, a special or padding token would
    win (an engine may mask those or stop there) or the text says the same thing over and over."""
    ids, out, smallest = list(ids), [], np.inf
    for _ in range(N_GREEDY):
        logits, route_margin = reference.run(ids, int8)
        last = logits[-1].numpy()
        best = np.sort(last)[-2:]
        margin = (best[1] - best[0]) / np.sqrt(np.mean(last * last))
        if margin < MARGIN or last.argmax() >= FIRST_SPECIAL or route_margin < ROUTE_MARGIN / (1 if int8 else 20):
            return None
        smallest = min(smallest, margin)
        out.append(int(last.argmax()))
        ids.append(out[-1])
    return (out, smallest) if len(set(out)) >= MIN_DISTINCT else None


def relative(a, b):
    return float((a - b).norm() / b.norm())


def draw_prompt(reference, rough, rng, length, modes):
    """Prompts at random until one passes; (ids, {mode: (logits, continuation, margin)}, draws, change of the
    int8 logits in float32)."""
    for draws in range(1, 4000):
        ids = [int(t) for t in rng.integers(0, FIRST_SPECIAL, length)]
        results = {}
        for mode in modes:
            text = greedy(reference, ids, mode == "int8")
            if text is None:
                break
            results[mode] = (reference.logits(ids, mode == "int8"), *text)
        if len(results) < len(modes):
            continue
        sensitivity = relative(rough.logits(ids, True).double(), results["int8"][0]) if "int8" in modes else 0.0
        if sensitivity > SENSITIVITY:
            continue
        return ids, results, draws, sensitivity
    raise SystemExit("no prompt passes; change the seed")


def layer_checks(reference, ids, kept, case_dir):
    """Each layer by itself in int8: hidden states before it (float16, exact for the reference too) and after it
    at the last positions, those left out where the router nearly chooses another expert."""
    h = reference.w["tok_embd"][torch.tensor(ids)]
    out = []
    for i in range(reference.c.n_layers):
        h = h.to(torch.float32).to(torch.float16)
        (case_dir / f"layer_{i}_in.bin").write_bytes(h.numpy().astype("<f2").tobytes())
        h, margin = reference.layer(i, h.to(reference.dtype), True)
        positions = [p for p in range(len(ids) - kept, len(ids)) if margin is None or margin[p] > LAYER_ROUTE_MARGIN]
        (case_dir / f"layer_{i}_out.bin").write_bytes(h[positions].to(torch.float32).numpy().astype("<f4").tobytes())
        out.append({"positions": positions, "in_file": f"layer_{i}_in.bin", "out_file": f"layer_{i}_out.bin"})
    return out


def weight_checks(values):
    """One number for each weight that depends on every element and its place: a loader that reads a wrong
    row, scale or type is found before any logits are computed."""
    out = {}
    for name, value in values.items():
        matrix = np.atleast_2d(rows_of(value))
        row, column = np.indices(matrix.shape)
        out[name] = float((matrix * ((row * 31 + column * 17) % 97 + 1)).sum())
    return out


def make_case(name, case, out_dir):
    c, seed = case["config"], case["seed"]
    case_dir = out_dir / name
    shutil.rmtree(case_dir, ignore_errors=True)
    case_dir.mkdir(parents=True)
    weights = random_weights(c, seed)
    divisors = None
    if case["container"] == "gguf":
        image, values, formats, divisors = write_gguf(case, c, weights)
        (case_dir / "model.gguf").write_bytes(image)
        model = "model.gguf"
    else:
        files, values, formats = write_directory(case, c, weights)
        (case_dir / "model").mkdir()
        for file, raw in files.items():
            (case_dir / "model" / file).write_bytes(raw)
        model = "model"
    reference = Reference(c, values, formats, divisors)
    rough = Reference(c, values, formats, divisors, dtype=torch.float32)
    rng = np.random.Generator(np.random.PCG64(seed + 1000))
    prompts = []
    layers = None
    for i, (length, kept) in enumerate(PROMPTS):
        # One activation on an edge may send a token to other experts, so long prompts stay precise there.
        modes = ("precise",) if length > LONG and c.n_experts else ("precise", "int8")
        ids, results, draws, sensitivity = draw_prompt(reference, rough, rng, length, modes)
        entry = {"ids": ids, "n_logits_positions": kept}
        for mode, (logits, text, margin) in results.items():
            file = f"{mode}_{i}.bin"
            (case_dir / file).write_bytes(logits[-kept:].to(torch.float32).numpy().astype("<f4").tobytes())
            entry[f"{mode}_logits_file"] = file
            entry[f"greedy_{mode}"] = text
        entry["min_margin"] = round(float(min(margin for _, _, margin in results.values())), 6)
        prompts.append(entry)
        if length > LONG:
            layers = {"ids": ids, "layers": layer_checks(reference, ids, kept, case_dir)}
        precise = results["precise"][0]
        print(f"{name}: {length} tokens, {draws} draws, logits rms {precise.pow(2).mean().sqrt():.2f}, "
              f"int8 differs by {relative(reference.logits(ids, True), precise):.1e}, float32 by {sensitivity:.1e}")
    golden = {"model": model, "kind": case["kind"], "container": case["container"], "arch": c.arch, "seed": seed,
              "vocab_rows": c.rows, "n_tokens": vocab.N_TOKENS, "tolerance": TOLERANCE, "prompts": prompts,
              "layer_checks": layers,
              "weight_checks": weight_checks(values)}
    (case_dir / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("out_dir", nargs="?", type=pathlib.Path, default=root / "tests/golden/engine/data")
    parser.add_argument("--case", choices=sorted(CASES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, case in CASES.items():
        if args.case in (None, name):
            make_case(name, case, args.out_dir)
    (args.out_dir / "index.json").write_text(json.dumps({"cases": sorted(CASES)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
