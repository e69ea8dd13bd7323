// The validators can tell: valid exchanges pass, and each way of spoiling one is seen.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseEvents, problems } from './contract.mjs';
import { haveSchemas } from './schemas.mjs';

const headers = (type) => new Headers({ 'content-type': type, 'x-request-id': 'r', 'request-id': 'r' });
const stream = (events) => events.map(([name, data]) =>
  `${name ? `event: ${name}\n` : ''}data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`).join('');
const streamed = (path, request, events) => problems({
  method: 'POST', path, request, status: 200, headers: headers('text/event-stream'), text: stream(events), complete: true,
});
/** A valid list of events, then the same with one change made to it. */
const spoilt = (path, request, make, change) => {
  const events = make();
  change(events);
  return streamed(path, request, events);
};

const chunk = (delta, finish_reason = null, more = {}) => [null, {
  id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm', system_fingerprint: 'fp_0',
  choices: [{ index: 0, delta, logprobs: null, finish_reason }], ...more,
}];
const piece = (call) => chunk({ tool_calls: [call] });
const chat = () => [
  chunk({ role: 'assistant', content: '' }), chunk({ content: 'Hi.' }),
  piece({ index: 0, id: 'call_1', type: 'function', function: { name: 'f', arguments: '' } }),
  piece({ index: 0, function: { arguments: '{"a":1}' } }), chunk({}, 'tool_calls'), [null, '[DONE]'],
];

const use = { cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
const named = (type, more = {}) => [type, { type, ...more }];
const messages = () => [
  named('message_start', {
    message: {
      id: 'msg_1', type: 'message', role: 'assistant', model: 'm', content: [], stop_reason: null, stop_sequence: null,
      usage: { input_tokens: 3, output_tokens: 1, ...use },
    },
  }),
  named('ping'),
  named('content_block_start', { index: 0, content_block: { type: 'thinking', thinking: '', signature: '' } }),
  named('content_block_delta', { index: 0, delta: { type: 'thinking_delta', thinking: 'Hm.' } }),
  named('content_block_delta', { index: 0, delta: { type: 'signature_delta', signature: 's' } }),
  named('content_block_stop', { index: 0 }),
  named('content_block_start', { index: 1, content_block: { type: 'tool_use', id: 'toolu_1', name: 'f', input: {} } }),
  named('content_block_delta', { index: 1, delta: { type: 'input_json_delta', partial_json: '{"a":1}' } }),
  named('content_block_stop', { index: 1 }),
  named('message_delta', { delta: { stop_reason: 'tool_use', stop_sequence: null }, usage: { input_tokens: 3, output_tokens: 5 } }),
  named('message_stop'),
];

const usage = (input, output) => ({
  input_tokens: input, input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 }, output_tokens: output,
  output_tokens_details: { reasoning_tokens: 0 }, total_tokens: input + output,
});
const response = (status, output, numbers) => ({
  id: 'resp_1', object: 'response', created_at: 1, completed_at: status === 'completed' ? 2 : null, status, background: false, error: null,
  incomplete_details: null, instructions: null, max_output_tokens: null, max_tool_calls: null, model: 'm', output,
  parallel_tool_calls: true, previous_response_id: null, reasoning: { effort: null, summary: null }, store: false,
  temperature: 1, text: { format: { type: 'text' } }, tool_choice: 'auto', tools: [], top_p: 1, top_logprobs: 0,
  presence_penalty: 0, frequency_penalty: 0, truncation: 'disabled', usage: numbers, metadata: {}, service_tier: 'default',
  safety_identifier: null, prompt_cache_key: null,
});
const responses = () => {
  const part = (text) => ({ type: 'output_text', text, annotations: [], logprobs: [] });
  const item = (status, content) => ({ type: 'message', id: 'msg_1', role: 'assistant', status, content });
  const at = { item_id: 'msg_1', output_index: 0, content_index: 0 };
  const whole = item('completed', [part('Hi.')]);
  return [
    named('response.created', { response: response('in_progress', [], usage(0, 0)) }),
    named('response.in_progress', { response: response('in_progress', [], usage(0, 0)) }),
    named('response.output_item.added', { output_index: 0, item: item('in_progress', []) }),
    named('response.content_part.added', { ...at, part: part('') }),
    named('response.output_text.delta', { ...at, delta: 'Hi.', logprobs: [] }),
    named('response.output_text.done', { ...at, text: 'Hi.', logprobs: [] }),
    named('response.content_part.done', { ...at, part: part('Hi.') }),
    named('response.output_item.done', { output_index: 0, item: whole }),
    named('response.completed', { response: response('completed', [whole], usage(3, 2)) }),
  ].map(([name, data], i) => [name, { ...data, sequence_number: i }]);
};

const CHANGES = {
  '/v1/chat/completions': [chat, {
    'no end': (e) => e.pop(),
    'no finish': (e) => e.splice(4, 1),
    'two finishes': (e) => e.splice(4, 0, e[4]),
    'no role': (e) => e.shift(),
    'two roles': (e) => e.splice(1, 0, e[0]),
    'another id': (e) => { e[1][1].id = 'chatcmpl-2'; },
    'usage where it was not asked for': (e) => { e[1][1].usage = null; },
    'a chunk without choices': (e) => { e[1][1].choices = []; },
    'arguments that are no JSON': (e) => { e[3][1].choices[0].delta.tool_calls[0].function.arguments = '{"a":'; },
    'a call index that is skipped': (e) => { for (const i of [2, 3]) e[i][1].choices[0].delta.tool_calls[0].index = 1; },
    'calls that stop': (e) => { e[4][1].choices[0].finish_reason = 'stop'; },
    'thinking in the text': (e) => { e[1][1].choices[0].delta.content = '<think>'; },
    'an error': (e) => { e[3] = [null, { error: { message: 'm', type: 'provider_error', param: null, code: null } }]; },
    'something after the end': (e) => e.push(e[1]),
  }],
  '/v1/messages': [messages, {
    'no stop': (e) => e.pop(),
    'no start': (e) => e.shift(),
    'a name that is not the type': (e) => { e[1][0] = 'pong'; },
    'an open block': (e) => e.splice(8, 1),
    'no signature': (e) => e.splice(4, 1),
    'a delta after the signature': (e) => e.splice(5, 0, e[3]),
    'a skipped index': (e) => { for (const i of [6, 7, 8]) e[i][1].index = 2; },
    'input that is no JSON': (e) => { e[7][1].delta.partial_json = '{"a"'; },
    'a reason that is not so': (e) => { e[9][1].delta.stop_reason = 'end_turn'; },
    'a text delta in a call': (e) => { e[7][1].delta = { type: 'text_delta', text: 'x' }; },
    'no usage': (e) => { delete e[9][1].usage; },
    'an error': (e) => e.splice(7, 4, named('error', { error: { type: 'api_error', message: 'm' } })),
  }],
  '/v1/responses': [responses, {
    'no end': (e) => e.pop(),
    'a number that is skipped': (e) => { e[4][1].sequence_number = 9; },
    'a whole that differs from the deltas': (e) => { e[5][1].text = 'Ho.'; },
    'an output that differs from the items': (e) => { e[8][1].response.output = []; },
    'a part that is not done': (e) => { e.splice(6, 1); e.forEach(([, d], i) => { d.sequence_number = i; }); },
    'a sum that is wrong': (e) => { e[8][1].response.usage.total_tokens = 6; },
    'another status': (e) => { e[8][1].response.status = 'failed'; },
    ...(haveSchemas && {
      'a missing member': (e) => { delete e[8][1].response.truncation; },
      'a missing member of an event': (e) => { delete e[4][1].logprobs; },
      'a member of another type': (e) => { e[8][1].response.created_at = 'today'; },
    }),
  }],
};

describe('the validators', () => {
  for (const [path, [make, changes]] of Object.entries(CHANGES)) {
    test(path, () => {
      const request = { tools: [{ name: 'f', function: { name: 'f' } }], tool_choice: 'required' };
      assert.deepEqual(streamed(path, request, make()), []);
      for (const [name, change] of Object.entries(changes)) {
        assert.notEqual(spoilt(path, request, make, change).length, 0, name);
      }
    });
  }

  test('comments are passed over, strays are not', () => {
    const [comment, stray] = parseEvents(': keep-alive\n\ndatum: 1\n\nda');
    assert.deepEqual(comment, { comment: 'keep-alive' });
    assert.deepEqual(stray, { stray: 'datum: 1' });
  });

  test('errors have the envelope of their dialect', () => {
    const answer = (path, body) => problems({
      method: 'POST', path, status: 400, headers: headers('application/json'), text: JSON.stringify(body), complete: true,
    });
    const openai = { error: { message: 'm', type: 'invalid_request_error', param: null, code: null } };
    const anthropic = { type: 'error', error: { type: 'invalid_request_error', message: 'm' }, request_id: 'r' };
    assert.deepEqual(answer('/v1/responses', openai), []);
    assert.deepEqual(answer('/v1/v1/messages', anthropic), []);
    assert.notEqual(answer('/v1/messages', openai).length, 0);
    assert.notEqual(answer('/v1/chat/completions', anthropic).length, 0);
    assert.notEqual(answer('/v1/messages', { ...anthropic, request_id: 'other' }).length, 0);
  });
});
