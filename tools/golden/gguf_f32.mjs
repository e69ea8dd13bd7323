// A GGUF file with every Q8_0 tensor as F32, for runtimes that would otherwise round activations in a way of
// their own.
import fs from 'node:fs';

const F32 = 0, Q8_0 = 8, BLOCK = 32, BLOCK_BYTES = 34;
const TYPE_BYTES = { 0: 4, 1: 2, 30: 2 };  // of the plain ones: F32, F16, BF16
const SCALAR_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const STRING = 8, ARRAY = 9;

class Cursor {
  constructor(data) { this.data = data; this.p = 0; }
  u32() { this.p += 4; return this.data.readUInt32LE(this.p - 4); }
  u64() { this.p += 8; return Number(this.data.readBigUInt64LE(this.p - 8)); }
  string() { const n = this.u64(); this.p += n; return this.data.toString('utf8', this.p - n, this.p); }
  skip(type) {
    if (type === STRING) { this.string(); return; }
    if (type !== ARRAY) { this.p += SCALAR_BYTES[type]; return; }
    const inner = this.u32();
    for (let n = this.u64(); n > 0; --n) this.skip(inner);
  }
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function dequantise(raw) {
  const n = raw.length / BLOCK_BYTES, out = Buffer.alloc(n * BLOCK * 4);
  for (let b = 0; b < n; ++b) {
    const scale = half(raw.readUInt16LE(b * BLOCK_BYTES));
    for (let i = 0; i < BLOCK; ++i) out.writeFloatLE(scale * raw.readInt8(b * BLOCK_BYTES + 2 + i), (b * BLOCK + i) * 4);
  }
  return out;
}

const word = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };
const long = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b; };

/** Writes `to`, the same model as `from` without Q8_0. Both have the default alignment of 32. */
export function writeWithoutQ8(from, to) {
  const data = fs.readFileSync(from), cursor = new Cursor(data);
  cursor.p = 8;
  const nTensors = cursor.u64(), nKeys = cursor.u64();
  for (let i = 0; i < nKeys; ++i) { cursor.string(); cursor.skip(cursor.u32()); }
  const parts = [data.subarray(0, cursor.p)], tensors = [];
  for (let i = 0; i < nTensors; ++i) {
    const name = cursor.string(), shape = Array.from({ length: cursor.u32() }, () => cursor.u64());
    tensors.push({ name, shape, type: cursor.u32(), offset: cursor.u64() });
  }
  const start = Math.ceil(cursor.p / 32) * 32, bodies = [];
  let size = 0;
  for (const { name, shape, type, offset } of tensors) {
    const n = shape.reduce((a, b) => a * b, 1);
    const bytes = type === Q8_0 ? (n / BLOCK) * BLOCK_BYTES : n * TYPE_BYTES[type];
    const raw = data.subarray(start + offset, start + offset + bytes);
    const body = type === Q8_0 ? dequantise(raw) : raw;
    parts.push(long(Buffer.byteLength(name)), Buffer.from(name), word(shape.length), ...shape.map(long),
      word(type === Q8_0 ? F32 : type), long(size));
    bodies.push(body, Buffer.alloc((32 - body.length % 32) % 32));
    size += body.length + bodies.at(-1).length;
  }
  const head = parts.reduce((sum, part) => sum + part.length, 0);
  fs.writeFileSync(to, Buffer.concat([...parts, Buffer.alloc((32 - head % 32) % 32), ...bodies]));
}
