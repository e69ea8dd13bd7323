// The process contract: ready line, keys, draining, crashes, exit codes, commands without a server.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { OWNER_KEY, runBinary, startNode, temporaryFolder } from './harness.mjs';

const MODEL = 'darkbloom/nano';
const long = { model: MODEL, messages: [{ role: 'user', content: 'Hello!' }], stream: true, max_tokens: 3000,
  temperature: 2, seed: 11 };

test('stdout has exactly the ready line', async (t) => {
  const node = await startNode(t);
  assert.match(node.log.stdout, /^darkbloom ready on http:\/\/127\.0\.0\.1:\d+\n$/);
  assert.equal(await node.stop(), 0);
  assert.match(node.log.stdout, /^[^\n]*\n$/);
});

test('the first start prints a key once; it works; later starts print none', async (t) => {
  const dataDir = temporaryFolder(t);
  const first = await startNode(t, { dataDir, ownerKey: null });
  const key = /sk-db-[0-9a-f]{64}/.exec(first.log.stderr)?.[0];
  assert.ok(key, first.log.stderr);
  const headers = { authorization: `Bearer ${key}` };
  assert.equal((await fetch(`${first.url}/v1/models`, { headers })).status, 200);
  assert.equal(await first.stop(), 0);
  const second = await startNode(t, { dataDir, ownerKey: null });
  assert.doesNotMatch(second.log.stderr, /sk-db-[0-9a-f]{64}/);
  assert.equal((await fetch(`${second.url}/v1/models`, { headers })).status, 200);
});

test('SIGTERM drains: not ready, running streams finish, exit 0', async (t) => {
  const node = await startNode(t);
  const stream = await node.chat({ ...long, max_tokens: 400, temperature: 1 });
  const reader = stream.body.getReader();
  await reader.read();
  const gone = once(node.child, 'exit');
  node.child.kill('SIGTERM');
  let text = '';
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value);
  }
  assert.match(text, /data: \[DONE\]\n\n$/);
  const [code] = await gone;
  assert.equal(code, 0);
});

test('without a seed, a restart does not repeat what was drawn before', async (t) => {
  const draw = async () => {
    const node = await startNode(t);
    const response = await node.chat({ ...long, stream: false, seed: undefined, max_tokens: 24 });
    const text = (await response.json()).choices[0].message.content;
    await node.stop();
    return text;
  };
  assert.notEqual(await draw(), await draw());
});

test('a second SIGTERM stops at once', async (t) => {
  const node = await startNode(t);
  const stream = await node.chat(long);
  await stream.body.getReader().read();
  const gone = once(node.child, 'exit');
  node.child.kill('SIGTERM');
  await new Promise((r) => setTimeout(r, 100));
  node.child.kill('SIGTERM');
  const [code, signal] = await gone;
  assert.ok(code !== null || signal === 'SIGTERM');
});

test('kill -9 in the middle of streams, then a clean restart on the same data', async (t) => {
  const dataDir = temporaryFolder(t);
  const node = await startNode(t, { dataDir });
  const streams = await Promise.all(Array.from({ length: 8 }, () => node.chat(long)));
  await Promise.all(streams.map((s) => s.body.getReader().read()));
  await node.stop('SIGKILL');
  const again = await startNode(t, { dataDir });
  const response = await again.chat({ ...long, stream: false, max_tokens: 4 });
  assert.equal(response.status, 200);
  assert.equal(await again.stop(), 0);
});

test('exit codes: bad usage 2, missing model 1 or 2 with the path named', async (t) => {
  const usage = await runBinary(['serve', '--no-such-flag']);
  assert.equal(usage.code, 2);
  assert.match(usage.stderr, /no-such-flag/);
  const listen = await runBinary(['serve', '--listen', 'not an address', '--data-dir', temporaryFolder(t)]);
  assert.equal(listen.code, 2);
  assert.match(listen.stderr, /not an address/);
  const missing = await runBinary(['inspect', '/no/such/model.gguf']);
  assert.notEqual(missing.code, 0);
  assert.match(missing.stderr, /\/no\/such\/model\.gguf/);
  const unknown = await runBinary(['frobnicate']);
  assert.equal(unknown.code, 2);
  const isa = await runBinary(['bench', 'model', '--pp', '8', '--tg', '2'], { env: { DARKBLOOM_KERNEL_ISA: 'mmx' } });
  assert.notEqual(isa.code, 0);
  assert.match(isa.stderr, /mmx/);
});

test('what is wrong with the models is said before the node listens', async (t) => {
  const serve = (...args) => runBinary(['serve', '--listen', '127.0.0.1:0', '--data-dir', temporaryFolder(t), ...args]);
  const missing = await serve('--model', '/no/such/model.gguf=nice');
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /\/no\/such\/model\.gguf"/);
  assert.equal(missing.stdout, '');
  const twice = await serve('--model', MODEL, '--model', MODEL);
  assert.equal(twice.code, 2);
  assert.match(twice.stderr, /darkbloom\/nano.*=NAME/);
});

test('several models, under names with slashes', async (t) => {
  const node = await startNode(t, { args: ['--model', `${MODEL}=org/one`, '--model', `${MODEL}=two`, '--model', 'bench:null'] });
  const list = async () => (await (await fetch(`${node.url}/v1/models`, { headers: node.headers })).json()).data.map((m) => m.id);
  for (let i = 0; i < 500 && (await list()).length < 3; ++i) await new Promise((r) => setTimeout(r, 10));
  assert.deepEqual(await list(), ['bench:null', 'org/one', 'two']);
  for (const model of ['org/one', 'two', 'bench:null']) {
    const response = await node.chat({ ...long, model, stream: false, max_tokens: 2 });
    assert.equal(response.status, 200);
    assert.equal((await response.json()).model, model);
  }
});

test('models of the data directory go by name', async (t) => {
  const dataDir = temporaryFolder(t);
  const golden = new URL('../golden/engine/data/qwen3-mlx-affine8/model', import.meta.url);
  fs.cpSync(golden, path.join(dataDir, 'models/org/Tiny-8bit'), { recursive: true });
  const node = await startNode(t, { dataDir, args: ['--model', 'org/tiny-8bit', '--model', 'Tiny-8bit=mine'] });
  const list = async () => (await (await fetch(`${node.url}/v1/models`, { headers: node.headers })).json()).data.map((m) => m.id);
  for (let i = 0; i < 500 && (await list()).length < 2; ++i) await new Promise((r) => setTimeout(r, 10));
  assert.deepEqual(await list(), ['Tiny-8bit', 'mine']);
  const catalog = await (await fetch(`${node.url}/v1/models/catalog`)).json();
  assert.equal(catalog.models.length, 5);
  const refused = await node.chat({ ...long, model: 'gemma-4-26b' });
  assert.equal(refused.status, 503);
  assert.equal((await refused.json()).error.code, 'model_not_held');
  const models = await runBinary(['models', '--json', '--data-dir', dataDir], { env: { DARKBLOOM_API_KEY: OWNER_KEY } });
  const seen = JSON.parse(models.stdout);
  assert.deepEqual(seen.node.loaded, ['Tiny-8bit', 'mine']);
  assert.equal(seen.catalog.length, 5);
  assert.ok(seen.models.some((m) => m.id === 'Tiny-8bit' && m.architecture === 'qwen3'));
  const missing = await runBinary(['serve', '--listen', '127.0.0.1:0', '--data-dir', dataDir, '--model', 'trinity-mini']);
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /Trinity Mini 8-bit is in the catalog, but not in/);
});

test('a port that is taken ends the start', async (t) => {
  const node = await startNode(t);
  const { code, stdout, stderr } = await runBinary(
    ['serve', '--listen', `127.0.0.1:${node.port}`, '--data-dir', temporaryFolder(t)], { timeoutMs: 10_000 });
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.match(stderr, new RegExp(`127\\.0\\.0\\.1:${node.port}: the address is in use`));
});

test('a data directory of somebody keeps its mode, a new one is private', async (t) => {
  const mine = temporaryFolder(t);
  fs.chmodSync(mine, 0o755);
  assert.equal(await (await startNode(t, { dataDir: mine })).stop(), 0);
  assert.equal(fs.statSync(mine).mode & 0o777, 0o755);
  const made = path.join(temporaryFolder(t), 'made');
  assert.equal(await (await startNode(t, { dataDir: made })).stop(), 0);
  assert.equal(fs.statSync(made).mode & 0o777, 0o700);
});

test('a database that is none is named', async (t) => {
  const dataDir = temporaryFolder(t);
  fs.writeFileSync(path.join(dataDir, 'darkbloom.db'), 'this is no database, whatever its name says'.repeat(200));
  const { code, stderr } = await runBinary(['serve', '--listen', '127.0.0.1:0', '--data-dir', dataDir]);
  assert.equal(code, 1);
  assert.ok(stderr.includes(path.join(dataDir, 'darkbloom.db')), stderr);
});

test('SIGTERM while models load leaves the rest unloaded', async (t) => {
  const names = Array.from({ length: 32 }, (_, i) => `m${i}`);
  const node = await startNode(t, { args: names.flatMap((n) => ['--model', `${MODEL}=${n}`]), waitReady: false });
  assert.equal(await node.stop(), 0);
  const loaded = node.log.stderr.match(/model m\d+ is ready/g) ?? [];
  assert.ok(loaded.length < names.length, `${loaded.length} were loaded`);
});

test('flags can be said to be off', async () => {
  const { code, stdout } = await runBinary(['serve', '--precise=false', '--print-config']);
  assert.equal(code, 0);
  assert.match(stdout, /^engine\.precise = false {2}# flag$/m);
});

test('help fits on a screen and has an example, for every verb', async () => {
  const top = await runBinary(['--help']);
  assert.equal(top.code, 0);
  for (const verb of ['serve', 'chat', 'models', 'inspect', 'doctor', 'bench', 'keys', 'verify-response', 'fit']) {
    assert.match(top.stdout, new RegExp(`\\b${verb}\\b`));
    const { code, stdout } = await runBinary([verb, '--help']);
    assert.equal(code, 0, verb);
    assert.ok(stdout.split('\n').length < 40, `${verb}: ${stdout.split('\n').length} lines`);
    assert.match(stdout, /[Ee]xample/, verb);
  }
});

test('inspect, doctor, models and bench work without a server', async (t) => {
  const inspect = await runBinary(['inspect', 'darkbloom/nano', '--json']);
  assert.equal(inspect.code, 0, inspect.stderr);
  assert.equal(JSON.parse(inspect.stdout).architecture, 'qwen3');
  const tokens = await runBinary(['inspect', 'darkbloom/nano', '--tokenize', 'Hello!', '--json']);
  const ids = JSON.parse(tokens.stdout).tokens.map((x) => x.id);
  assert.ok(ids.length > 0);
  const logits = await runBinary(['inspect', 'darkbloom/nano', '--logits', ids.join(','), '--top', '3', '--json']);
  assert.equal(JSON.parse(logits.stdout).top.length, 3);
  const doctor = await runBinary(['doctor', '--json']);
  assert.ok(Array.isArray(JSON.parse(doctor.stdout).checks));
  const models = await runBinary(['models', '--json', '--data-dir', temporaryFolder(t)]);
  assert.ok(JSON.parse(models.stdout).models.some((m) => m.id === 'darkbloom/nano'));
  const bench = await runBinary(['bench', 'model', '--pp', '64', '--tg', '8', '--batch', '1,2', '--json']);
  assert.equal(bench.code, 0, bench.stderr);
  assert.ok(JSON.parse(bench.stdout).rows.length >= 3);
});

test('chat answers in process and over a URL', async (t) => {
  const local = await runBinary(['chat', 'What is Darkbloom?', '--data-dir', temporaryFolder(t)]);
  assert.equal(local.code, 0, local.stderr);
  assert.match(local.stdout, /darkbloom/i);
  assert.match(local.stderr, /tokens\/s/);
  const node = await startNode(t);
  const remote = await runBinary(['chat', 'What is Darkbloom?', '--url', node.url], { env: { DARKBLOOM_API_KEY: OWNER_KEY } });
  assert.equal(remote.code, 0, remote.stderr);
  assert.match(remote.stdout, /darkbloom/i);
});

test('keys: create, use, list, revoke', async (t) => {
  const dataDir = temporaryFolder(t);
  const made = await runBinary(['keys', 'create', '--label', 'laptop', '--data-dir', dataDir]);
  assert.equal(made.code, 0, made.stderr);
  const key = /sk-db-[0-9a-f]{64}/.exec(made.stdout)[0];
  const list = await runBinary(['keys', 'list', '--json', '--data-dir', dataDir]);
  const entry = JSON.parse(list.stdout).keys.find((k) => k.label === 'laptop');
  assert.ok(entry);
  assert.ok(!list.stdout.includes(key));
  const node = await startNode(t, { dataDir });
  const headers = { authorization: `Bearer ${key}` };
  assert.equal((await fetch(`${node.url}/v1/models`, { headers })).status, 200);
  assert.equal(await node.stop(), 0);
  assert.equal((await runBinary(['keys', 'revoke', entry.id, '--data-dir', dataDir])).code, 0);
  const after = await startNode(t, { dataDir });
  assert.equal((await fetch(`${after.url}/v1/models`, { headers })).status, 401);
});
