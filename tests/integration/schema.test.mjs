// Every body and every stream event against OpenAI's own API description; what official clients send.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { dataFolder, OWNER_KEY, readEvents, startNode, suiteContext } from './harness.mjs';
import { violations } from './schema.mjs';

const MODEL = 'darkbloom/nano';
const body = { model: MODEL, messages: [{ role: 'user', content: 'What is 3 + 4?' }], temperature: 0, max_tokens: 40 };

const folder = dataFolder('openai-openapi');
const api = folder && JSON.parse(fs.readFileSync(path.join(folder, 'openapi-subset.json'), 'utf8'));
const check = (name, value) =>
  assert.deepEqual(violations(api, { $ref: `#/components/schemas/${name}` }, value), [], JSON.stringify(value));

describe('schemas', { skip: folder ? false : 'no API description' }, () => {
  const suite = suiteContext();
  let node;
  after(() => suite.done());
  before(async () => { node = await startNode(suite); });

  test('the validator can tell', async () => {
    const answer = await (await node.chat(body)).json();
    const wrong = (change) => {
      const copy = structuredClone(answer);
      change(copy);
      assert.notEqual(violations(api, { $ref: '#/components/schemas/CreateChatCompletionResponse' }, copy).length, 0);
    };
    wrong((a) => { delete a.created; });
    wrong((a) => { a.choices[0].finish_reason = 'tired'; });
    wrong((a) => { delete a.choices[0].message.refusal; });
    wrong((a) => { a.usage.total_tokens = '7'; });
  });

  test('models', async () => {
    const list = await (await fetch(`${node.url}/v1/models`, { headers: node.headers })).json();
    check('ListModelsResponse', list);
    check('Model', await (await fetch(`${node.url}/v1/models/${MODEL}`, { headers: node.headers })).json());
  });

  test('completions, whole and streamed', async () => {
    for (const extra of [{}, { max_tokens: 1 }, { reasoning_effort: 'high' }, { reasoning_format: 'hidden' }]) {
      check('CreateChatCompletionResponse', await (await node.chat({ ...body, ...extra })).json());
      for (const include_usage of [false, true]) {
        const response = await node.chat({ ...body, ...extra, stream: true, stream_options: { include_usage } });
        const events = await readEvents(response);
        assert.equal(events.pop(), '[DONE]');
        assert.ok(events.length >= 2);
        for (const event of events) check('CreateChatCompletionStreamResponse', JSON.parse(event));
      }
    }
  });

  test('errors of every kind', async () => {
    const at = (route, init = {}) => fetch(node.url + route, { headers: node.headers, ...init });
    const answers = [
      [401, await fetch(`${node.url}/v1/models`)],
      [404, await at('/v1/nothing')],
      [404, await at('/v1/models/no/such')],
      [405, await at('/v1/models', { method: 'DELETE' })],
      [400, await at('/v1/models/%FF')],
      [400, await node.chat('{')],
      [400, await node.chat('[]')],
      [400, await node.chat({ model: MODEL })],
      [400, await node.chat({ ...body, temperature: 3 })],
      [400, await node.chat({ ...body, messages: [{ role: 'user', content: 'word '.repeat(200000) }] })],
      [404, await node.chat({ ...body, model: 'no/such' })],
      [503, await node.chat({ ...body, provider_serial: 'somebody' })],
    ];
    for (const [status, response] of answers) {
      assert.equal(response.status, status);
      assert.match(response.headers.get('content-type'), /^application\/json/);
      assert.ok(response.headers.get('x-request-id'));
      if (status === 503) assert.match(response.headers.get('retry-after'), /^\d+$/);
      check('ErrorResponse', await response.json());
    }
  });

  test('a full queue is 503 with Retry-After, and everybody else is served', async (t) => {
    const small = await startNode(t, { args: ['--max-sequences', '1', '--max-queued', '2'] });
    const responses = await Promise.all(Array.from({ length: 40 }, () => small.chat({ ...body, max_tokens: 64 })));
    const counts = {};
    for (const response of responses) {
      counts[response.status] = (counts[response.status] ?? 0) + 1;
      const answer = await response.json();
      if (response.status === 200) continue;
      assert.equal(response.status, 503);
      assert.match(response.headers.get('retry-after'), /^\d+$/);
      assert.equal(answer.error.code, 'queue_full');
      check('ErrorResponse', answer);
    }
    assert.ok(counts[200] >= 3 && counts[503] >= 1, JSON.stringify(counts));
  });
});

test('chat requests of official clients are answered', async (t) => {
  const recorded = dataFolder('client-requests');
  if (!recorded) return t.skip('no recordings');
  const node = await startNode(t);
  let asked = 0;
  for (const request of JSON.parse(fs.readFileSync(path.join(recorded, 'sdk-matrix.json'), 'utf8'))) {
    if (request.target !== '/v1/chat/completions') continue;
    const headers = { ...request.headers, authorization: `Bearer ${OWNER_KEY}` };
    for (const name of ['connection', 'content-length', 'accept-encoding', 'sec-fetch-mode']) delete headers[name];
    const response = await fetch(node.url + request.target, {
      method: request.method, headers, body: JSON.stringify({ ...request.body, model: MODEL, max_tokens: 8 }),
    });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    if (request.body.stream) assert.match(text, /data: \[DONE\]\n\n$/);
    asked += 1;
  }
  assert.ok(asked >= 14, `${asked}`);
});
