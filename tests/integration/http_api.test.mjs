// The HTTP surface without an SDK: routes, envelopes, headers, and the corpora of bad input.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { dataFolder, OWNER_KEY, rawExchange, readEvents, startNode, suiteContext } from './harness.mjs';

const MODEL = 'darkbloom/nano';
const body = { model: MODEL, messages: [{ role: 'user', content: 'Hello!' }], temperature: 0 };

describe('http', () => {
  const suite = suiteContext();
  let node;
  after(() => suite.done());
  before(async () => { node = await startNode(suite); });

  test('public routes need no key', async () => {
    const health = await fetch(`${node.url}/health`);
    assert.equal(health.status, 200);
    assert.equal((await health.json()).status, 'ok');
    const landing = await fetch(`${node.url}/`);
    assert.equal(landing.status, 200);
    assert.match(await landing.text(), /Darkbloom/);
    assert.equal((await fetch(`${node.url}/readyz`)).status, 200);
    const head = await fetch(`${node.url}/health`, { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(await head.text(), '');
  });

  test('models need a key; ids may hold slashes, raw or encoded', async () => {
    assert.equal((await fetch(`${node.url}/v1/models`)).status, 401);
    for (const route of ['/v1/models', '/v1/models/']) {
      const list = await fetch(node.url + route, { headers: node.headers });
      assert.equal(list.status, 200);
      assert.equal((await list.json()).data[0].id, MODEL);
    }
    for (const id of [MODEL, encodeURIComponent(MODEL)]) {
      const one = await fetch(`${node.url}/v1/models/${id}`, { headers: node.headers });
      assert.equal(one.status, 200, id);
      assert.equal((await one.json()).id, MODEL);
    }
    const unknown = await fetch(`${node.url}/v1/models/a/b/c`, { headers: node.headers });
    assert.equal(unknown.status, 404);
    assert.equal((await unknown.json()).error.code, 'model_not_found');
  });

  test('x-api-key works where Authorization is absent', async () => {
    const ok = await fetch(`${node.url}/v1/models`, { headers: { 'x-api-key': OWNER_KEY } });
    assert.equal(ok.status, 200);
    const wins = await fetch(`${node.url}/v1/models`, {
      headers: { 'x-api-key': OWNER_KEY, authorization: 'Bearer sk-db-wrong' },
    });
    assert.equal(wins.status, 401);
  });

  test('an unauthenticated body is never read', async () => {
    const head = 'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n';
    const { text } = await rawExchange(node.port, head, { idleMs: 4000 });
    assert.match(text, /^HTTP\/1\.1 401 /);
  });

  test('every response carries a request id; a sane one of the caller is kept', async () => {
    for (const route of ['/health', '/nowhere', '/v1/models']) {
      assert.ok((await fetch(node.url + route)).headers.get('x-request-id'), route);
    }
    const kept = await fetch(`${node.url}/health`, { headers: { 'x-request-id': 'abc-123' } });
    assert.equal(kept.headers.get('x-request-id'), 'abc-123');
    const odd = await fetch(`${node.url}/health`, { headers: { 'x-request-id': 'a b' } });
    assert.notEqual(odd.headers.get('x-request-id'), 'a b');
  });

  test('unknown paths and wrong methods answer in the envelope', async () => {
    const missing = await fetch(`${node.url}/v1/nothing`);
    assert.equal(missing.status, 404);
    const { error } = await missing.json();
    assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'param', 'type']);
    assert.equal(error.type, 'invalid_request_error');
    const wrong = await fetch(`${node.url}/v1/chat/completions`);
    assert.equal(wrong.status, 405);
    assert.match(wrong.headers.get('allow'), /POST/);
    assert.equal((await wrong.json()).error.code, 'method_not_allowed');
  });

  test('CORS: preflight and simple', async () => {
    const origin = 'http://localhost:5173';
    const preflight = await fetch(`${node.url}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type,x-stainless-os' },
    });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers.get('access-control-allow-origin'), origin);
    assert.match(preflight.headers.get('access-control-allow-headers'), /x-stainless-os/i);
    assert.match(preflight.headers.get('access-control-allow-methods'), /POST/);
    const simple = await fetch(`${node.url}/health`, { headers: { origin } });
    assert.equal(simple.headers.get('access-control-allow-origin'), origin);
    assert.match(simple.headers.get('access-control-expose-headers'), /x-request-id/i);
    const foreign = await fetch(`${node.url}/health`, { headers: { origin: 'https://evil.example' } });
    assert.equal(foreign.headers.get('access-control-allow-origin'), null);
  });

  test('a stream: order of chunks, one DONE, nothing after it', async () => {
    const response = await node.chat({ ...body, stream: true });
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^text\/event-stream/);
    const events = await readEvents(response);
    assert.equal(events.at(-1), '[DONE]');
    const chunks = events.slice(0, -1).map((e) => JSON.parse(e));
    assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: '' });
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
    assert.deepEqual(chunks.at(-1).choices[0].delta, {});
    for (const chunk of chunks.slice(0, -1)) assert.equal(chunk.choices[0].finish_reason, null);
  });

  test('usage comes after the finish chunk, before DONE, and only on request', async () => {
    const events = await readEvents(await node.chat({ ...body, stream: true, stream_options: { include_usage: true } }));
    const usage = JSON.parse(events.at(-2));
    assert.deepEqual(usage.choices, []);
    assert.equal(usage.usage.total_tokens, usage.usage.prompt_tokens + usage.usage.completion_tokens);
    assert.equal(JSON.parse(events.at(-3)).choices[0].finish_reason, 'stop');
    for (const event of events.slice(0, -2)) assert.equal(JSON.parse(event).usage, undefined);
  });

  test('inference responses say who served them', async () => {
    const response = await node.chat({ ...body, max_tokens: 2 });
    const { id } = await response.json();
    assert.equal(id, `chatcmpl-${response.headers.get('x-inference-job-id')}`);
    for (const name of ['x-provider-id', 'x-provider-serial', 'x-provider-chip', 'x-provider-attested', 'x-provider-trust-level']) {
      assert.ok(response.headers.get(name), name);
    }
    const serial = response.headers.get('x-provider-serial');
    assert.equal((await node.chat({ ...body, max_tokens: 1, provider_serial: serial })).status, 200);
    const pinned = await node.chat({ ...body, provider_serial: 'somebody-else' });
    assert.equal(pinned.status, 503);
    assert.equal((await pinned.json()).error.code, 'pinned_provider_unavailable');
    assert.ok(pinned.headers.get('retry-after'));
  });

  test('oversized bodies are refused before they are read', async () => {
    const head = 'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n'
      + `Authorization: Bearer ${OWNER_KEY}\r\nContent-Type: application/json\r\nContent-Length: 20000000\r\n\r\n`;
    const { text } = await rawExchange(node.port, head, { idleMs: 4000 });
    assert.match(text, /^HTTP\/1\.1 413 /);
    assert.match(text, /payload_too_large/);
  });

  test('bad JSON gives 400 in the envelope, every file of the corpus', async (t) => {
    const folder = dataFolder('json-parsing');
    if (!folder) return t.skip('no corpus');
    const names = fs.readdirSync(path.join(folder, 'test_parsing')).sort();
    let refused = 0;
    for (const name of names) {
      const bytes = fs.readFileSync(path.join(folder, 'test_parsing', name));
      const response = await node.chat(bytes.toString('latin1'), {}).catch(() => null);
      const exact = await fetch(`${node.url}/v1/chat/completions`, { method: 'POST', headers: node.headers, body: bytes });
      assert.ok(response);
      assert.equal(exact.status, 400, name);
      const { error } = await exact.json();
      assert.equal(error.type, 'invalid_request_error', name);
      if (name.startsWith('n_')) {
        assert.equal(error.code, 'invalid_json', name);
        refused += 1;
      }
    }
    assert.equal(refused, 188);
  });

  test('the HTTP corpus: bad requests refused and closed, good ones served, nothing smuggled', async (t) => {
    const folder = dataFolder('http1-requests');
    if (!folder) return t.skip('no corpus');
    const parsed = JSON.parse(fs.readFileSync(path.join(folder, 'cases.json'), 'utf8'));
    const cases = parsed.cases ?? parsed;
    const wrong = [];
    const check = async (c) => {
      const { text, closed } = await rawExchange(node.port, Buffer.from(c.request, 'latin1'), { idleMs: 1500 });
      const statuses = [...text.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map((m) => Number(m[1])).filter((s) => s >= 200);
      const parseErrors = [400, 411, 413, 414, 417, 431, 501, 505];
      let ok;
      if (c.verdict === 'reject') ok = closed && (statuses.length === 0 || (statuses.length === 1 && parseErrors.includes(statuses[0])));
      else if (c.verdict === 'accept') {
        // An interim 100 (Continue) counts among max_responses and may be left out.
        const finals = /^Expect:/mi.test(c.request) ? c.max_responses - 1 : c.max_responses;
        ok = statuses.length === finals && !parseErrors.includes(statuses[0]);
      }
      else ok = statuses.length <= c.max_responses;
      if (/smuggled/.test(text)) ok = false;
      if (!ok) wrong.push({ id: c.id ?? c.name, verdict: c.verdict, statuses, closed });
    };
    for (let i = 0; i < cases.length; i += 16) await Promise.all(cases.slice(i, i + 16).map(check));
    assert.deepEqual(wrong, []);
    assert.equal((await fetch(`${node.url}/health`)).status, 200);
    assert.doesNotMatch(node.log.stderr, /smuggled/);
  });
});
