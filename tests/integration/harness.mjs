// Starts the real binary on a port of its own and gives tests what they need to talk to it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

export const BINARY = process.env.DARKBLOOM_BINARY;
export const OWNER_KEY = 'sk-db-' + '0123456789abcdef'.repeat(4);

/** A context for what a whole suite shares: give it to startNode in `before`, call done() in `after`. */
export function suiteContext() {
  const cleanups = [];
  return { after: (f) => cleanups.push(f), done: () => cleanups.reverse().forEach((f) => f()) };
}

/** A new empty folder, removed when the test (or suiteContext) is over. */
export function temporaryFolder(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'darkbloom-test-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export class Node {
  constructor(child, url, log) {
    this.child = child;
    this.url = url;
    this.log = log;
    this.port = Number(new URL(url).port);
  }

  get headers() {
    return { authorization: `Bearer ${OWNER_KEY}`, 'content-type': 'application/json' };
  }

  /** POSTs a chat completion and returns the fetch response. */
  chat(body, options = {}) {
    return fetch(`${this.url}/v1/chat/completions`, {
      method: 'POST', headers: { ...this.headers, ...options.headers },
      body: typeof body === 'string' ? body : JSON.stringify(body), signal: options.signal,
    });
  }

  residentBytes() {
    const status = fs.readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)[1]) * 1024;
  }

  openDescriptors() {
    return fs.readdirSync(`/proc/${this.child.pid}/fd`).length;
  }

  async stop(signal = 'SIGTERM') {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const gone = once(this.child, 'exit');
    this.child.kill(signal);
    const [code] = await gone;
    return code;
  }
}

/** Runs the binary to its end: {code, stdout, stderr}. */
export async function runBinary(args, { env = {}, input, timeoutMs = 120_000 } = {}) {
  // One that serves although it should have refused to is killed, which leaves `code` null.
  const child = spawn(BINARY, args, { env: { ...process.env, ...env }, timeout: timeoutMs, killSignal: 'SIGKILL' });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (d) => { stdout += d; });
  child.stderr.on('data', (d) => { stderr += d; });
  child.stdin.on('error', () => {}); // one that ends at once reads nothing
  child.stdin.end(input ?? '');
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

/** Starts `darkbloom serve` and waits for its ready line and a ready model. */
export async function startNode(t, { args = [], env = {}, dataDir, ownerKey = OWNER_KEY, waitReady = true } = {}) {
  const folder = dataDir ?? temporaryFolder(t);
  const child = spawn(BINARY, ['serve', '--listen', '127.0.0.1:0', '--data-dir', folder, ...args], {
    env: { ...process.env, ...(ownerKey ? { DARKBLOOM_OWNER_KEY: ownerKey } : {}), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const log = { stdout: '', stderr: '' };
  child.stderr.on('data', (d) => { log.stderr += d; });
  t.after(() => child.kill('SIGKILL'));
  const url = await new Promise((resolve, reject) => {
    child.stdout.on('data', (d) => {
      log.stdout += d;
      const ready = /^darkbloom ready on (http\S+)$/m.exec(log.stdout);
      if (ready) resolve(ready[1]);
    });
    child.on('exit', (code) => reject(new Error(`serve ended with ${code}\n${log.stderr}`)));
  });
  const node = new Node(child, url, log);
  if (waitReady) {
    for (;;) {
      const response = await fetch(`${url}/readyz`);
      await response.text();
      if (response.status === 200) break;
      await new Promise((r) => setTimeout(r, 20));
    }
  }
  return node;
}

/** Sends raw bytes on a fresh connection and collects what comes until the peer closes. */
export function rawExchange(port, bytes, { halfClose = false, idleMs = 3000 } = {}) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    const chunks = [];
    let closed = false;
    const done = () => {
      socket.destroy();
      resolve({ text: Buffer.concat(chunks).toString('latin1'), closed });
    };
    socket.setTimeout(idleMs, done);
    socket.on('data', (d) => chunks.push(d));
    socket.on('end', () => { closed = true; done(); });
    socket.on('error', () => { closed = true; done(); });
    socket.write(bytes);
    if (halfClose) socket.end();
  });
}

/** The payloads of a server-sent event stream, as text, `[DONE]` included. */
export async function readEvents(response) {
  const text = await response.text();
  return text.split('\n\n').filter((block) => block.startsWith('data: ')).map((block) => block.slice(6));
}

/** The corpora beside the checkout; null when they are absent and CI does not insist. */
export function dataFolder(name) {
  const base = process.env.DARKBLOOM_TEST_DATA
    ?? path.resolve(import.meta.dirname, '..', '..', '..', 'shared', 'data');
  const folder = path.join(base, name);
  if (fs.existsSync(folder)) return folder;
  if (process.env.CI) throw new Error(`test data missing: ${folder}`);
  return null;
}
