#!/usr/bin/env node
// What another implementation says to the golden models: loads every GGUF golden with the llama.cpp that the npm
// package node-llama-cpp carries, continues each prompt greedily and compares with greedy_precise. Every file is
// tried as it is, where llama.cpp rounds activations to 8 bits, and with its Q8_0 matrices as F32, where nothing but
// the last bits should differ.
//
// usage: node tools/golden/peer_check.mjs PEERS_FOLDER [DATA_FOLDER] [CASE]...
// PEERS_FOLDER has node_modules with node-llama-cpp (bench/peers/compare.mjs says how it comes there). Prints a line for
// each case, and every disagreement; the status is 1 where some model was loaded and disagreed as F32.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { writeWithoutQ8 } from './gguf_f32.mjs';

const self = fileURLToPath(import.meta.url);
const repository = path.dirname(path.dirname(path.dirname(self)));

/** One model in this process: a crash of the library ends this process only. */
async function evaluate(peers, modelPath, prompts) {
  const require = createRequire(path.join(path.resolve(peers), 'package.json'));
  const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve('node-llama-cpp')));
  const log = [];
  const llama = await getLlama({
    gpu: false, build: 'never', skipDownload: true, usePrebuiltBinaries: true, maxThreads: 1,
    logLevel: LlamaLogLevel.error, logger: (_, text) => log.push(text.trim()),
  });
  try {
    const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
    const answers = [];
    for (const { ids, n } of prompts) {
      const context = await model.createContext({ sequences: 1, contextSize: 256, threads: 1 });
      const tokens = [];
      // The end of a text is no end here: goldens go on to their number of tokens.
      const options = { temperature: 0, yieldEogToken: true };
      for await (const token of context.getSequence().evaluate(ids, options)) {
        tokens.push(token);
        if (tokens.length === n) break;
      }
      await context.dispose();
      answers.push(tokens);
    }
    return { answers };
  } catch (error) {
    const reason = log.filter((line) => /error|unknown|missing|wrong|expected/.test(line)).slice(0, 2).join(' | ');
    return { error: reason || String(error.message ?? error) };
  }
}

function isolated(peers, model, prompts) {
  const input = JSON.stringify({ peers, model, prompts });
  const run = spawnSync(process.execPath, [self, '--one'], { input, encoding: 'utf8', timeout: 120_000 });
  const line = run.stdout.trim().split('\n').at(-1);
  if (line.startsWith('{')) return JSON.parse(line);
  return { error: `ended with ${run.signal ?? run.status}: ${run.stderr.trim().split('\n').at(-1)}` };
}

/** The number of equal tokens at the start of each continuation; -1: all. */
function compare(answers, prompts) {
  return answers.map((tokens, i) => tokens.findIndex((t, j) => t !== prompts[i].greedy_precise[j]));
}

function check(peers, dir) {
  const golden = JSON.parse(fs.readFileSync(path.join(dir, 'golden.json')));
  const prompts = golden.prompts.map((p) => ({ ids: p.ids, n: p.greedy_precise.length }));
  const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'peer-check-'));
  try {
    const plain = path.join(temporary, 'f32.gguf');
    writeWithoutQ8(path.join(dir, golden.model), plain);
    const result = {};
    for (const [kind, file] of [['file', path.join(dir, golden.model)], ['f32', plain]]) {
      const { answers, error } = isolated(peers, file, prompts);
      result[kind] = error ? { error } : { first: compare(answers, golden.prompts) };
    }
    return result;
  } finally {
    fs.rmSync(temporary, { recursive: true });
  }
}

const text = ({ error, first }) => error ? `not loaded (${error})`
  : first.every((f) => f < 0) ? `all ${first.length} prompts agree`
    : `${first.filter((f) => f < 0).length} of ${first.length} prompts agree, others from token ${first.filter((f) => f >= 0).join(', ')} on`;

if (process.argv[2] === '--one') {
  const { peers, model, prompts } = JSON.parse(fs.readFileSync(0));
  process.stdout.write(`\n${JSON.stringify(await evaluate(peers, model, prompts))}\n`);
  process.exit(0);
}
const [peers, data = path.join(repository, 'tests/golden/engine/data'), ...only] = process.argv.slice(2);
let disagreements = 0;
for (const name of fs.readdirSync(data).sort()) {
  const dir = path.join(data, name);
  if (!fs.existsSync(path.join(dir, 'model.gguf')) || (only.length && !only.includes(name))) continue;
  const { file, f32 } = check(peers, dir);
  console.log(`${name}: as it is: ${text(file)}; as F32: ${text(f32)}`);
  if (f32.first?.some((f) => f >= 0)) ++disagreements;
}
process.exit(disagreements ? 1 : 0);
