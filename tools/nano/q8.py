"""GGUF Q8_0: blocks of 32 weights share one binary16 scale."""

import numpy as np
import torch

BLOCK = 32
LAYOUT = np.dtype([("d", "<f2"), ("q", "i1", BLOCK)])


def quantize(weights):
    """(scales f16 [n, blocks], codes i8 [n, blocks, 32]) of a float32 matrix.

    The codes use the scale before it is rounded to binary16.
    """
    x = np.asarray(weights, np.float32).reshape(weights.shape[0], -1, BLOCK)
    scale = np.abs(x).max(-1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    scaled = x * inverse
    codes = np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))  # Half away from zero.
    return scale[..., 0].astype(np.float16), codes.astype(np.int8)


def dequantize(scales, codes):
    return (scales.astype(np.float32)[..., None] * codes).reshape(codes.shape[0], -1)


def pack(weights):
    """The bytes of the matrix in a GGUF file."""
    scales, codes = quantize(weights)
    blocks = np.empty(scales.shape, LAYOUT)
    blocks["d"], blocks["q"] = scales, codes
    return blocks.tobytes()


def round_trip(weights):
    """The torch matrix as a reader of the file sees it."""
    return torch.from_numpy(dequantize(*quantize(weights.detach().numpy())))
