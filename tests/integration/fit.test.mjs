// The fit API as a client reads it that knows its page alone: unknown fields ignored, missing ones survived.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startNode, suiteContext } from './harness.mjs';

const run = promisify(execFile);
const suite = suiteContext();
let node;
before(async () => { node = await startNode(suite); });
after(() => suite.done());

const get = async (path) => {
  const response = await fetch(node.url + path);
  return { status: response.status, body: await response.json() };
};

test('the machine is told without a key on a loopback address', async () => {
  const { status, body } = await get('/api/v1/system');
  assert.equal(status, 200);
  assert.equal(body.node.os, 'linux');
  assert.ok(body.system.total_ram_gb > 0 && body.system.available_ram_gb <= body.system.total_ram_gb);
  assert.ok(Number.isInteger(body.system.cpu_cores) && body.system.cpu_cores > 0);
  assert.equal(body.system.has_gpu, body.system.gpus.length > 0);
});

test('rows are read as the page describes them', async () => {
  const { body } = await get('/api/v1/models?ram_gb=64&vram_gb=24&cpu_cores=16&min_fit=too_tight');
  assert.equal(body.total_models, body.models.length);
  assert.equal(body.returned_models, body.models.length);
  assert.equal(body.system.gpu_vram_gb, 24);
  let tight = false;
  for (const row of body.models) {
    assert.ok(['perfect', 'good', 'marginal', 'too_tight'].includes(row.fit_level));
    assert.ok(['gpu', 'moe_offload', 'cpu_offload', 'cpu_only'].includes(row.run_mode));
    const { quality, speed, fit, context } = row.score_components;
    const score = 0.3 * quality + 0.3 * speed + 0.25 * fit + 0.15 * context;
    assert.ok(Math.abs(score - row.score) <= 0.11, `${row.name}: ${score} instead of ${row.score}`);
    assert.equal(row.memory_required_gb > row.memory_available_gb, row.fit_level === 'too_tight', row.name);
    const isTight = row.fit_level === 'too_tight';
    assert.ok(isTight || !tight, 'what does not run comes last');
    tight ||= isTight;
  }
  assert.ok(tight);
});

test('limits, search and the echo of the filters', async () => {
  const top = await get('/api/v1/models/top?ram_gb=64');
  assert.equal(top.body.models.length, 5);
  assert.equal(top.body.filters.top_only, true);
  assert.equal(top.body.filters.sort, null);
  const none = await get('/api/v1/models?limit=0&ram_gb=64');
  assert.equal(none.body.returned_models, 0);
  assert.ok(none.body.total_models > 0);
  for (const name of ['Qwen%2FQwen3-8B', 'Qwen/Qwen3-8B']) {
    const found = await get(`/api/v1/models/${name}?ram_gb=64`);
    assert.ok(found.body.models.some((row) => row.name === 'Qwen/Qwen3-8B'), name);
    assert.equal(found.body.filters.search, 'Qwen/Qwen3-8B');
  }
  for (const odd of ['no%20such%00model', '%ff%fe', '..%2f..', encodeURIComponent('😀'.repeat(500))]) {
    const { status, body } = await get(`/api/v1/models/${odd}`);
    assert.ok(status === 200 ? body.models.length === 0 : status === 400, `${odd}: ${status}`);
  }
});

test('bad parameters are named', async () => {
  for (const [query, text] of [
    ['sort=best', 'invalid sort value: use score|tps|params|mem|ctx|date|use_case'],
    ['limit=-1', 'invalid limit value: expected a non-negative integer'],
    ['ram_gb=0', 'invalid ram_gb value: expected a positive number'],
  ]) {
    assert.deepEqual(await get(`/api/v1/models?${query}`), { status: 400, body: { error: text } });
  }
});

test('the command says the same as the API', async () => {
  const { stdout } = await run(process.env.DARKBLOOM_BINARY, ['fit', '--ram', '64', '--cores', '16', '--json']);
  const { body } = await get('/api/v1/models?ram_gb=64&cpu_cores=16');
  assert.deepEqual(JSON.parse(stdout).models, body.models);
  const table = await run(process.env.DARKBLOOM_BINARY, ['fit', '--ram', '64', '--top', '3', '--use-case', 'coding']);
  assert.match(table.stdout, /^Simulated machine: /);
  assert.match(table.stdout, /\n3 of \d+ models/);
  const one = await run(process.env.DARKBLOOM_BINARY, ['fit', 'MiniMax-M2.5-8bit', '--ram', '32']);
  assert.match(one.stdout, /Too Tight/);
  assert.match(one.stdout, /to fit {4}\d+\.\d GB more/);
  await assert.rejects(run(process.env.DARKBLOOM_BINARY, ['fit', '--sort', 'best']), { code: 2 });
  await assert.rejects(run(process.env.DARKBLOOM_BINARY, ['fit', 'no such model']), /no published model matches/);
});
