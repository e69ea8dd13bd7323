// The official openai package, unchanged, against the node's embedded default model.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { OWNER_KEY, startNode, suiteContext } from './harness.mjs';

const MODEL = 'darkbloom/nano';
const question = [{ role: 'user', content: 'What is Darkbloom?' }];

describe('openai', () => {
  const suite = suiteContext();
  let node;
  let client;
  after(() => suite.done());
  before(async () => {
    node = await startNode(suite);
    client = new OpenAI({ apiKey: OWNER_KEY, baseURL: `${node.url}/v1`, maxRetries: 0 });
  });

  test('lists and retrieves models', async () => {
    const ids = [];
    for await (const model of client.models.list()) {
      ids.push(model.id);
      assert.equal(model.object, 'model');
      assert.equal(typeof model.created, 'number');
      assert.equal(typeof model.owned_by, 'string');
    }
    assert.deepEqual(ids, [MODEL]);
    const model = await client.models.retrieve(MODEL);
    assert.equal(model.id, MODEL);
    assert.equal(model.provider_count, 1);
    assert.equal(model.context_length, 65536);
    assert.deepEqual(model.supported_features, ['tools', 'json_mode', 'structured_outputs', 'logprobs', 'reasoning']);
    await assert.rejects(client.models.retrieve('no/such-model'), OpenAI.NotFoundError);
  });

  test('completes', async () => {
    const answer = await client.chat.completions.create({ model: MODEL, messages: question, temperature: 0 });
    assert.equal(answer.object, 'chat.completion');
    assert.match(answer.id, /^chatcmpl-/);
    assert.equal(answer.model, MODEL);
    assert.equal(answer.choices.length, 1);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.match(answer.choices[0].message.content, /darkbloom/i);
    assert.ok(answer.usage.prompt_tokens > 0);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.match(answer.system_fingerprint, /^fp_[0-9a-f]{12}$/);
  });

  test('streams the same text, with usage when asked', async () => {
    const whole = await client.chat.completions.create({ model: MODEL, messages: question, temperature: 0 });
    const stream = await client.chat.completions.create({
      model: MODEL, messages: question, temperature: 0, stream: true, stream_options: { include_usage: true },
    });
    let text = '';
    let finish;
    let usage;
    const ids = new Set();
    for await (const chunk of stream) {
      ids.add(chunk.id);
      if (chunk.usage) usage = chunk.usage;
      if (chunk.choices.length === 0) continue;
      text += chunk.choices[0].delta.content ?? '';
      finish = chunk.choices[0].finish_reason ?? finish;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(finish, 'stop');
    assert.equal(ids.size, 1);
    assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
    assert.equal(usage.prompt_tokens, whole.usage.prompt_tokens);
  });

  test('never sends an empty choices array unless usage was asked for', async () => {
    const stream = await client.chat.completions.create({ model: MODEL, messages: question, stream: true, seed: 1 });
    for await (const chunk of stream) assert.equal(chunk.choices.length, 1);
  });

  test('the stream helper finishes with a full message', async () => {
    const runner = client.chat.completions.stream({ model: MODEL, messages: question, temperature: 0 });
    const final = await runner.finalChatCompletion();
    assert.match(final.choices[0].message.content, /darkbloom/i);
  });

  test('aborts', async () => {
    const stream = await client.chat.completions.create({
      model: MODEL, messages: [{ role: 'user', content: 'Count to twenty.' }], stream: true, max_tokens: 4000,
      temperature: 2, seed: 3,
    });
    let seen = 0;
    for await (const chunk of stream) {
      assert.ok(chunk.choices);
      if (++seen === 2) stream.controller.abort();
    }
    assert.ok(seen >= 2);
    const again = await client.chat.completions.create({ model: MODEL, messages: question, max_tokens: 1 });
    assert.equal(again.choices[0].finish_reason, 'length');
  });

  test('seeds repeat, temperatures vary', async () => {
    const ask = async (seed) => (await client.chat.completions.create({
      model: MODEL, messages: question, temperature: 1.5, seed, max_tokens: 24,
    })).choices[0].message.content;
    assert.equal(await ask(7), await ask(7));
    const others = new Set(await Promise.all([1, 2, 3, 4, 5, 6].map(ask)));
    assert.ok(others.size > 1);
  });

  test('stop strings end the answer and never appear in it', async () => {
    const whole = await client.chat.completions.create({ model: MODEL, messages: question, temperature: 0 });
    const text = whole.choices[0].message.content;
    const stop = text.slice(9, 14);
    const cut = await client.chat.completions.create({ model: MODEL, messages: question, temperature: 0, stop: [stop] });
    assert.equal(cut.choices[0].finish_reason, 'stop');
    assert.equal(cut.choices[0].message.content, text.slice(0, text.indexOf(stop)));
  });

  test('typed errors', async () => {
    const wrongKey = new OpenAI({ apiKey: 'sk-db-wrong', baseURL: `${node.url}/v1`, maxRetries: 0 });
    const create = (c, body) => c.chat.completions.create({ model: MODEL, messages: question, ...body });
    await assert.rejects(create(wrongKey, {}), (e) => {
      assert.ok(e instanceof OpenAI.AuthenticationError);
      assert.equal(e.code, 'invalid_api_key');
      assert.ok(e.requestID);
      return true;
    });
    await assert.rejects(create(client, { model: 'nobody/knows' }), (e) => {
      assert.ok(e instanceof OpenAI.NotFoundError);
      assert.equal(e.code, 'model_not_found');
      assert.equal(e.param, 'model');
      return true;
    });
    for (const [body, param, code] of [
      [{ temperature: 3 }, 'temperature', 'invalid_value'],
      [{ max_tokens: -1 }, 'max_tokens', 'invalid_value'],
      [{ messages: [] }, 'messages', 'invalid_value'],
      [{ n: 9 }, 'n', 'invalid_value'],
      [{ top_logprobs: 3 }, 'top_logprobs', 'invalid_value'],
      [{ tools: [{ type: 'function', function: {} }] }, 'tools[0].function.name', 'missing_required_parameter'],
      [{ response_format: { type: 'xml' } }, 'response_format.type', 'invalid_value'],
      [{ prediction: { type: 'content', content: 'x' } }, 'prediction', 'unsupported_parameter'],
    ]) {
      await assert.rejects(create(client, body), (e) => {
        assert.ok(e instanceof OpenAI.BadRequestError, `${param}: ${e}`);
        assert.equal(e.param, param);
        assert.equal(e.code, code);
        assert.equal(e.type, 'invalid_request_error');
        return true;
      });
    }
    await assert.rejects(create(client, { messages: [{ role: 'user', content: 'very long '.repeat(70000) }] }), (e) => {
      assert.ok(e instanceof OpenAI.BadRequestError);
      assert.equal(e.code, 'context_length_exceeded');
      return true;
    });
  });

  test('thinking stays out of the content', async () => {
    const answer = await client.chat.completions.create({
      model: MODEL, messages: [{ role: 'user', content: 'What is 3 + 4?' }], temperature: 0, reasoning_effort: 'high',
    });
    assert.doesNotMatch(answer.choices[0].message.content, /<\/?think>/);
    assert.equal(typeof answer.choices[0].message.reasoning_content, 'string');
    assert.ok(answer.usage.completion_tokens_details.reasoning_tokens > 0);
  });
});
