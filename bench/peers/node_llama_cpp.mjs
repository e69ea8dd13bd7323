// Times prefill and decode of a GGUF file with the llama.cpp that the npm package node-llama-cpp carries.
// Started by compare.mjs; prints one JSON line. usage: node node_llama_cpp.mjs CACHE_FOLDER OPTIONS_JSON
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, text] = process.argv.slice(2);
const options = JSON.parse(text);
const require = createRequire(path.join(path.resolve(folder), 'package.json'));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve('node-llama-cpp')));

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const mid = sorted.length >> 1;
  return sorted.length % 2 ? sorted[mid] : (sorted[mid - 1] + sorted[mid]) / 2;
};

/** Seconds of each of `n` runs after one to warm up. */
async function times(n, run) {
  await run();
  const seconds = [];
  for (let i = 0; i < n; ++i) {
    const start = performance.now();
    await run();
    seconds.push((performance.now() - start) / 1000);
  }
  return seconds;
}

// Prebuilt binaries only: nothing is downloaded or compiled here.
const llama = await getLlama({
  gpu: false, build: 'never', skipDownload: true, usePrebuiltBinaries: true,
  maxThreads: options.threads, logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath: options.model, gpuLayers: 0, useMmap: true });
const token = (i) => 1 + (i * 7919) % 200;
const rows = [];

async function withSequences(n, body) {
  const context = await model.createContext({
    sequences: n, contextSize: options.pp + options.tg + 64, batchSize: Math.max(options.pp, n),
    threads: { ideal: options.threads, min: options.threads },
    batching: { dispatchSchedule: 'nextCycle' },
  });
  try {
    return await body(Array.from({ length: n }, () => context.getSequence()));
  } finally {
    await context.dispose();
  }
}

if (options.pp > 0) {
  const prompt = Array.from({ length: options.pp }, (_, i) => token(i));
  const seconds = await withSequences(1, ([sequence]) => times(options.repetitions, async () => {
    await sequence.clearHistory();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
  }));
  rows.push({ test: `pp${options.pp}`, batch: 1, tokens_per_s: options.pp / median(seconds) });
}
for (const batch of options.tg > 0 ? options.batches : []) {
  const seconds = await withSequences(batch, (sequences) => times(options.repetitions, async () => {
    await Promise.all(sequences.map(async (sequence, s) => {
      await sequence.clearHistory();
      let left = options.tg;
      // The end of a text is no end here: random weights know none.
      const tokens = sequence.evaluate([token(s)], { temperature: 0, yieldEogToken: true });
      for await (const _ of tokens) if (--left === 0) break;
    }));
  }));
  rows.push({ test: `tg${options.tg}`, batch, tokens_per_s: (batch * options.tg) / median(seconds) });
}
process.stdout.write(`${JSON.stringify({ build: llama.buildType, rows })}\n`);
await llama.dispose();
