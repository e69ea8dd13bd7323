// Checks signed responses with nothing but WebCrypto: an implementation of docs/attestation.md that shares no code
// with the node. Every check throws when it fails.
const subtle = globalThis.crypto.subtle;
const decoder = new TextDecoder('utf-8', { fatal: true });
const ECDSA = { name: 'ECDSA', hash: 'SHA-256' };

export class NotVerified extends Error {}

function insist(condition, what) {
  if (!condition) throw new NotVerified(what);
}

export function fromBase64(text) {
  insist(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text), 'not base64');
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  insist(btoa(String.fromCharCode(...bytes)) === text, 'not canonical base64');
  return bytes;
}

export function fromBase64Url(text) {
  insist(/^[A-Za-z0-9_-]*$/.test(text), 'not base64url');
  const plain = text.replaceAll('-', '+').replaceAll('_', '/');
  return fromBase64(plain + '='.repeat((4 - (plain.length % 4)) % 4));
}

export function toHex(bytes) {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

export async function sha256(bytes) {
  return new Uint8Array(await subtle.digest('SHA-256', bytes));
}

/** First 10 bytes of SHA-256 over the key's SubjectPublicKeyInfo, in base32. */
export async function nodeIdOf(spki) {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
  let bits = 0n;
  for (const byte of (await sha256(spki)).subarray(0, 10)) bits = (bits << 8n) | BigInt(byte);
  let out = '';
  for (let shift = 75n; shift >= 0n; shift -= 5n) out += alphabet[Number((bits >> shift) & 31n)];
  return out;
}

/** The r and s of a DER signature side by side, as WebCrypto wants them. */
export function derToRaw(der) {
  let at = 0;
  const length = () => {
    const n = der[at++];
    insist(n < 0x80, 'a signature of P-256 has short lengths only');
    return n;
  };
  const integer = () => {
    insist(der[at++] === 0x02, 'expected an INTEGER');
    const n = length();
    const bytes = der.subarray(at, at + n);
    insist(n > 0 && bytes.length === n, 'a short INTEGER');
    insist(bytes[0] < 0x80, 'a negative INTEGER');
    insist(n === 1 || bytes[0] !== 0 || bytes[1] >= 0x80, 'an INTEGER with leading zeros');
    at += n;
    const value = bytes[0] === 0 ? bytes.subarray(1) : bytes;
    insist(value.length <= 32, 'a large INTEGER');
    const out = new Uint8Array(32);
    out.set(value, 32 - value.length);
    return out;
  };
  insist(der[at++] === 0x30, 'expected a SEQUENCE');
  insist(length() === der.length - 2, 'a SEQUENCE of another length');
  const r = integer();
  const s = integer();
  insist(at === der.length, 'bytes behind the signature');
  const raw = new Uint8Array(64);
  raw.set(r, 0);
  raw.set(s, 32);
  return raw;
}

/** Whether the base64 DER signature is one over the text by the base64 SPKI key. */
export async function isSigned(publicKey, text, signature) {
  const key = await subtle.importKey('spki', fromBase64(publicKey), { name: 'ECDSA', namedCurve: 'P-256' }, true, ['verify']);
  return subtle.verify(ECDSA, key, derToRaw(fromBase64(signature)), new TextEncoder().encode(text));
}

async function verifyEvidence(hash, nBytes, evidence, trustedKey) {
  insist(evidence.response_hash === hash, `hash is ${hash}, the response names ${evidence.response_hash}`);
  insist(!trustedKey || trustedKey === evidence.public_key, 'another key than the trusted one');
  insist(await isSigned(evidence.public_key, hash, evidence.se_signature), 'signature of the hash');
  const json = decoder.decode(fromBase64Url(evidence.statement));
  insist(await isSigned(evidence.public_key, `darkbloom:response:v1\n${json}`, evidence.statement_signature), 'signature of the statement');
  const statement = JSON.parse(json);
  insist(statement.v === 1, 'version');
  insist(statement.response_hash === hash, 'the statement is about another response');
  insist(statement.node_id === await nodeIdOf(fromBase64(evidence.public_key)), 'the statement names another node');
  insist(statement.segment.index === 0 && statement.segment.first_byte === 0 && statement.segment.n_bytes === nBytes, 'segment');
  return statement;
}

/** Checks a whole response. `header` gives a field by its name; returns the statement. */
export async function verifyBody(body, header, trustedKey) {
  const evidence = {
    response_hash: header('x-response-hash'), se_signature: header('x-se-signature'),
    statement: header('x-response-statement'), statement_signature: header('x-response-statement-signature'),
    public_key: header('x-attestation-se-public-key'),
  };
  for (const [name, value] of Object.entries(evidence)) insist(value, `no ${name}`);
  return verifyEvidence(toHex(await sha256(body)), body.length, evidence, trustedKey);
}

const TAG = ': darkbloom-signature ';
const PING = 'event: ping\ndata: {"type":"ping"}\n\n';
const MEMBERS = ['response_hash', 'se_signature', 'statement', 'statement_signature', 'public_key'];

/** Bytes as text, one character a byte, so that nothing is mended on the way. */
function latin1(bytes) {
  return String.fromCharCode(...bytes);
}

function isOutside(block) {
  if (block === PING) return true;
  return block.startsWith(':') && block.slice(0, -2).split('\n').every((line) => line.startsWith(':') && !line.includes('\r'));
}

function readComment(json) {
  let evidence;
  try {
    evidence = JSON.parse(json);
  } catch {
    throw new NotVerified('the signature comment is not JSON');
  }
  insist(JSON.stringify(evidence, MEMBERS) === json && Object.keys(evidence).length === MEMBERS.length, 'the signature comment has another form');
  return evidence;
}

/** Checks an event stream, all its bytes; returns the statement. */
export async function verifyStream(bytes, trustedKey) {
  const signed = new Uint8Array(bytes.length);
  let nSigned = 0;
  let evidence = null;
  let done = false;
  for (let at = 0; at < bytes.length;) {
    let end = bytes.indexOf(10, at);
    while (end >= 0 && bytes[end + 1] !== 10) end = bytes.indexOf(10, end + 1);
    insist(end >= 0, 'the stream ends within an event');
    const raw = bytes.subarray(at, end + 2);
    at = end + 2;
    // Only these can be a comment, a ping, or what follows the signature.
    const block = evidence || raw[0] === 0x3a || raw.length === PING.length ? latin1(raw) : '';
    if (block.startsWith(TAG)) {
      insist(!evidence, 'two signatures');
      evidence = readComment(block.slice(TAG.length, -2));
    } else if (isOutside(block)) {
      continue;
    } else if (evidence) {
      insist(!done && block === 'data: [DONE]\n\n', 'something follows the signature');
      done = true;
    } else {
      signed.set(raw, nSigned);
      nSigned += raw.length;
    }
  }
  insist(evidence, 'no signature');
  return verifyEvidence(toHex(await sha256(signed.subarray(0, nSigned))), nSigned, evidence, trustedKey);
}

/** Checks the answer of /v1/providers/{node_id}/attestation to a nonce; returns the status. */
export async function verifyFresh(answer, nonce) {
  insist(answer.provider_id === await nodeIdOf(fromBase64(answer.identity_public_key)), 'the key is not the node\'s');
  const json = decoder.decode(fromBase64(answer.status));
  insist(await isSigned(answer.identity_public_key, `darkbloom:attestation-status:v2\n${json}`, answer.status_signature), 'signature of the status');
  const status = JSON.parse(json);
  insist(status.node_id === answer.provider_id && status.public_key === answer.identity_public_key, 'the status names another node');
  let hash = await sha256(Uint8Array.of(0, ...nonce));
  let leaf = answer.leaf_index;
  const path = answer.path.map((text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16)));
  for (let last = answer.n_leaves - 1; last > 0; last >>= 1, leaf >>= 1) {
    if ((leaf ^ 1) > last) continue;
    const other = path.shift();
    insist(other, 'the path is too short');
    hash = await sha256(leaf % 2 ? Uint8Array.of(1, ...other, ...hash) : Uint8Array.of(1, ...hash, ...other));
  }
  insist(path.length === 0, 'the path is too long');
  insist(toHex(fromBase64Url(status.nonce)) === toHex(hash), 'the statement is not bound to the nonce');
  return status;
}
