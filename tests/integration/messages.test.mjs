// Messages against the node's embedded default model, on the wire: what the official clients hide.
// (tests/conformance/clients runs those.)
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { OWNER_KEY, startNode, suiteContext } from './harness.mjs';

const MODEL = 'darkbloom/nano';
const question = { role: 'user', content: 'What is Darkbloom?' };
const weather = {
  name: 'get_weather', description: 'The weather of a city.',
  input_schema: { type: 'object', properties: { city: { type: 'string', maxLength: 8 } }, required: ['city'], additionalProperties: false },
};
const thinking = { type: 'enabled', budget_tokens: 1024 };
const textOf = (message) => message.content.filter((b) => b.type === 'text').map((b) => b.text).join('');
const prompt = ({ usage }) => usage.input_tokens + usage.cache_read_input_tokens;

/** The events of a stream, in order; comments are left out. */
const eventsOf = (text) => text.split('\n\n').filter((block) => block.startsWith('event: ')).map((block) => {
  const [event, data] = block.split('\n');
  const parsed = JSON.parse(data.slice('data: '.length));
  assert.equal(event, `event: ${parsed.type}`);
  return parsed;
});

/** Puts a message together from its events, as a client does; checks their order. */
function assemble(events) {
  const [start, ping, ...rest] = events;
  assert.equal(start.type, 'message_start');
  assert.deepEqual(ping, { type: 'ping' });
  const { message } = start;
  let open = null;
  let input = '';
  let ended = false;
  for (const e of rest) {
    assert.ok(!ended, 'something came after message_stop');
    if (e.type === 'content_block_start') {
      assert.equal(open, null);
      assert.equal(e.index, message.content.length);
      open = e.index;
      input = '';
      message.content.push(e.content_block);
    } else if (e.type === 'content_block_delta') {
      assert.equal(e.index, open);
      const block = message.content[open];
      if (e.delta.type === 'text_delta') block.text += e.delta.text;
      if (e.delta.type === 'thinking_delta') block.thinking += e.delta.thinking;
      if (e.delta.type === 'signature_delta') block.signature += e.delta.signature;
      if (e.delta.type === 'input_json_delta') input += e.delta.partial_json;
    } else if (e.type === 'content_block_stop') {
      assert.equal(e.index, open);
      if (input) message.content[open].input = JSON.parse(input);
      open = null;
    } else if (e.type === 'message_delta') {
      assert.equal(open, null);
      Object.assign(message, e.delta);
      Object.assign(message.usage, e.usage);
    } else if (e.type === 'message_stop') {
      ended = true;
    } else {
      assert.equal(e.type, 'ping');
    }
  }
  assert.ok(ended);
  return message;
}

describe('messages', () => {
  const suite = suiteContext();
  let node;
  after(() => suite.done());
  before(async () => { node = await startNode(suite); });

  const post = (path, body, headers = { 'x-api-key': OWNER_KEY, 'anthropic-version': '2023-06-01' }) =>
    fetch(node.url + path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });
  const whole = (more) => ({ model: MODEL, max_tokens: 60, temperature: 0, messages: [question], ...more });

  async function ask(more) {
    const response = await post('/v1/messages', whole(more));
    const body = await response.json();
    assert.equal(response.status, 200, JSON.stringify(body));
    return body;
  }

  async function stream(more) {
    const response = await post('/v1/messages?beta=true', whole({ stream: true, ...more }));
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^text\/event-stream/);
    return assemble(eventsOf(await response.text()));
  }

  /** What two answers to the same request may differ in. */
  const comparable = ({ id, usage, content, ...rest }) => ({
    ...rest, output: usage.output_tokens,
    content: content.map((b) => ({ ...b, id: undefined, signature: undefined })),
  });

  for (const [name, more] of Object.entries({
    'text': {},
    'thinking': { messages: [{ role: 'user', content: 'What is 3 + 4?' }], thinking, max_tokens: 400 },
    'a call': { tools: [weather], tool_choice: { type: 'any', disable_parallel_tool_use: true }, max_tokens: 200 },
    'a bound': { max_tokens: 3 },
    'a stop': { stop_sequences: ['inference'] },
  })) {
    test(`${name}: a stream and a whole message say the same`, async () => {
      const a = await ask(more);
      const b = await stream(more);
      assert.match(a.id, /^msg_[0-9a-f]{32}$/);
      assert.notEqual(a.id, b.id);
      assert.deepEqual(comparable(b), comparable(a));
      assert.equal(prompt(b), prompt(a));
    });
  }

  test('a stop sequence is named and left out', async () => {
    const answer = await ask({ stop_sequences: ['inference'] });
    assert.equal(answer.stop_reason, 'stop_sequence');
    assert.equal(answer.stop_sequence, 'inference');
    assert.doesNotMatch(textOf(answer), /inference/);
  });

  test('what the cache gave and what it did not make up the prompt', async () => {
    const messages = [{ role: 'user', content: `${'Many words come here. '.repeat(60)} What is Darkbloom?` }];
    const counted = (await (await post('/v1/messages/count_tokens', { model: MODEL, messages })).json()).input_tokens;
    const first = await ask({ messages, max_tokens: 1 });
    const second = await ask({ messages, max_tokens: 1 });
    assert.equal(first.usage.cache_read_input_tokens, 0);
    assert.ok(second.usage.cache_read_input_tokens > 0);
    assert.equal(prompt(first), counted);
    assert.equal(prompt(second), counted);
    const chat = await (await node.chat({ model: MODEL, messages, max_tokens: 1 })).json();
    assert.equal(chat.usage.prompt_tokens, counted);
  });

  test('the token count knows systems, tools and calls', async () => {
    const body = {
      model: MODEL, system: [{ type: 'text', text: 'Be brief.' }], tools: [weather],
      messages: [question, { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'get_weather', input: { city: 'Oslo' } }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'clear' }] }],
    };
    const counts = [];
    for (const path of ['/v1/messages/count_tokens', '/v1/v1/messages/count_tokens?beta=true']) {
      const response = await post(path, body);
      assert.equal(response.status, 200);
      counts.push((await response.json()).input_tokens);
    }
    assert.equal(counts[0], counts[1]);
    assert.equal(counts[0], prompt(await ask({ ...body, max_tokens: 1 })));
    const { system, tools, ...bare } = body;
    const less = (await (await post('/v1/messages/count_tokens', bare)).json()).input_tokens;
    assert.ok(less < counts[0]);
  });

  test('a last assistant turn is continued', async () => {
    const full = textOf(await ask());
    const begun = full.slice(0, full.indexOf(' ', 12));
    const rest = await ask({ messages: [question, { role: 'assistant', content: begun }] });
    assert.equal(begun + textOf(rest), full);
  });

  test('system messages on the way are taken', async () => {
    const answer = await ask({
      system: 'Be kind.',
      messages: [question, { role: 'system', content: [{ type: 'text', text: 'Be brief.' }] },
        { role: 'assistant', content: 'A node.' }, question, { role: 'system', content: 'Now.' }],
    });
    assert.equal(answer.role, 'assistant');
  });

  test('errors in their envelope, with the id in both headers', async () => {
    const headers = { 'x-api-key': OWNER_KEY };
    const cases = [
      ['/v1/messages', whole(), {}, 401, 'authentication_error', /./],
      ['/v1/messages', whole({ model: 'nobody/knows' }), headers, 404, 'not_found_error', /nobody\/knows/],
      ['/v1/messages/count_tokens', whole({ model: 'nobody/knows' }), headers, 404, 'not_found_error', /nobody\/knows/],
      ['/v1/messages', whole({ max_tokens: undefined }), headers, 400, 'invalid_request_error', /^max_tokens: Field required$/],
      ['/v1/messages', whole({ messages: [{ role: 'user', content: 'very long '.repeat(70000) }] }), headers, 400,
        'invalid_request_error', /^prompt is too long: /],
      ['/v1/messages/elsewhere', whole(), headers, 404, 'not_found_error', /./],
    ];
    for (const [path, body, credentials, status, type, message] of cases) {
      const response = await post(path, body, credentials);
      const answer = await response.json();
      assert.equal(response.status, status, JSON.stringify(answer));
      assert.equal(answer.type, 'error');
      assert.equal(answer.error.type, type);
      assert.match(answer.error.message, message);
      assert.equal(answer.request_id, response.headers.get('request-id'));
      assert.equal(answer.request_id, response.headers.get('x-request-id'));
    }
  });

  test('models have what both worlds require', async () => {
    const list = await (await fetch(`${node.url}/v1/models`, { headers: { 'x-api-key': OWNER_KEY } })).json();
    assert.equal(list.first_id, MODEL);
    assert.equal(list.last_id, MODEL);
    assert.equal(list.has_more, false);
    const [model] = list.data;
    assert.equal(model.type, 'model');
    assert.equal(model.lifecycle, 'active');
    assert.equal(model.max_input_tokens, model.context_length);
    for (const member of ['capabilities', 'line', 'deprecated_at', 'retires_at']) assert.equal(model[member], null);
    assert.ok(!Number.isNaN(Date.parse(model.created_at)));
  });

  test('the root answers who only asks whether somebody is there', async () => {
    assert.equal((await fetch(node.url, { method: 'HEAD' })).status, 200);
  });
});
