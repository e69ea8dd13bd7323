#!/usr/bin/env python3
"""Writes a Llama of random Q8_0 weights as a GGUF file, for measuring: the sizes are real, the text is not.

usage: tools/make_bench_model.py [--gigabytes 1.0] [--seed 1] OUT.gguf
Needs nothing but Python. The same arguments give the same file.
"""
import argparse
import random
import struct

U32, FLOAT, STRING, ARRAY, I32 = 4, 6, 8, 9, 5
F32, Q8_0 = 0, 8
ALIGNMENT = 32
WIDTH, FFN, HEADS, KV_HEADS, HEAD_DIM = 2048, 6144, 16, 8, 128
VOCABULARY = 32_000
CONTEXT = 65_536


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


def tensor_list(layers: int):
    """(name, shape with the contiguous axis first, type) in file order."""
    yield "token_embd.weight", (WIDTH, VOCABULARY), Q8_0
    for i in range(layers):
        p = f"blk.{i}."
        yield p + "attn_norm.weight", (WIDTH,), F32
        yield p + "attn_q.weight", (WIDTH, HEADS * HEAD_DIM), Q8_0
        yield p + "attn_k.weight", (WIDTH, KV_HEADS * HEAD_DIM), Q8_0
        yield p + "attn_v.weight", (WIDTH, KV_HEADS * HEAD_DIM), Q8_0
        yield p + "attn_output.weight", (HEADS * HEAD_DIM, WIDTH), Q8_0
        yield p + "ffn_norm.weight", (WIDTH,), F32
        yield p + "ffn_gate.weight", (WIDTH, FFN), Q8_0
        yield p + "ffn_up.weight", (WIDTH, FFN), Q8_0
        yield p + "ffn_down.weight", (FFN, WIDTH), Q8_0
    yield "output_norm.weight", (WIDTH,), F32
    yield "output.weight", (WIDTH, VOCABULARY), Q8_0


def size_of(shape, kind: int) -> int:
    elements = 1
    for dim in shape:
        elements *= dim
    return elements // 32 * 34 if kind == Q8_0 else elements * 4


def metadata(layers: int) -> list[bytes]:
    tokens = byte_alphabet() + ["<|end|>"]
    # Others refuse a file whose vocabulary and embedding differ in length.
    tokens += [f"<filler {i}>" for i in range(VOCABULARY - len(tokens))]
    return [
        entry("general.architecture", STRING, "llama"),
        entry("general.name", STRING, "random-bench"),
        entry("llama.block_count", U32, layers),
        entry("llama.context_length", U32, CONTEXT),
        entry("llama.embedding_length", U32, WIDTH),
        entry("llama.feed_forward_length", U32, FFN),
        entry("llama.attention.head_count", U32, HEADS),
        entry("llama.attention.head_count_kv", U32, KV_HEADS),
        entry("llama.attention.key_length", U32, HEAD_DIM),
        entry("llama.attention.value_length", U32, HEAD_DIM),
        entry("llama.attention.layer_norm_rms_epsilon", FLOAT, 1e-5),
        entry("llama.rope.dimension_count", U32, HEAD_DIM),
        entry("llama.rope.freq_base", FLOAT, 500_000.0),
        entry("tokenizer.ggml.model", STRING, "gpt2"),
        entry("tokenizer.ggml.pre", STRING, "gpt-2"),
        entry("tokenizer.ggml.tokens", STRING, tokens),
        entry("tokenizer.ggml.token_type", I32, [1] * 256 + [3] + [1] * (VOCABULARY - 257)),
        entry("tokenizer.ggml.merges", STRING, []),
        entry("tokenizer.ggml.eos_token_id", U32, 256),
        entry("tokenizer.chat_template", STRING, "{% for m in messages %}{{ m.content }}\n{% endfor %}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("out")
    options = parser.parse_args()
    fixed = sum(size_of(s, k) for n, s, k in tensor_list(0))
    per_layer = sum(size_of(s, k) for n, s, k in tensor_list(1)) - fixed
    layers = max(1, round((options.gigabytes * 1e9 - fixed) / per_layer))

    rng = random.Random(options.seed)
    # Scales around 1/500: products of a few thousand codes stay near one, as in a trained model.
    block = lambda: struct.pack("<e", 0.002 * (0.5 + rng.random())) + bytes(
        (rng.randint(-127, 127)) & 0xFF for _ in range(32))
    pattern = b"".join(block() for _ in range(8192))

    records, offset, kv = b"", 0, metadata(layers)
    for name, shape, kind in tensor_list(layers):
        records += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += (size_of(shape, kind) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    count = sum(1 for _ in tensor_list(layers))
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(kv)) + b"".join(kv) + records
    with open(options.out, "wb") as out:
        out.write(head + b"\0" * (-len(head) % ALIGNMENT))
        for name, shape, kind in tensor_list(layers):
            size = size_of(shape, kind)
            if kind == F32:
                body = struct.pack("<f", 1.0) * (size // 4)
                out.write(body)
            else:
                # A different start for every matrix, so that no two are alike.
                start = rng.randrange(8192) * 34
                rotated = pattern[start:] + pattern[:start]
                for at in range(0, size, len(rotated)):
                    out.write(rotated[: size - at])
            out.write(b"\0" * (-size % ALIGNMENT))
    print(f"{options.out}: {layers} layers, {(offset + len(head)) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
