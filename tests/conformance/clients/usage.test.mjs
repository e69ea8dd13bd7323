// The same conversation costs the same on every dialect.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startNode } from '../../integration/harness.mjs';
import { MODEL, QUESTION, WEATHER } from './support.mjs';

const SYSTEM = 'You answer in one short sentence.';
const TURNS = [
  { role: 'user', content: 'Hello there.' }, { role: 'assistant', content: 'Hello. How can I help?' }, { role: 'user', content: QUESTION },
];

// Per dialect: the request for {system, turns, tools, bound} and the numbers of its answer.
const DIALECTS = {
  chat: {
    path: '/v1/chat/completions',
    body: ({ system, turns, tools, bound }) => ({
      messages: [...(system ? [{ role: 'system', content: system }] : []), ...turns], max_tokens: bound,
      ...(tools && { tools: tools.map((t) => ({ type: 'function', function: { name: t.name, description: t.description, parameters: t.schema } })), tool_choice: 'none' }),
    }),
    numbers: ({ usage }) => ({
      input: usage.prompt_tokens, output: usage.completion_tokens, cached: usage.prompt_tokens_details.cached_tokens,
    }),
    text: (answer) => answer.choices[0].message.content,
    stream: (events) => events.filter((e) => e.usage).at(-1),
    more: { stream_options: { include_usage: true } },
  },
  responses: {
    path: '/v1/responses',
    body: ({ system, turns, tools, bound }) => ({
      input: turns, ...(system && { instructions: system }), max_output_tokens: bound,
      ...(tools && { tools: tools.map((t) => ({ type: 'function', name: t.name, description: t.description, parameters: t.schema })), tool_choice: 'none' }),
    }),
    numbers: ({ usage }) => ({
      input: usage.input_tokens, output: usage.output_tokens, cached: usage.input_tokens_details.cached_tokens,
    }),
    text: (answer) => answer.output.find((i) => i.type === 'message').content[0].text,
    stream: (events) => events.at(-1).response,
    more: {},
  },
  messages: {
    path: '/v1/messages',
    body: ({ system, turns, tools, bound }) => ({
      messages: turns, ...(system && { system }), max_tokens: bound,
      ...(tools && { tools: tools.map((t) => ({ name: t.name, description: t.description, input_schema: t.schema })), tool_choice: { type: 'none' } }),
    }),
    // Here the prompt is told in parts: what was read anew and what the cache had.
    numbers: ({ usage }) => ({
      input: usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
      output: usage.output_tokens, cached: usage.cache_read_input_tokens,
    }),
    text: (answer) => answer.content[0].text,
    stream: (events) => ({
      usage: { ...events.find((e) => e.type === 'message_start').message.usage, ...events.findLast((e) => e.type === 'message_delta').usage },
    }),
    more: {},
  },
};

const CONVERSATIONS = {
  'one turn': { turns: TURNS.slice(2), bound: 100 },
  'a system text and several turns': { system: SYSTEM, turns: TURNS, bound: 100 },
  tools: { turns: TURNS.slice(2), tools: [WEATHER], bound: 20 },
  'a bound': { turns: TURNS.slice(2), bound: 3 },
  'a long text': { turns: [{ role: 'user', content: 'many words here '.repeat(60) }], bound: 5 },
};

describe('usage', () => {
  for (const [name, conversation] of Object.entries(CONVERSATIONS)) {
    test(`${name}: the same numbers on every dialect`, async (t) => {
      const seen = {};
      for (const [dialect, { path, body, numbers, text, stream, more }] of Object.entries(DIALECTS)) {
        const node = await startNode(t); // of its own: what an earlier request left in the cache must not show
        const ask = async (extra) => {
          const response = await fetch(node.url + path, {
            method: 'POST', headers: node.headers,
            body: JSON.stringify({ model: MODEL, temperature: 0, ...body(conversation), ...extra }),
          });
          assert.equal(response.status, 200, `${dialect}: ${await response.clone().text()}`);
          return response;
        };
        const whole = await (await ask({})).json();
        const again = await (await ask({})).json();
        const events = (await (await ask({ stream: true, ...more })).text()).split('\n')
          .filter((line) => line.startsWith('data: {')).map((line) => JSON.parse(line.slice(6)));
        seen[dialect] = {
          text: text(whole), first: numbers(whole), second: numbers(again), streamed: numbers(stream(events)),
        };
        assert.equal(text(again), text(whole));
        await node.stop();
      }
      assert.deepEqual(seen.responses, seen.chat);
      assert.deepEqual(seen.messages, seen.chat);
      assert.equal(seen.chat.first.cached, 0);
      assert.equal(seen.chat.second.input, seen.chat.first.input);
      assert.equal(seen.chat.second.output, seen.chat.first.output);
    });
  }

  test('counting beforehand gives the same number', async (t) => {
    const node = await startNode(t);
    const post = async (path, body) => (await fetch(node.url + path, { method: 'POST', headers: node.headers, body: JSON.stringify(body) })).json();
    for (const conversation of Object.values(CONVERSATIONS)) {
      const chat = DIALECTS.chat.numbers(await post(DIALECTS.chat.path, { model: MODEL, ...DIALECTS.chat.body(conversation) }));
      const { max_output_tokens: _, ...responses } = DIALECTS.responses.body(conversation);
      const { max_tokens: __, ...messages } = DIALECTS.messages.body(conversation);
      assert.equal((await post('/v1/responses/input_tokens', { model: MODEL, ...responses })).input_tokens, chat.input);
      assert.equal((await post('/v1/messages/count_tokens', { model: MODEL, ...messages })).input_tokens, chat.input);
    }
  });
});
