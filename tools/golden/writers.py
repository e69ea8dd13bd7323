"""What the families' writers of model files share."""
import json
from dataclasses import dataclass, field

import numpy as np

from golden import containers

MLX_SETTINGS = {"group_size": 64, "bits": 8}


@dataclass
class Written:
    """A model file or folder, and what a reader must understand of it."""
    files: dict  # {file name: bytes}
    values: dict  # {weight: float64 array}, in the order that the reference computes in
    formats: dict  # {weight: "q8_0" | "affine8" | "plain"}
    extra: dict = field(default_factory=dict)  # further arguments of the family's Reference
    stored: dict = field(default_factory=dict)  # {weight: array} where the engine keeps another order than `values`


def rows_of(w):
    """Stacked experts as one matrix, anything else as it is."""
    return w.reshape(-1, w.shape[-1]) if w.ndim == 3 else w


def encode(w, kind):
    """(bytes, values of w's shape, format) in a kind that needs one tensor: f32, f16, bf16, q8_0."""
    if kind == "q8_0":
        raw, value = containers.encode_q8_0(rows_of(w))
        return raw, value.reshape(w.shape), "q8_0"
    raw, value = containers.encode_plain(w, kind)
    return raw, value.reshape(w.shape), "plain"


def affine8(module, w):
    """The three tensors of a quantised module [(name, shape, kind, bytes)], and its values."""
    (codes, scales, biases), value = containers.encode_affine8(rows_of(w))
    groups = (*w.shape[:-1], w.shape[-1] // 64)
    tensors = [(module + ".weight", (*w.shape[:-1], w.shape[-1] // 4), "u32", codes),
               (module + ".scales", groups, "bf16", scales), (module + ".biases", groups, "bf16", biases)]
    return tensors, value.reshape(w.shape)


def mlx_quantization(modules=()):
    """The two objects of config.json; `modules` get entries of their own."""
    settings = MLX_SETTINGS | {module: MLX_SETTINGS for module in modules}
    return {"quantization": settings, "quantization_config": settings}


def directory(config, tensors, producer, n_shards, vocabulary_files):
    """{file name: bytes} of a folder with config.json, the tensors [(name, shape, kind, bytes)] in one or
    more safetensors files, and the vocabulary's files {name: text}."""
    files = {"config.json": json.dumps(config, indent=1).encode()}
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
    for name, text in vocabulary_files.items():
        files[name] = text.encode()
    return files


class Drawer:
    """Random weights: names as they are drawn, so that a seed always gives the same model."""

    def __init__(self, seed):
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.w = {}

    def matrix(self, name, rows, k, gain):
        self.w[name] = self.rng.standard_normal((rows, k)) * (gain / np.sqrt(k))

    def stack(self, name, n, rows, k, gain):
        self.w[name] = self.rng.standard_normal((n, rows, k)) * (gain / np.sqrt(k))

    def vector(self, name, n, mean, deviation):
        self.w[name] = mean + self.rng.standard_normal(n) * deviation
