#!/usr/bin/env python3
"""Writes a model of random Q8_0 weights as a GGUF file, for measuring: the sizes are real, the text is not. llama.cpp
reads it, too, so that both programs can be given the same file.

usage: tools/make_bench_model.py [--gigabytes 1.0 | --layers N] [--seed 1] OUT.gguf
       tools/make_bench_model.py --shape trinity-mini-26b --layers 4 OUT.gguf
       tools/make_bench_model.py --arch qwen3moe --width 2048 --heads 32 --kv-heads 4 --experts 128 --topk 8
                                 --expert-ffn 768 --layers 4 OUT.gguf

A shape is a file of bench/shapes or the name of one; single sizes may be changed beside it. Attention windows and layers
without experts among others with them are left out, for llama.cpp's qwen3moe has neither. Gemma 4, AFMoE and MiniMax M2
become a qwen3moe of their sizes, without what only they have.
Needs nothing but Python. The same arguments give the same file.
"""
import argparse
import pathlib
import random
import struct

U32, FLOAT, STRING, ARRAY, I32 = 4, 6, 8, 9, 5
F32, Q8_0 = 0, 8
ALIGNMENT = 32
SHAPES = pathlib.Path(__file__).resolve().parent.parent / "bench" / "shapes"
# Sizes without --shape: a Llama. Names as in bench/shapes.
DEFAULTS = {"arch": "llama", "d_model": 2048, "ffn_dim": 6144, "heads": 16, "kv_heads": 8, "head_dim": 128,
            "vocab": 32_000, "context": 65_536, "rope_theta": 500_000.0, "norm_eps": 1e-5, "tied": "no",
            "experts": 0, "top_k": 8, "expert_ffn_dim": 0, "shared_ffn_dim": 0}
# Flags that change a size.
FLAGS = {"--arch": "arch", "--width": "d_model", "--ffn": "ffn_dim", "--heads": "heads", "--kv-heads": "kv_heads",
         "--head-dim": "head_dim", "--vocab": "vocab", "--experts": "experts", "--topk": "top_k",
         "--expert-ffn": "expert_ffn_dim"}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value) -> bytes:
    forms = {U32: "<I", FLOAT: "<f", I32: "<i"}
    one = (lambda v: text(v)) if kind == STRING else (lambda v: struct.pack(forms[kind], v))
    if isinstance(value, list):
        return text(key) + struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(map(one, value))
    return text(key) + struct.pack("<I", kind) + one(value)


def byte_alphabet() -> list[str]:
    """The 256 bytes as byte-level vocabularies write them (GPT-2's map)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(0x100 + i) for i in range(len(others))]


def read_shape(name: str) -> dict:
    """`key = value` lines of a file, numbers as numbers."""
    path = pathlib.Path(name)
    if not path.exists():
        path = SHAPES / f"{name}.txt"
    if not path.exists():
        raise SystemExit(f"{name}: no such file, and none of {', '.join(sorted(p.stem for p in SHAPES.glob('*.txt')))}")
    out = {}
    for line in path.read_text().splitlines():
        key, equals, value = (part.strip() for part in line.split("#")[0].partition("="))
        if equals:
            out[key] = int(value) if value.isdigit() else value
    return out


def as_written(m: dict) -> dict:
    """The nearest architecture that this tool writes."""
    if m["arch"] in ("gemma4", "afmoe", "minimax-m2"):
        m |= {"arch": "qwen3moe", "shared_ffn_dim": 0}
    return m


def is_hybrid(m: dict) -> bool:
    return m["arch"] in ("qwen35", "qwen35moe")


def is_linear(m: dict, layer: int) -> bool:
    return is_hybrid(m) and (layer + 1) % m["full_every"] != 0


def linear_tensors(m: dict, p: str):
    width, inner = m["d_model"], m["linear_value_heads"] * m["linear_value_dim"]
    channels = 2 * m["linear_key_heads"] * m["linear_key_dim"] + inner
    yield p + "attn_qkv.weight", (width, channels), Q8_0
    yield p + "attn_gate.weight", (width, inner), Q8_0
    yield p + "ssm_beta.weight", (width, m["linear_value_heads"]), Q8_0
    yield p + "ssm_alpha.weight", (width, m["linear_value_heads"]), Q8_0
    yield p + "ssm_conv1d.weight", (m["conv_taps"], channels), F32
    yield p + "ssm_a", (m["linear_value_heads"],), F32
    yield p + "ssm_dt.bias", (m["linear_value_heads"],), F32
    yield p + "ssm_norm.weight", (m["linear_value_dim"],), F32
    yield p + "ssm_out.weight", (inner, width), Q8_0


def attention_tensors(m: dict, p: str):
    width, q, kv = m["d_model"], m["heads"] * m["head_dim"], m["kv_heads"] * m["head_dim"]
    yield p + "attn_q.weight", (width, 2 * q if is_hybrid(m) else q), Q8_0  # with the gate of each head
    yield p + "attn_k.weight", (width, kv), Q8_0
    yield p + "attn_v.weight", (width, kv), Q8_0
    yield p + "attn_output.weight", (q, width), Q8_0
    if m["arch"] != "llama":
        yield p + "attn_q_norm.weight", (m["head_dim"],), F32
        yield p + "attn_k_norm.weight", (m["head_dim"],), F32


def ffn_tensors(m: dict, p: str):
    width = m["d_model"]
    if not m["experts"]:
        yield p + "ffn_gate.weight", (width, m["ffn_dim"]), Q8_0
        yield p + "ffn_up.weight", (width, m["ffn_dim"]), Q8_0
        yield p + "ffn_down.weight", (m["ffn_dim"], width), Q8_0
        return
    experts, ffn, shared = m["experts"], m["expert_ffn_dim"], m["shared_ffn_dim"]
    yield p + "ffn_gate_inp.weight", (width, experts), F32
    yield p + "ffn_gate_exps.weight", (width, ffn, experts), Q8_0
    yield p + "ffn_up_exps.weight", (width, ffn, experts), Q8_0
    yield p + "ffn_down_exps.weight", (ffn, width, experts), Q8_0
    if shared:
        yield p + "ffn_gate_inp_shexp.weight", (width,), F32
        yield p + "ffn_gate_shexp.weight", (width, shared), Q8_0
        yield p + "ffn_up_shexp.weight", (width, shared), Q8_0
        yield p + "ffn_down_shexp.weight", (shared, width), Q8_0


def tensor_list(m: dict, layers: int):
    """(name, shape with the contiguous axis first, type) in file order."""
    width = m["d_model"]
    yield "token_embd.weight", (width, m["vocab"]), Q8_0
    for i in range(layers):
        p = f"blk.{i}."
        yield p + "attn_norm.weight", (width,), F32
        yield from linear_tensors(m, p) if is_linear(m, i) else attention_tensors(m, p)
        yield p + ("post_attention_norm.weight" if is_hybrid(m) else "ffn_norm.weight"), (width,), F32
        yield from ffn_tensors(m, p)
    yield "output_norm.weight", (width,), F32
    if m["tied"] != "yes":
        yield "output.weight", (width, m["vocab"]), Q8_0


# What all elements of a vector are, by the end of its name; 1 otherwise.
VALUES = {"ssm_conv1d.weight": 0.5, "ssm_a": -0.1, "ssm_dt.bias": 0.0, "ffn_gate_inp_shexp.weight": 0.0}


def value_of(name: str, shape) -> float | None:
    """Of the elements of a vector; None for a matrix."""
    return VALUES.get(name.split(".", 2)[-1], 1.0 if len(shape) == 1 else None)


def size_of(shape, kind: int) -> int:
    elements = 1
    for dim in shape:
        elements *= dim
    return elements // 32 * 34 if kind == Q8_0 else elements * 4


def metadata(m: dict, layers: int) -> list[bytes]:
    tokens = byte_alphabet() + ["<|end|>"]
    # Readers that take the size of the embedding from the list find one name for each of its rows.
    tokens += [f"<filler {i}>" for i in range(m["vocab"] - len(tokens))]
    a = m["arch"]
    out = [
        entry("general.architecture", STRING, a),
        entry("general.name", STRING, m.get("name", "random-bench")),
        entry(f"{a}.block_count", U32, layers),
        entry(f"{a}.context_length", U32, m["context"]),
        entry(f"{a}.embedding_length", U32, m["d_model"]),
        entry(f"{a}.feed_forward_length", U32, m["ffn_dim"]),
        entry(f"{a}.attention.head_count", U32, m["heads"]),
        entry(f"{a}.attention.head_count_kv", U32, m["kv_heads"]),
        entry(f"{a}.attention.key_length", U32, m["head_dim"]),
        entry(f"{a}.attention.value_length", U32, m["head_dim"]),
        entry(f"{a}.attention.layer_norm_rms_epsilon", FLOAT, float(m["norm_eps"])),
        entry(f"{a}.rope.dimension_count", U32, m.get("rotary_dim", m["head_dim"])),
        entry(f"{a}.rope.freq_base", FLOAT, float(m["rope_theta"])),
        entry("tokenizer.ggml.model", STRING, "gpt2"),
        entry("tokenizer.ggml.pre", STRING, "gpt-2"),
        entry("tokenizer.ggml.tokens", STRING, tokens),
        entry("tokenizer.ggml.token_type", I32, [1] * 256 + [3] + [1] * (m["vocab"] - 257)),
        entry("tokenizer.ggml.merges", STRING, []),
        entry("tokenizer.ggml.eos_token_id", U32, 256),
        entry("tokenizer.chat_template", STRING, "{% for m in messages %}{{ m.content }}\n{% endfor %}"),
    ]
    if is_hybrid(m):
        out += [
            entry(f"{a}.ssm.conv_kernel", U32, m["conv_taps"]),
            entry(f"{a}.ssm.state_size", U32, m["linear_key_dim"]),
            entry(f"{a}.ssm.group_count", U32, m["linear_key_heads"]),
            entry(f"{a}.ssm.time_step_rank", U32, m["linear_value_heads"]),
            entry(f"{a}.ssm.inner_size", U32, m["linear_value_heads"] * m["linear_value_dim"]),
            entry(f"{a}.full_attention_interval", U32, m["full_every"]),
            entry(f"{a}.rope.dimension_sections", I32, [11, 11, 10, 0]),
        ]
        if m["shared_ffn_dim"]:
            out.append(entry(f"{a}.expert_shared_feed_forward_length", U32, m["shared_ffn_dim"]))
    if m["experts"]:
        out += [
            entry(f"{a}.expert_count", U32, m["experts"]),
            entry(f"{a}.expert_used_count", U32, m["top_k"]),
            entry(f"{a}.expert_feed_forward_length", U32, m["expert_ffn_dim"]),
        ]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, help="size of the file, by whole layers")
    parser.add_argument("--layers", type=int, help="so many layers")
    parser.add_argument("--shape", help="a file of bench/shapes, or the name of one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("out")
    for flag, key in FLAGS.items():
        parser.add_argument(flag, dest=key, type=str if key == "arch" else int)
    options = parser.parse_args()
    m = dict(DEFAULTS)
    if options.shape:
        m |= {"name": pathlib.Path(options.shape).stem if "/" in options.shape else options.shape, "ffn_dim": 0}
        m |= as_written(read_shape(options.shape))
    m |= {key: value for key in FLAGS.values() if (value := getattr(options, key)) is not None}
    if m["arch"] not in ("llama", "qwen3", "qwen3moe", "qwen35", "qwen35moe"):
        raise SystemExit(f"--arch {m['arch']}: llama, qwen3, qwen3moe, qwen35 and qwen35moe are possible")
    if is_hybrid(m) and "linear_key_heads" not in m:
        raise SystemExit(f"--arch {m['arch']}: its linear layers have no flags, it needs a --shape")
    if not m["arch"].endswith("moe"):
        m["experts"] = 0
    elif not 1 <= m["top_k"] <= m["experts"]:
        raise SystemExit(f"--experts {m['experts']} with --topk {m['top_k']}: at least as many experts are needed")
    m["ffn_dim"] = m["ffn_dim"] or m["expert_ffn_dim"]  # a key that readers want though no layer has it
    fixed = sum(size_of(s, k) for n, s, k in tensor_list(m, 0))
    period = m.get("full_every", 1) if is_hybrid(m) else 1  # layers of every kind in their proportion
    per_layer = (sum(size_of(s, k) for n, s, k in tensor_list(m, period)) - fixed) / period
    layers = options.layers
    if layers is None:
        whole = m.get("layers") if options.gigabytes is None else None
        layers = whole or max(1, round(((options.gigabytes or 1.0) * 1e9 - fixed) / per_layer))

    rng = random.Random(options.seed)
    # Scales around 1/500: products of a few thousand codes stay near one, as in a trained model.
    block = lambda: struct.pack("<e", 0.002 * (0.5 + rng.random())) + bytes(
        (rng.randint(-127, 127)) & 0xFF for _ in range(32))
    pattern = b"".join(block() for _ in range(8192))
    # Routers: logits of about one, so that tokens spread over the experts.
    logits = random.Random(options.seed + 1)
    routers = struct.pack("<8191f", *(logits.uniform(-1, 1) * (3 / m["d_model"]) ** 0.5 for _ in range(8191)))

    records, offset, kv = b"", 0, metadata(m, layers)
    for name, shape, kind in tensor_list(m, layers):
        records += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += (size_of(shape, kind) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    count = sum(1 for _ in tensor_list(m, layers))
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(kv)) + b"".join(kv) + records
    with open(options.out, "wb") as out:
        out.write(head + b"\0" * (-len(head) % ALIGNMENT))
        for name, shape, kind in tensor_list(m, layers):
            size = size_of(shape, kind)
            if kind == F32 and (value := value_of(name, shape)) is not None:
                out.write(struct.pack("<f", value) * (size // 4))
            else:
                # A different start for every matrix, so that no two are alike.
                unit, source = (34, pattern) if kind == Q8_0 else (4, routers)
                start = rng.randrange(len(source) // unit) * unit
                rotated = source[start:] + source[:start]
                for at in range(0, size, len(rotated)):
                    out.write(rotated[: size - at])
            out.write(b"\0" * (-size % ALIGNMENT))
    print(f"{options.out}: {layers} layers, {(offset + len(head)) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
