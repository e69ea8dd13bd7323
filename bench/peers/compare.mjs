#!/usr/bin/env node
// Darkbloom beside node-llama-cpp (the prebuilt llama.cpp of that npm package, on the processor) on one GGUF file:
// they take turns, each round gives a ratio, the median of the ratios counts.
//
// usage: bench/peers/compare.mjs --model FILE.gguf [--binary build/release/darkbloom] [--threads 2] [--rounds 3]
//          [--pp 512] [--tg 64] [--batch 1,4,8,16] [--repetitions 3] [--json]
// The package is installed once by npm into build/peers (nothing of it is kept in the project); its install scripts do
// not run, so nothing is downloaded from elsewhere or compiled.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

const VERSION = '3.22.1';
const ROOT = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '..', '..');
const CACHE = path.join(ROOT, 'build', 'peers');

const { values: given } = parseArgs({
  options: {
    model: { type: 'string' }, binary: { type: 'string', default: path.join(ROOT, 'build', 'release', 'darkbloom') },
    threads: { type: 'string', default: String(os.availableParallelism()) }, rounds: { type: 'string', default: '3' },
    pp: { type: 'string', default: '512' }, tg: { type: 'string', default: '64' },
    batch: { type: 'string', default: '1,4,8,16' }, repetitions: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
});

function fail(message) {
  process.stderr.write(`compare: ${message}\n`);
  process.exit(2);
}

function count(name, least) {
  const n = Number(given[name]);
  if (!Number.isInteger(n) || n < least) fail(`--${name} ${given[name]}: expected a whole number from ${least}`);
  return n;
}

if (!given.model) fail('--model FILE.gguf is missing (tools/make_bench_model.py writes one)');
if (!fs.existsSync(given.model)) fail(`${given.model}: no such file`);
if (!fs.existsSync(given.binary)) fail(`${given.binary}: no such file; build it or give --binary`);
const options = {
  model: path.resolve(given.model), threads: count('threads', 1), pp: count('pp', 0), tg: count('tg', 0),
  batches: given.batch.split(',').map(Number), repetitions: count('repetitions', 1),
};
const rounds = count('rounds', 1);

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const mid = sorted.length >> 1;
  return sorted.length % 2 ? sorted[mid] : (sorted[mid - 1] + sorted[mid]) / 2;
};

/** The package in its cache folder. */
function install() {
  const installed = path.join(CACHE, 'node_modules', 'node-llama-cpp', 'package.json');
  if (fs.existsSync(installed) && JSON.parse(fs.readFileSync(installed)).version === VERSION) return;
  const platform = `@node-llama-cpp/${process.platform === 'darwin' ? 'mac' : process.platform}-${process.arch}`;
  fs.mkdirSync(CACHE, { recursive: true });
  fs.writeFileSync(path.join(CACHE, 'package.json'), JSON.stringify({
    name: 'darkbloom-peers', private: true,
    dependencies: { 'node-llama-cpp': VERSION, [platform]: VERSION },
  }));
  process.stderr.write(`installing node-llama-cpp ${VERSION} into ${CACHE}\n`);
  // Optional packages are those for graphics cards and other systems.
  const done = spawnSync('npm', ['install', '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund',
    '--loglevel=error'], { cwd: CACHE, stdio: ['ignore', 'inherit', 'inherit'] });
  if (done.status !== 0) fail('npm install failed');
}

/** What a command prints on stdout, as JSON. */
async function jsonOf(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (d) => { text += d; });
  const [code] = await once(child, 'close');
  if (code !== 0) fail(`${path.basename(command)} ended with ${code}`);
  return JSON.parse(text);
}

const ours = () => jsonOf(given.binary, ['bench', 'model', '--model', options.model, '--threads', options.threads,
  '--pp', options.pp, '--tg', options.tg, '--batch', options.batches.join(','), '--repetitions', options.repetitions,
  '--json'].map(String));
const theirs = () => jsonOf(process.execPath,
  [path.join(ROOT, 'bench', 'peers', 'node_llama_cpp.mjs'), CACHE, JSON.stringify(options)]);

install();
const table = new Map(); // test and batch -> { ours: [], theirs: [], roof: [] }
for (let round = 0; round < rounds; ++round) {
  // Each begins in half of the rounds: the machine may slow down while it is busy.
  const turns = round % 2 === 0 ? [ours, theirs] : [theirs, ours];
  const results = new Map();
  for (const turn of turns) results.set(turn, await turn());
  for (const row of results.get(ours).rows.filter((r) => r.op === 'model')) {
    const peer = results.get(theirs).rows.find((r) => r.test === row.test && r.batch === row.batch);
    if (!peer) continue;
    const key = `${row.test} ${row.batch}`;
    const entry = table.get(key) ?? { test: row.test, batch: row.batch, ours: [], theirs: [], roof: [] };
    table.set(key, entry);
    entry.ours.push(row.tokens_per_s);
    entry.theirs.push(peer.tokens_per_s);
    entry.roof.push(row.roof_ratio);
  }
}
const rows = [...table.values()].map((e) => {
  const ratios = e.ours.map((rate, i) => rate / e.theirs[i]);
  return {
    op: 'peer', peer: `node-llama-cpp ${VERSION}`, test: e.test, batch: e.batch, threads: options.threads, rounds,
    tokens_per_s: median(e.ours), peer_tokens_per_s: median(e.theirs), ratio: median(ratios),
    ratio_min: Math.min(...ratios), ratio_max: Math.max(...ratios), roof_ratio: median(e.roof),
  };
});
if (given.json) {
  process.stdout.write(`${JSON.stringify({ model: path.basename(options.model), rows })}\n`);
} else {
  const cell = (value, width) => String(value).padStart(width);
  process.stdout.write(`${path.basename(options.model)}, ${options.threads} threads, ${rounds} rounds, `
    + `peer: node-llama-cpp ${VERSION}\n\n`
    + `${'test'.padEnd(8)}${cell('batch', 6)}${cell('tokens/s', 12)}${cell('peer', 12)}${cell('ratio', 8)}`
    + `${cell('min-max', 14)}${cell('of roof', 9)}\n`);
  for (const r of rows) {
    process.stdout.write(`${r.test.padEnd(8)}${cell(r.batch, 6)}${cell(r.tokens_per_s.toFixed(1), 12)}`
      + `${cell(r.peer_tokens_per_s.toFixed(1), 12)}${cell(r.ratio.toFixed(2), 8)}`
      + `${cell(`${r.ratio_min.toFixed(2)}-${r.ratio_max.toFixed(2)}`, 14)}${cell(r.roof_ratio.toFixed(3), 9)}\n`);
  }
}
