// The Responses API of the real binary: what recorded clients send, both published descriptions,
// stored conversations.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { dataFolder, OWNER_KEY, startNode, suiteContext } from './harness.mjs';
import { violations } from './schema.mjs';

const MODEL = 'darkbloom/nano';
const question = { model: MODEL, input: 'What is 3 + 4?', temperature: 0, max_output_tokens: 40 };

const load = (folder, file) => {
  const at = dataFolder(folder);
  return at && JSON.parse(fs.readFileSync(path.join(at, file), 'utf8'));
};
const openai = load('openai-openapi', 'openapi-subset.json');
const open = load('open-responses', 'openapi-2026-04-24.json');

function check(api, name, value) {
  if (!api) return;
  assert.deepEqual(violations(api, { $ref: `#/components/schemas/${name}` }, value), [], JSON.stringify(value));
}

function checkResponse(response) {
  check(openai, 'Response', response);
  check(open, 'ResponseResource', response);
}

/** The events of a stream, each {event, data}. */
async function readNamed(response) {
  const text = await response.text();
  assert.ok(text.endsWith('\n\n'));
  // Comments (keep-alives, the signature) are no events.
  return text.trimEnd().split('\n\n').filter((block) => !block.startsWith(':')).map((block) => {
    const [event, data, ...rest] = block.split('\n');
    assert.deepEqual(rest, []);
    assert.match(event, /^event: /);
    return { event: event.slice(7), data: JSON.parse(data.replace(/^data: /, '')) };
  });
}

describe('responses', () => {
  const suite = suiteContext();
  let node;
  after(() => suite.done());
  before(async () => { node = await startNode(suite); });
  const at = (route, init = {}) => fetch(node.url + route, { headers: node.headers, ...init });
  const post = (body, route = '/v1/responses') => at(route, { method: 'POST', body: JSON.stringify(body) });
  const answered = async (body) => {
    const response = await post(body);
    const text = await response.text();
    assert.equal(response.status, 200, text);
    return JSON.parse(text);
  };

  test('a whole answer has every member that either description requires', async () => {
    for (const extra of [{}, { max_output_tokens: 1 }, { reasoning: { effort: 'high', summary: 'auto' } },
      { reasoning: { effort: 'high' } }, { instructions: 'Be brief.', metadata: { a: 'b' }, user: 'u' },
      { include: ['message.output_text.logprobs'], top_logprobs: 3 }]) {
      const response = await answered({ ...question, ...extra });
      checkResponse(response);
      assert.equal(response.model, MODEL);
      assert.equal(response.store, false);
      assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
      assert.equal(response.status === 'incomplete', response.incomplete_details !== null);
    }
  });

  test('the validator can tell', async () => {
    if (!openai || !open) return;
    const response = await answered(question);
    for (const [api, name, change] of [
      [open, 'ResponseResource', (r) => { delete r.completed_at; }],
      [open, 'ResponseResource', (r) => { r.service_tier = null; }],
      [openai, 'Response', (r) => { delete r.output[0].content[0].logprobs; }],
      [openai, 'Response', (r) => { r.usage = null; }],
    ]) {
      const copy = structuredClone(response);
      change(copy);
      assert.notEqual(violations(api, { $ref: `#/components/schemas/${name}` }, copy).length, 0, `${change}`);
    }
  });

  test('a stream is numbered, in order, and ends in what a whole answer is', async () => {
    for (const reasoning of [undefined, { effort: 'high', summary: 'auto' }, { effort: 'high' }]) {
      const body = { ...question, reasoning, max_output_tokens: 200 };
      const whole = await answered(body);
      const response = await post({ ...body, stream: true });
      assert.match(response.headers.get('content-type'), /^text\/event-stream/);
      const events = await readNamed(response);
      events.forEach(({ event, data }, i) => {
        assert.equal(data.type, event);
        assert.equal(data.sequence_number, i);
        check(openai, 'ResponseStreamEvent', data);
      });
      const types = events.map((e) => e.event);
      assert.deepEqual(types.slice(0, 3), ['response.created', 'response.in_progress', 'response.output_item.added']);
      assert.equal(types.at(-1), `response.${whole.status}`);
      const final = events.at(-1).data.response;
      checkResponse(final);
      const stripped = (r) => r.output.map(({ id, ...item }) => item);
      assert.deepEqual(stripped(final), stripped(whole));
      assert.deepEqual({ ...final.usage, input_tokens_details: 0 }, { ...whole.usage, input_tokens_details: 0 });
      const said = events.filter((e) => e.event === 'response.output_text.delta').map((e) => e.data.delta).join('');
      assert.equal(said, final.output.find((i) => i.type === 'message')?.content[0].text ?? '');
      if (reasoning) assert.equal(final.output[0].type, 'reasoning');
      if (reasoning?.summary) assert.ok(types.includes('response.reasoning_summary_text.delta'));
    }
  });

  test('the same conversation costs the same on chat', async () => {
    const history = [
      { role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hello.' },
      { role: 'assistant', content: 'Hi.' }, { role: 'user', content: 'What is Darkbloom?' },
    ];
    const chat = await (await node.chat({ model: MODEL, messages: history, temperature: 0, max_tokens: 30 })).json();
    const response = await answered({ model: MODEL, input: history, temperature: 0, max_output_tokens: 30 });
    assert.equal(response.usage.input_tokens, chat.usage.prompt_tokens);
    assert.equal(response.usage.output_tokens, chat.usage.completion_tokens);
    assert.equal(response.output.at(-1).content[0].text, chat.choices[0].message.content);
    const counted = await post({ model: MODEL, input: history }, '/v1/responses/input_tokens');
    assert.deepEqual(await counted.json(), { object: 'response.input_tokens', input_tokens: chat.usage.prompt_tokens });
  });

  test('what is stored can be read, listed, continued and forgotten', async () => {
    const kept = await answered({ ...question, store: true, metadata: { n: '1' } });
    checkResponse(kept);
    assert.deepEqual(await (await at(`/v1/responses/${kept.id}`)).json(), kept);
    const items = await (await at(`/v1/responses/${kept.id}/input_items`)).json();
    check(openai, 'ResponseItemList', items);
    assert.equal(items.data[0].content[0].text, question.input);
    const next = await answered({ ...question, input: 'And 2 more?', previous_response_id: kept.id });
    assert.equal(next.previous_response_id, kept.id);
    assert.ok(next.usage.input_tokens > kept.usage.input_tokens + 4);
    const whole = await answered({ ...question, input: [
      { role: 'user', content: question.input }, ...kept.output, { role: 'user', content: 'And 2 more?' }] });
    assert.equal(whole.usage.input_tokens, next.usage.input_tokens, 'the same as sending it all');
    const referring = await answered({ ...question, input: [
      { role: 'user', content: question.input }, ...kept.output.map(({ id }) => ({ type: 'item_reference', id })),
      { role: 'user', content: 'And 2 more?' }] });
    assert.equal(referring.usage.input_tokens, next.usage.input_tokens);
    const gone = await (await at(`/v1/responses/${kept.id}`, { method: 'DELETE' })).json();
    assert.deepEqual(gone, { id: kept.id, object: 'response', deleted: true });
    for (const [route, init] of [[kept.id], [kept.id, { method: 'DELETE' }], [`${kept.id}/input_items`],
      [`${kept.id}/cancel`, { method: 'POST' }], ['compact', { method: 'POST', body: '{}' }]]) {
      const missing = await at(`/v1/responses/${route}`, init);
      assert.equal(missing.status, 404, route);
      check(openai, 'ErrorResponse', await missing.json());
    }
  });

  test('errors name the member', async () => {
    for (const [body, param] of [
      [{ input: 'x' }, 'model'], [{ model: MODEL }, 'input'], [{ ...question, background: true }, 'background'],
      [{ ...question, input: [{ type: 'file_search_call' }] }, 'input[0].type'],
      [{ ...question, previous_response_id: 'resp_1' }, 'previous_response_id'],
      [{ ...question, input: [{ type: 'item_reference', id: 'msg_1_0' }] }, 'input[0].id'],
    ]) {
      const response = await post(body);
      const answer = await response.json();
      assert.equal(response.status, 400, JSON.stringify(answer));
      assert.equal(answer.error.param, param);
      check(openai, 'ErrorResponse', answer);
    }
    const unknown = await post({ ...question, model: 'no/such', stream: true });
    assert.equal(unknown.status, 404);
    assert.equal((await unknown.json()).error.code, 'model_not_found');
  });

  test('nothing that recorded clients send is refused', async (t) => {
    const folder = dataFolder('client-requests');
    if (!folder) return t.skip('no recordings');
    const refill = (value) => {
      if (typeof value === 'string') return value.replace(/<text:(\d+)>/g, (_, n) => 'word '.repeat(n / 5));
      if (Array.isArray(value)) return value.map(refill);
      if (value === null || typeof value !== 'object') return value;
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, refill(v)]));
    };
    let asked = 0;
    for (const file of ['sdk-matrix.json', 'codex-0.169.0.json']) {
      for (const request of JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8'))) {
        if (request.target !== '/v1/responses') continue;
        const headers = { ...request.headers, authorization: `Bearer ${OWNER_KEY}` };
        for (const name of ['connection', 'content-length', 'accept-encoding', 'sec-fetch-mode']) delete headers[name];
        const body = { ...refill(request.body), model: MODEL };
        if (body.text?.format?.type !== 'json_schema') body.max_output_tokens = 8;
        const response = await fetch(node.url + request.target, { method: 'POST', headers, body: JSON.stringify(body) });
        assert.equal(response.status, 200, JSON.stringify(request.body));
        if (body.stream) {
          const events = await readNamed(response);
          assert.match(events.at(-1).event, /^response\.(completed|incomplete)$/);
        } else {
          check(openai, 'Response', await response.json());
        }
        asked += 1;
      }
    }
    assert.ok(asked >= 13, `${asked}`);
  });
});
