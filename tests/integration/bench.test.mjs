// Every bench verb runs and says what it promises: structure and sanity, no speeds.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { OWNER_KEY, runBinary, startNode, temporaryFolder } from './harness.mjs';

const ROOT = path.resolve(import.meta.dirname, '..', '..');

async function benchJson(args, options) {
  const { code, stdout, stderr } = await runBinary(['bench', ...args, '--json'], options);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

const positive = (row, ...names) => names.forEach((name) => assert.ok(row[name] > 0, `${name}: ${row[name]}`));

function checkFigures(row) {
  positive(row, 'gb_per_s', 'roof_ratio', 'read_roof_gb_per_s', 'dot_roof_gops', 'seconds', 'repetitions', 'threads');
  assert.ok(row.gops >= 0 && row.roof_ratio_mad >= 0 && row.disturbed >= 0);
  assert.ok(['bandwidth', 'dots'].includes(row.limit), row.limit);
}

test('bench roofs', async () => {
  const report = await benchJson(['roofs', '--threads', '1,2', '--repetitions', '1']);
  assert.deepEqual(report.ceilings.map((c) => c.threads), [1, 2]);
  assert.ok(report.isa && report.huge_pages);
  for (const c of report.ceilings) {
    positive(c, 'read_gb_per_s', 'read_plain_gb_per_s', 'read_small_pages_gb_per_s', 'dot_gops', 'fma_gflops', 'clock_ghz');
  }
  const table = await runBinary(['bench', 'roofs', '--threads', '1', '--repetitions', '1']);
  assert.match(table.stdout, /threads +read GB\/s/);
});

test('bench kernels: dense, both formats, and the table', async () => {
  const small = ['--working-set', '8', '--repetitions', '1', '--threads', '2'];
  for (const format of ['q8_0', 'affine8']) {
    const report = await benchJson(['kernels', '--op', 'dense', '--shape', '256,512', '--shape', '512,96', '--format', format,
      '--n', '1,8', ...small]);
    assert.equal(report.rows.length, 4);
    for (const row of report.rows) {
      assert.deepEqual([row.op, row.format, row.threads], ['dense', format, 2]);
      checkFigures(row);
      positive(row, 'gops');
    }
    assert.deepEqual(report.rows.map((r) => [r.shape, r.n]), [['256,512', 1], ['256,512', 8], ['512,96', 1], ['512,96', 8]]);
  }
  const forced = await benchJson(['kernels', '--op', 'dense', '--shape', '64,64', '--n', '1', '--isa', 'scalar', ...small]);
  assert.equal(forced.isa, 'scalar');
  const table = await runBinary(['bench', 'kernels', '--op', 'dense', '--shape', '256,512', '--n', '4', ...small]);
  assert.equal(table.code, 0, table.stderr);
  assert.match(table.stdout, /^dense +256,512 +q8_0 +4 /m);
});

test('bench kernels: experts and attention', async () => {
  const small = ['--working-set', '8', '--repetitions', '1', '--threads', '2'];
  const moe = await benchJson(['kernels', '--op', 'moe', '--shape', '128,64,16,4', '--n', '1,8', ...small]);
  assert.deepEqual(moe.rows.map((r) => [r.op, r.shape, r.n]), [['moe', '128,64,16,4', 1], ['moe', '128,64,16,4', 8]]);
  moe.rows.forEach(checkFigures);
  const attention = await benchJson(['kernels', '--op', 'attention', '--shape', '8,2,64', '--context', '500', '--n', '1,3', ...small]);
  assert.deepEqual(attention.rows.map((r) => [r.op, r.context, r.n]), [['attention', 500, 1], ['attention', 500, 3]]);
  attention.rows.forEach(checkFigures);
});

test('bench kernels: the matrices of a model', async (t) => {
  const file = path.join(temporaryFolder(t), 'tiny.txt');
  fs.writeFileSync(file, `# two layers
arch = qwen3moe
layers = 2
d_model = 64
heads = 4
kv_heads = 2
head_dim = 32
experts = 8
top_k = 2
expert_ffn_dim = 64
vocab = 300
context = 512
`);
  const report = await benchJson(['kernels', '--shapes-file', file, '--n', '2', '--context', '100', '--working-set', '2',
    '--repetitions', '1', '--threads', '2']);
  report.rows.forEach(checkFigures);
  assert.deepEqual(report.rows.map((r) => `${r.op} ${r.shape}`),
    ['dense 64,128', 'dense 64,64', 'dense 128,64', 'moe 64,64,8,2', 'dense 64,300', 'attention 4,2,32']);
  for (const row of report.rows) assert.match(row.name, /\w+ \w+/);
});

test('bench model: rows, depth, where the time of a step goes', async () => {
  const report = await benchJson(['model', '--pp', '32', '--tg', '4', '--batch', '1,2', '--repetitions', '1', '--threads', '2']);
  const rows = report.rows.filter((r) => r.op === 'model');
  assert.deepEqual(rows.map((r) => [r.test, r.batch]), [['pp32', 1], ['tg4', 1], ['tg4', 2]]);
  for (const row of rows) {
    checkFigures(row);
    positive(row, 'tokens_per_s');
  }
  const steps = report.rows.filter((r) => r.op === 'step');
  assert.deepEqual(steps.map((r) => r.n), [1, 2]);
  for (const step of steps) {
    positive(step, 'step_us', 'work_us', 'phases');
    assert.ok(step.work_us <= step.step_us);
  }
  const deep = await benchJson(['model', '--pp', '0', '--tg', '2', '--batch', '1', '--depth', '3000', '--repetitions', '1']);
  assert.equal(deep.rows[0].depth, 3000);
  assert.ok(deep.rows[0].bytes_per_step > rows[1].bytes_per_step);
});

test('bench serve: a load whose arrivals do not wait', async (t) => {
  const node = await startNode(t);
  const env = { DARKBLOOM_API_KEY: OWNER_KEY };
  const load = ['serve', '--url', node.url, '--rate', '20', '--duration', '0.5', '--max-tokens', '8', '--prompt-tokens', '8'];
  const streamed = await benchJson([...load, '--arrivals', 'even'], { env });
  assert.equal(streamed.requests, 10);
  assert.equal(streamed.answered, 10);
  assert.deepEqual(streamed.errors, {});
  positive(streamed, 'tokens', 'tokens_per_s', 'requests_per_s', 'idle_ttft_ms');
  for (const name of ['ttft_ms', 'total_ms', 'late_ms', 'added_ms', 'gap_ms']) {
    const p = streamed[name];
    assert.ok(p.p50 <= p.p90 && p.p90 <= p.p99 && p.p99 <= p.p999 && p.p999 <= p.max, name);
  }
  assert.ok(streamed.ttft_ms.p50 <= streamed.total_ms.p50);
  const whole = await benchJson([...load, '--no-stream', '--model', 'darkbloom/nano'], { env });
  assert.ok(whole.answered > 0 && whole.gap_ms.n === 0);
  for (const dialect of ['completions', 'responses', 'messages']) {
    for (const how of ['--stream', '--no-stream']) {
      const other = await benchJson([...load, how, '--dialect', dialect], { env });
      assert.deepEqual(other.errors, {}, dialect);
      assert.equal(other.dialect, dialect);
      positive(other, 'answered', 'tokens', 'idle_ttft_ms');
    }
  }
  const table = await runBinary(['bench', ...load], { env });
  assert.match(table.stdout, /first content +\d+/);

  const refused = await runBinary(['bench', ...load, '--model', 'darkbloom/nano'], { env: { DARKBLOOM_API_KEY: 'wrong' } });
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /401/);
});

test('usage errors name the value and end with 2', async () => {
  for (const [args, expected] of [
    [['kernels', '--op', 'dense', '--shape', '100,64'], /100 inputs.*group of 32/],
    [['kernels', '--op', 'dense', '--shape', '64'], /expected K,M/],
    [['kernels', '--op', 'moe', '--shape', '64,64,4,8'], /more experts/],
    [['kernels', '--shape', '64,64'], /--op/],
    [['kernels'], /nothing to measure/],
    [['serve', '--url', 'nonsense', '--rate', '1', '--duration', '1'], /nonsense/],
    [['serve', '--url', 'http://127.0.0.1:1', '--rate', '1e6', '--duration', '3600'], /3600000000 requests/],
    [['model', '--pp', '0', '--tg', '0'], /nothing to measure/],
  ]) {
    const { code, stderr } = await runBinary(['bench', ...args]);
    assert.equal(code, 2, `${args}: ${stderr}`);
    assert.match(stderr, expected);
  }
  const unknown = await runBinary(['bench', 'kernels', '--shapes', 'qwen9']);
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /qwen9.*qwen3-8b/);
  const isa = await runBinary(['bench', 'roofs', '--isa', 'quantum']);
  assert.equal(isa.code, 3);
  assert.match(isa.stderr, /quantum.*can run: .*scalar/);
  const gone = await runBinary(['bench', 'serve', '--url', 'http://127.0.0.1:1', '--rate', '1', '--duration', '1']);
  assert.equal(gone.code, 1, gone.stderr);
});

test('bench_compare reads what bench writes', async (t) => {
  const folder = temporaryFolder(t);
  const files = [];
  for (const name of ['before', 'after']) {
    const { stdout } = await runBinary(['bench', 'kernels', '--op', 'dense', '--shape', '256,256', '--n', '1',
      '--working-set', '4', '--repetitions', '2', '--json']);
    files.push(path.join(folder, `${name}.json`));
    fs.writeFileSync(files.at(-1), stdout);
  }
  const compared = spawnSync('python3', [path.join(ROOT, 'tools', 'bench_compare.py'), ...files], { encoding: 'utf8' });
  assert.equal(compared.status, 0, compared.stderr);
  assert.match(compared.stdout, /dense 256,256 q8_0 n=1 +roof_ratio/);
});
