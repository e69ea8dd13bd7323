"""Writes the checkpoint as a GGUF file: version 3, matrices in Q8_0, norms in F32, tokenizer and
chat template inside."""

import argparse
import pathlib
import struct

import torch

import chat
import q8
from model import Config, Nano
from tokenizer import Tokenizer

ALIGNMENT = 32
F32, Q8_0 = 0, 8
U32, I32, FLOAT, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


FORMATS = {U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack(FORMATS[kind], value)


def entry(key, kind, value):
    if isinstance(value, list):
        body = struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(scalar(kind, v) for v in value)
    else:
        body = struct.pack("<I", kind) + scalar(kind, value)
    return text(key) + body


def metadata(c, tokenizer):
    end = tokenizer.added["<|im_end|>"]
    pad = tokenizer.added["<|endoftext|>"]
    return [
        ("general.architecture", STRING, "qwen3"),
        ("general.name", STRING, "darkbloom/nano"),
        ("general.license", STRING, "apache-2.0"),
        ("general.description", STRING, "The chat model that is built into Darkbloom"),
        ("general.file_type", U32, 7),
        ("qwen3.block_count", U32, c.layers),
        ("qwen3.context_length", U32, c.context),
        ("qwen3.embedding_length", U32, c.dim),
        ("qwen3.feed_forward_length", U32, c.ffn),
        ("qwen3.attention.head_count", U32, c.heads),
        ("qwen3.attention.head_count_kv", U32, c.kv_heads),
        ("qwen3.attention.key_length", U32, c.head_dim),
        ("qwen3.attention.value_length", U32, c.head_dim),
        ("qwen3.attention.layer_norm_rms_epsilon", FLOAT, c.eps),
        ("qwen3.rope.freq_base", FLOAT, c.rope_theta),
        ("qwen3.rope.dimension_count", U32, c.head_dim),
        ("qwen3.vocab_size", U32, c.vocab),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "qwen2"),
        ("tokenizer.ggml.tokens", STRING, tokenizer.tokens),
        ("tokenizer.ggml.token_type", I32, tokenizer.token_types()),
        ("tokenizer.ggml.merges", STRING, [f"{a} {b}" for a, b in tokenizer.merges]),
        ("tokenizer.ggml.eos_token_id", U32, end),
        ("tokenizer.ggml.padding_token_id", U32, pad),
        ("tokenizer.ggml.add_bos_token", BOOL, False),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
        ("tokenizer.chat_template", STRING, chat.TEMPLATE),
    ]


def tensors(model):
    """(name, matrix or vector) in file order; the fused products of the trainer are split again."""
    c = model.config
    queries, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
    yield "token_embd.weight", model.embedding
    for i, block in enumerate(model.blocks):
        q, k, v = block.qkv.split((queries, keys, keys))
        gate, up = block.gate_up.chunk(2)
        named = {
            "attn_norm": block.attn_norm, "attn_q": q, "attn_k": k, "attn_v": v, "attn_q_norm": block.q_norm,
            "attn_k_norm": block.k_norm, "attn_output": block.out, "ffn_norm": block.ffn_norm,
            "ffn_gate": gate, "ffn_up": up, "ffn_down": block.down,
        }
        for name, value in named.items():
            yield f"blk.{i}.{name}.weight", value
    yield "output_norm.weight", model.norm


def build(model, tokenizer):
    entries = metadata(model.config, tokenizer)
    records, data, count = b"", b"", 0
    for name, value in tensors(model):
        array = value.detach().float().contiguous().numpy()
        kind, body = (Q8_0, q8.pack(array)) if array.ndim == 2 else (F32, array.astype("<f4").tobytes())
        shape = array.shape[::-1]  # ggml counts the contiguous axis first.
        records += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += body + b"\0" * (-len(body) % ALIGNMENT)
        count += 1
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(entries)) + b"".join(entry(*e) for e in entries) + records
    return head + b"\0" * (-len(head) % ALIGNMENT) + data


def load(path):
    """(model, tokenizer) of a training directory."""
    tokenizer = Tokenizer.load(path / "tokenizer.json")
    model = Nano(Config())
    model.load_state_dict(torch.load(path / "checkpoint.pt")["model"])
    return model.eval(), tokenizer


def quantized(model):
    """The same model with the weights that a reader of the file sees."""
    for p in model.parameters():
        if p.dim() == 2:
            p.data = q8.round_trip(p.data)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="source", type=pathlib.Path, default=pathlib.Path("build/nano"))
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path("assets/nano.gguf"))
    options = parser.parse_args()
    model, tokenizer = load(options.source)
    if len(tokenizer.tokens) != model.config.vocab:
        raise SystemExit(f"the tokenizer has {len(tokenizer.tokens)} tokens, the model {model.config.vocab} rows")
    data = build(model, tokenizer)
    if len(data) > 4_000_000:
        raise SystemExit(f"{options.to}: {len(data)} bytes are more than 4,000,000")
    options.to.parent.mkdir(parents=True, exist_ok=True)
    options.to.write_bytes(data)
    print(f"{options.to}: {len(data)} bytes, {sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    main()
