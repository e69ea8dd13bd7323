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
      let first;  // probabilities of what follows the prompt, by token
      // The end of a text is no end here: goldens go on to their number of tokens.
      const options = { temperature: 0, yieldEogToken: true };
      for await (const { token, probabilities } of
        context.getSequence().evaluateWithMetadata(ids, { probabilities: true }, options)) {
        first ??= [...probabilities];
        tokens.push(token);
        if (tokens.length === n) break;
      }
      await context.dispose();
      answers.push({ tokens, first });
    }
    return { answers };
  } catch (error) {
    const reason = log.filter((line) => /error|unknown|missing|wrong|expected/.test(line)).slice(0, 2).join(' | ');
    return { error: reason || String(error.message ?? error) };
  }
}

function isolated(peers, model, prompts, result) {
  const input = JSON.stringify({ peers, model, prompts, result });
  const run = spawnSync(process.execPath, [self, '--one'], { input, encoding: 'utf8', timeout: 120_000 });
  if (fs.existsSync(result)) return JSON.parse(fs.readFileSync(result));
  return { error: `ended with ${run.signal ?? run.status}: ${run.stderr.trim().split('\n').at(-1)}` };
}

/** How far the probabilities [[token, p]] are from golden logits: the norm of the difference of the logarithms, over the
 * norm of the logits, both without their mean, which probabilities do not know. */
function distance(probabilities, logits) {
  const pairs = probabilities.filter(([, p]) => p > 0).map(([token, p]) => [Math.log(p), logits[token]]);
  const mean = (k) => pairs.reduce((sum, pair) => sum + pair[k], 0) / pairs.length;
  const [a, b] = [mean(0), mean(1)];
  const norm = (f) => Math.sqrt(pairs.reduce((sum, pair) => sum + f(pair) ** 2, 0));
  return norm(([x, y]) => (x - a) - (y - b)) / norm(([, y]) => y - b);
}

/** For each prompt: the first token that differs (-1: none), and the distance of the first one's distribution. */
function compare(dir, answers, { prompts, vocab_rows: rows }) {
  return answers.map(({ tokens, first }, i) => {
    const { greedy_precise: expected, precise_logits_file: file } = prompts[i];
    const at = tokens.findIndex((t, j) => t !== expected[j]);
    if (!file) return { at };
    const bytes = fs.readFileSync(path.join(dir, file));
    const last = Array.from({ length: rows }, (_, r) => bytes.readFloatLE(bytes.length - 4 * (rows - r)));
    return { at, off: distance(first, last) };
  });
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
      const { answers, error } = isolated(peers, file, prompts, path.join(temporary, `${kind}.json`));
      result[kind] = error ? { error } : { prompts: compare(dir, answers, golden) };
    }
    return result;
  } finally {
    fs.rmSync(temporary, { recursive: true });
  }
}

function text({ error, prompts }) {
  if (error) return `not loaded (${error})`;
  const wrong = prompts.filter(({ at }) => at >= 0).map(({ at }) => at);
  const off = prompts.filter((p) => p.off !== undefined).map((p) => (100 * p.off).toPrecision(2));
  return `${prompts.length - wrong.length} of ${prompts.length} prompts agree`
    + (wrong.length ? `, others from token ${wrong.join(', ')} on` : '')
    + (off.length ? `; logits off by ${off.join(', ')} %` : '');
}

if (process.argv[2] === '--one') {
  const { peers, model, prompts, result } = JSON.parse(fs.readFileSync(0));
  fs.writeFileSync(result, JSON.stringify(await evaluate(peers, model, prompts)));
  process.exit(0);
}
const [peers, data = path.join(repository, 'tests/golden/engine/data'), ...only] = process.argv.slice(2);
let disagreements = 0;
for (const name of fs.readdirSync(data).sort()) {
  const dir = path.join(data, name);
  if (!fs.existsSync(path.join(dir, 'model.gguf')) || (only.length && !only.includes(name))) continue;
  const { file, f32 } = check(peers, dir);
  console.log(`${name}\n  as it is: ${text(file)}\n  as F32: ${text(f32)}`);
  if (f32.prompts?.some(({ at }) => at >= 0)) ++disagreements;
}
process.exit(disagreements ? 1 : 0);
