// The openai package on responses.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { assertWeather, CLOCK, KEY, LONG, MODEL, QUESTION, service, WEATHER } from './support.mjs';

const asTool = ({ name, description, schema }) => ({ type: 'function', name, description, parameters: schema, strict: false });
const weather = asTool(WEATHER);
const clock = asTool(CLOCK);
const Verdict = z.object({ colour: z.enum(['red', 'green']), count: z.number().int(), sure: z.boolean() });
const calls = (response) => response.output.filter((item) => item.type === 'function_call');

describe('openai: responses', () => {
  const at = service();
  let client;
  before(() => { client = new OpenAI({ apiKey: KEY, baseURL: `${at.url}/v1`, maxRetries: 0, fetch: at.fetch }); });
  const ask = (body = {}, options) =>
    client.responses.create({ model: MODEL, input: QUESTION, temperature: 0, ...body }, options);

  test('text', async () => {
    const response = await ask();
    assert.equal(response.status, 'completed');
    assert.match(response.output_text, /darkbloom/i);
    assert.equal(response.model, MODEL);
    assert.equal(response.store, false);
    at.recorder.assertValid(1);
  });

  test('every form of input', async () => {
    const response = await ask({
      instructions: 'Be brief.', max_output_tokens: 60, metadata: { a: 'b' }, user: 'u', truncation: 'disabled',
      include: ['reasoning.encrypted_content'], service_tier: 'auto', prompt_cache_key: 'k', parallel_tool_calls: true,
      input: [
        { role: 'developer', content: 'Answer in English.' },
        { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Hello.' }] },
        { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Greets.' }] },
        { type: 'message', id: 'msg_1', role: 'assistant', status: 'completed',
          content: [{ type: 'output_text', text: 'Hi.', annotations: [] }] },
        { role: 'user', content: QUESTION },
      ],
    });
    assert.deepEqual(response.metadata, { a: 'b' });
    assert.equal(response.instructions, 'Be brief.');
    assert.equal(response.max_output_tokens, 60);
  });

  test('a stream says what the whole answer says', async () => {
    const whole = await ask();
    let text = '';
    let deltas = 0;
    let final;
    for await (const event of await ask({ stream: true })) {
      if (event.type === 'response.output_text.delta') {
        text += event.delta;
        deltas += 1;
      }
      if (event.type === 'response.completed') final = event.response;
    }
    assert.equal(text, whole.output_text);
    assert.ok(deltas > 2, `${deltas} deltas: not incremental`);
    assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
    at.recorder.assertValid(2);
  });

  test('the stream helper', async () => {
    const stream = client.responses.stream({ model: MODEL, input: QUESTION, temperature: 0 });
    let snapshot = '';
    stream.on('response.output_text.delta', (event) => { snapshot = event.snapshot; });
    const final = await stream.finalResponse();
    assert.equal(final.status, 'completed');
    assert.equal(snapshot, final.output_text);
    at.recorder.assertValid(1);
  });

  test('the bound makes it incomplete', async () => {
    for (const stream of [false, true]) {
      const body = { model: MODEL, input: QUESTION, max_output_tokens: 4, ...LONG };
      const response = stream ? await client.responses.stream(body).finalResponse() : await client.responses.create(body);
      assert.equal(response.status, 'incomplete');
      assert.deepEqual(response.incomplete_details, { reason: 'max_output_tokens' });
      assert.equal(response.usage.output_tokens, 4);
    }
    at.recorder.assertValid(2);
  });

  for (const stream of [false, true]) {
    const how = stream ? 'streamed' : 'whole';
    const complete = async (body) => {
      const params = { model: MODEL, input: 'Weather in Oslo?', temperature: 0, ...body };
      return stream ? client.responses.stream(params).finalResponse() : client.responses.create(params);
    };

    test(`tools by choice, ${how}`, async () => {
      const required = await complete({ tools: [weather], tool_choice: 'required', parallel_tool_calls: false });
      assert.equal(required.status, 'completed');
      assert.equal(calls(required).length, 1);
      assert.match(calls(required)[0].call_id, /^call_/);
      assertWeather(JSON.parse(calls(required)[0].arguments));

      const named = await complete({ tools: [weather, clock], tool_choice: { type: 'function', name: 'get_time' } });
      assert.ok(calls(named).length >= 1 && calls(named).every((c) => c.name === 'get_time'));

      const none = await complete({ tools: [weather], tool_choice: 'none', max_output_tokens: 40 });
      assert.equal(calls(none).length, 0);
      await complete({ tools: [weather], tool_choice: 'auto', max_output_tokens: 60 });
      at.recorder.assertValid(4);
    });

    test(`objects, ${how}`, async () => {
      const text = { format: zodTextFormat(Verdict, 'verdict') };
      const body = { model: MODEL, input: 'Judge.', text };
      const final = stream ? await client.responses.stream(body).finalResponse() : await client.responses.parse(body);
      assert.deepEqual(Verdict.parse(final.output_parsed), final.output_parsed);
      const any = await complete({ text: { format: { type: 'json_object' } }, max_output_tokens: 200 });
      if (any.status === 'completed') assert.equal(typeof JSON.parse(any.output_text), 'object');
      at.recorder.assertValid(2);
    });
  }

  test('parsed tool arguments', async () => {
    const final = await client.responses.parse({
      model: MODEL, input: 'Judge.', tools: [zodResponsesFunction({ name: 'judge', parameters: Verdict })],
      tool_choice: 'required', parallel_tool_calls: false,
    });
    Verdict.parse(calls(final)[0].parsed_arguments);
  });

  test('results of tools go back in', async () => {
    const input = [{ role: 'user', content: 'Weather in Oslo?' }];
    const first = await ask({ input, tools: [weather], tool_choice: 'required', parallel_tool_calls: false });
    const [call] = calls(first);
    const second = await ask({
      input: [...input, ...first.output, { type: 'function_call_output', call_id: call.call_id, output: '{"sky":"clear"}' }],
      tools: [weather], max_output_tokens: 60,
    });
    assert.ok(second.usage.input_tokens > first.usage.input_tokens);
  });

  test('tools of other makers are taken and not called', async () => {
    const response = await ask({
      tools: [weather, { type: 'web_search' }, { type: 'custom', name: 'note', description: 'd' }], max_output_tokens: 24,
      tool_choice: 'auto',
    });
    assert.ok(['completed', 'incomplete'].includes(response.status));
  });

  test('reasoning is an item of its own', async () => {
    for (const stream of [false, true]) {
      const body = { model: MODEL, input: 'What is 3 + 4?', temperature: 0, reasoning: { effort: 'high', summary: 'auto' } };
      const response = stream ? await client.responses.stream(body).finalResponse() : await client.responses.create(body);
      assert.equal(response.output[0].type, 'reasoning');
      assert.ok(response.usage.output_tokens_details.reasoning_tokens > 0);
      assert.doesNotMatch(response.output_text, /<\/?think>/);
    }
    at.recorder.assertValid(2);
  });

  test('log probabilities', async () => {
    const response = await ask({ include: ['message.output_text.logprobs'], top_logprobs: 2, max_output_tokens: 16 });
    const part = response.output.find((i) => i.type === 'message').content[0];
    assert.equal(part.logprobs.map((t) => t.token).join(''), part.text);
    assert.ok(part.logprobs.every((t) => t.top_logprobs.length === 2));
  });

  test('stored ones can be fetched, continued and deleted; others are not there', async () => {
    const kept = await ask({ store: true, input: 'Hello.' });
    assert.equal(kept.store, true);
    const again = await client.responses.retrieve(kept.id);
    assert.equal(again.output_text, kept.output_text);
    const next = await ask({ previous_response_id: kept.id, max_output_tokens: 16 });
    assert.equal(next.previous_response_id, kept.id);
    assert.ok(next.usage.input_tokens > kept.usage.input_tokens);
    await client.responses.delete(kept.id);
    await assert.rejects(client.responses.retrieve(kept.id), OpenAI.NotFoundError);
    const forgotten = await ask({ input: 'Hello.' });
    await assert.rejects(client.responses.retrieve(forgotten.id), OpenAI.NotFoundError);
    await assert.rejects(ask({ previous_response_id: forgotten.id }), (e) =>
      (e instanceof OpenAI.BadRequestError || e instanceof OpenAI.NotFoundError) && e.param === 'previous_response_id');
  });

  test('input tokens are counted', async () => {
    const counted = await client.responses.inputTokens.count({ model: MODEL, input: QUESTION });
    assert.equal(counted.object, 'response.input_tokens');
    assert.equal(counted.input_tokens, (await ask({ max_output_tokens: 1 })).usage.input_tokens);
  });

  test('the shape decides, not the path', async () => {
    const chat = await client.post('/responses', { body: { model: MODEL, messages: [{ role: 'user', content: 'Hi.' }] } });
    assert.equal(chat.object, 'chat.completion');
    const response = await client.post('/chat/completions', { body: { model: MODEL, input: 'Hi.' } });
    assert.equal(response.object, 'response');
    at.recorder.assertValid(2);
  });

  test('aborts', async () => {
    for await (const event of await ask({ stream: true, max_output_tokens: 4000, ...LONG })) {
      if (event.type === 'response.output_text.delta') break;
    }
    const controller = new AbortController();
    const whole = ask({ max_output_tokens: 4000, ...LONG }, { signal: controller.signal });
    controller.abort();
    await assert.rejects(whole, OpenAI.APIUserAbortError);
    assert.equal((await ask({ max_output_tokens: 1, ...LONG })).status, 'incomplete');
  });

  test('typed errors', async () => {
    const stranger = new OpenAI({ apiKey: 'sk-db-wrong', baseURL: `${at.url}/v1`, maxRetries: 0, fetch: at.fetch });
    await assert.rejects(stranger.responses.create({ model: MODEL, input: 'x' }), OpenAI.AuthenticationError);
    for (const stream of [false, true]) {
      await assert.rejects(ask({ model: 'nobody/knows', stream }), (e) =>
        e instanceof OpenAI.NotFoundError && e.code === 'model_not_found' && e.param === 'model');
    }
    for (const [body, param] of [
      [{ temperature: 3 }, 'temperature'],
      [{ input: 7 }, 'input'],
      [{ input: [{ type: 'item_reference', id: 'x' }] }, 'input'],
      [{ background: true }, 'background'],
      [{ tool_choice: 'required' }, 'tool_choice'],
      [{ truncation: 'auto' }, 'truncation'],
      [{ text: { format: { type: 'json_schema', name: 's', schema: { type: 'spaceship' } } } }, 'text'],
    ]) {
      await assert.rejects(ask(body), (e) => {
        assert.ok(e instanceof OpenAI.BadRequestError || e instanceof OpenAI.UnprocessableEntityError, `${JSON.stringify(body)}: ${e}`);
        assert.ok(e.param?.startsWith(param), `${param}: ${e.param}`);
        return true;
      });
    }
    at.recorder.assertValid(8);
  });
});
