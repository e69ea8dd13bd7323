"""Writers for GGUF and safetensors, and the encodings of weights in them.

Every encoder answers (bytes of the file, values that a reader must understand): the reference computes
from the latter, so quantisation error never counts as an error of the engine."""
import json
import struct

import numpy as np

GGUF_TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "bf16": 30}


# --- encodings -----------------------------------------------------------------------------------------
def bf16_bits(x):
    """float32 to bfloat16, nearest even."""
    u = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def bf16_value(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def encode_plain(w, kind):
    w = np.asarray(w, np.float32)
    if kind == "f32":
        return w.tobytes(), w.astype(np.float64)
    if kind == "f16":
        half = w.astype(np.float16)
        return half.tobytes(), half.astype(np.float64)
    bits = bf16_bits(w)
    return bits.tobytes(), bf16_value(bits).astype(np.float64)


def encode_q8_0(w):
    """Blocks of 32 along the row: f16 scale, 32 int8; codes come from the unrounded scale."""
    rows, k = w.shape
    blocks = np.asarray(w, np.float32).reshape(rows, k // 32, 32)
    d = np.abs(blocks).max(-1) / np.float32(127)
    inverse = np.where(d != 0, np.float32(1) / np.where(d != 0, d, 1), np.float32(0))
    scaled = blocks * inverse[..., None]
    q = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).astype(np.int8)
    d16 = d.astype(np.float16)
    packed = np.zeros((rows, k // 32), dtype=[("d", "<f2"), ("q", "i1", 32)])
    packed["d"] = d16
    packed["q"] = q
    value = d16.astype(np.float64)[..., None] * q.astype(np.float64)
    return packed.tobytes(), value.reshape(rows, k)


def encode_affine8(w):
    """MLX affine, 8 bits, group 64, bf16 scales: (codes, scales, biases) as bytes, and the values."""
    rows, k = w.shape
    g = np.asarray(w, np.float32).reshape(rows, k // 64, 64)
    low, high = g.min(-1), g.max(-1)
    s = np.maximum((high - low) / np.float32(255), np.float32(1e-7))
    edge_is_low = np.abs(low) > np.abs(high)
    edge = np.where(edge_is_low, low, high)
    s = np.where(edge_is_low, s, -s)
    q0 = np.rint(edge / s)
    keep = q0 != 0
    s = np.where(keep, edge / np.where(keep, q0, 1), s)
    b = np.where(keep, edge, np.float32(0))
    q = np.clip(np.rint((g - b[..., None]) / s[..., None]), 0, 255).astype(np.uint8)
    s16, b16 = bf16_bits(s), bf16_bits(b)
    value = bf16_value(s16).astype(np.float64)[..., None] * q + bf16_value(b16).astype(np.float64)[..., None]
    return (q.tobytes(), s16.tobytes(), b16.tobytes()), value.reshape(rows, k)


# --- GGUF ----------------------------------------------------------------------------------------------
def _string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _scalar(value, int_kind):
    """(GGUF type, bytes)"""
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return int_kind, struct.pack("<I" if int_kind == 4 else "<i", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    return 8, _string(value)


def _array(values):
    kinds, raw = zip(*(_scalar(v, 5) for v in values))
    assert len(set(kinds)) == 1
    return struct.pack("<IQ", kinds[0], len(values)) + b"".join(raw)


class Gguf:
    ALIGNMENT = 32

    def __init__(self):
        self.keys = []
        self.tensors = []

    def put(self, key, value):
        """Python's type decides: bool, int (u32), float (f32), str, or a list of one of them (ints then as i32)."""
        if isinstance(value, (list, tuple)):
            body = struct.pack("<I", 9) + _array(value)
        else:
            kind, raw = _scalar(value, 4)
            body = struct.pack("<I", kind) + raw
        self.keys.append(_string(key) + body)

    def put_i32_array(self, key, values):
        self.put(key, [int(v) for v in values])

    def put_f32_array(self, key, values):
        self.put(key, [float(v) for v in values])

    def add(self, name, shape, kind, data):
        """shape: outermost first; the file wants it reversed."""
        self.tensors.append((name, shape, kind, data))

    def build(self):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys)) + b"".join(self.keys)
        data = b""
        for name, shape, kind, raw in self.tensors:
            head += _string(name) + struct.pack("<I", len(shape))
            head += b"".join(struct.pack("<Q", n) for n in reversed(shape))
            head += struct.pack("<IQ", GGUF_TYPES[kind], len(data))
            data += raw + b"\0" * (-len(raw) % self.ALIGNMENT)
        return head + b"\0" * (-len(head) % self.ALIGNMENT) + data


# --- safetensors ---------------------------------------------------------------------------------------
SAFETENSORS_TYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16", "u32": "U32"}


def safetensors(tensors, producer):
    """tensors: [(name, shape, kind, bytes)]. Like MLX, the header is not padded: data may lie at an odd
    address."""
    header, data = {"__metadata__": {"format": producer}}, b""
    for name, shape, kind, raw in tensors:
        header[name] = {"dtype": SAFETENSORS_TYPES[kind], "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data
