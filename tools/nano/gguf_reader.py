"""Reads back what export_gguf.py writes, so that evaluation and goldens test the file and not the checkpoint."""

import pathlib
import struct

import numpy as np
import torch

import q8
from model import Config, Nano
from tokenizer import Tokenizer

SCALARS = {4: "<I", 5: "<i", 6: "<f", 7: "<?"}


class Cursor:
    def __init__(self, data):
        self.data, self.p = data, 0

    def take(self, form):
        value = struct.unpack_from(form, self.data, self.p)
        self.p += struct.calcsize(form)
        return value if len(value) > 1 else value[0]

    def string(self):
        n = self.take("<Q")
        self.p += n
        return self.data[self.p - n:self.p].decode()

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            inner, n = self.take("<I"), self.take("<Q")
            return [self.value(inner) for _ in range(n)]
        return self.take(SCALARS[kind])


def parse(data):
    """(metadata, tensors by name as f32 arrays)"""
    cursor = Cursor(data)
    if data[:4] != b"GGUF":
        raise ValueError("not a GGUF file")
    cursor.p = 4
    _, tensor_count, entry_count = cursor.take("<IQQ")
    metadata = {}
    for _ in range(entry_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.take("<I"))
    records = []
    for _ in range(tensor_count):
        name = cursor.string()
        shape = [cursor.take("<Q") for _ in range(cursor.take("<I"))]
        records.append((name, shape[::-1], *cursor.take("<IQ")))
    start = cursor.p + -cursor.p % 32
    tensors = {}
    for name, shape, kind, offset in records:
        count = int(np.prod(shape))
        if kind == 0:
            tensors[name] = np.frombuffer(data, "<f4", count, start + offset).reshape(shape)
        else:
            blocks = np.frombuffer(data, q8.LAYOUT, count // q8.BLOCK, start + offset).reshape(shape[0], -1)
            tensors[name] = q8.dequantize(blocks["d"], blocks["q"])
    return metadata, tensors


def load(path):
    """(model in f32 over the dequantised weights, tokenizer)"""
    metadata, tensors = parse(pathlib.Path(path).read_bytes())
    key = {name.removeprefix("qwen3."): value for name, value in metadata.items()}
    model = Nano(Config(
        vocab=len(metadata["tokenizer.ggml.tokens"]), dim=key["embedding_length"], layers=key["block_count"],
        heads=key["attention.head_count"], kv_heads=key["attention.head_count_kv"],
        head_dim=key["attention.key_length"], ffn=key["feed_forward_length"], rope_theta=key["rope.freq_base"],
        eps=key["attention.layer_norm_rms_epsilon"], context=key["context_length"]))

    def get(*names):
        return torch.cat([torch.from_numpy(np.array(tensors[name + ".weight"])) for name in names])

    model.embedding.data = get("token_embd")
    model.norm.data = get("output_norm")
    for i, block in enumerate(model.blocks):
        b = f"blk.{i}."
        block.attn_norm.data, block.ffn_norm.data = get(b + "attn_norm"), get(b + "ffn_norm")
        block.q_norm.data, block.k_norm.data = get(b + "attn_q_norm"), get(b + "attn_k_norm")
        block.qkv.data = get(b + "attn_q", b + "attn_k", b + "attn_v")
        block.gate_up.data = get(b + "ffn_gate", b + "ffn_up")
        block.out.data, block.down.data = get(b + "attn_output"), get(b + "ffn_down")
    tokenizer = Tokenizer([m.split(" ") for m in metadata["tokenizer.ggml.merges"]])
    if tokenizer.tokens != metadata["tokenizer.ggml.tokens"]:
        raise ValueError("the token list does not follow from the merges")
    return model.eval(), tokenizer
