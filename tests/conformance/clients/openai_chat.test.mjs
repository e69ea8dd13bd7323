// The openai package on chat completions.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { assertWeather, CLOCK, KEY, LONG, MODEL, QUESTION, service, WEATHER } from './support.mjs';

const asTool = ({ name, description, schema }, strict) =>
  ({ type: 'function', function: { name, description, parameters: schema, ...(strict === undefined ? {} : { strict }) } });
const weather = asTool(WEATHER);
const clock = asTool(CLOCK);
const Verdict = z.object({ colour: z.enum(['red', 'green']), count: z.number().int(), sure: z.boolean() });

describe('openai: chat completions', () => {
  const at = service();
  let client;
  before(() => { client = new OpenAI({ apiKey: KEY, baseURL: `${at.url}/v1`, maxRetries: 0, fetch: at.fetch }); });
  const ask = (body = {}, options) => client.chat.completions.create(
    { model: MODEL, messages: [{ role: 'user', content: QUESTION }], temperature: 0, ...body }, options);
  const collect = async (stream) => {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return chunks;
  };

  test('models', async () => {
    const page = await client.models.list();
    assert.deepEqual(page.data.map((m) => m.id), [MODEL]);
    assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
    at.recorder.assertValid(2);
  });

  test('text', async () => {
    const answer = await ask();
    assert.match(answer.choices[0].message.content, /darkbloom/i);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.equal(answer.model, MODEL);
    at.recorder.assertValid(1);
  });

  test('every role and form of content', async () => {
    const answer = await ask({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'developer', content: [{ type: 'text', text: 'Answer in English.' }] },
        { role: 'user', content: [{ type: 'text', text: 'Hello.' }, { type: 'text', text: 'Are you there?' }], name: 'ann' },
        { role: 'assistant', content: 'Yes.' },
        { role: 'user', content: QUESTION },
      ],
      max_completion_tokens: 60,
    });
    assert.equal(typeof answer.choices[0].message.content, 'string');
  });

  test('a stream says what the whole answer says', async () => {
    const whole = await ask();
    const chunks = await collect(await ask({ stream: true, stream_options: { include_usage: true } }));
    const text = chunks.map((c) => c.choices[0]?.delta.content ?? '').join('');
    assert.equal(text, whole.choices[0].message.content);
    assert.deepEqual(chunks.at(-1).usage, { ...whole.usage, prompt_tokens_details: chunks.at(-1).usage.prompt_tokens_details });
    assert.equal(chunks.at(-1).choices.length, 0);
    at.recorder.assertValid(2);
  });

  test('the stream helper: events, snapshots, final values', async () => {
    const runner = client.chat.completions.stream({
      model: MODEL, messages: [{ role: 'user', content: QUESTION }], temperature: 0, stream_options: { include_usage: true },
    });
    let deltas = '';
    let snapshot;
    let chunks = 0;
    runner.on('content.delta', (event) => { deltas += event.delta; snapshot = event.snapshot; });
    runner.on('chunk', () => { chunks += 1; });
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0].message.content, deltas);
    assert.equal(snapshot, deltas);
    assert.equal(await runner.finalContent(), deltas);
    assert.ok(chunks > 2);
    assert.ok((await runner.totalUsage()).completion_tokens > 0);
    at.recorder.assertValid(1);
  });

  test('several choices', async () => {
    const body = { n: 3, temperature: 1, seed: 5, max_tokens: 24 };
    const whole = await ask(body);
    assert.deepEqual(whole.choices.map((c) => c.index), [0, 1, 2]);
    const runner = client.chat.completions.stream({ model: MODEL, messages: [{ role: 'user', content: QUESTION }], ...body });
    const final = await runner.finalChatCompletion();
    assert.deepEqual(final.choices.map((c) => c.message.content), whole.choices.map((c) => c.message.content));
    assert.equal((await ask({ n: 8, max_tokens: 4 })).choices.length, 8);
    await assert.rejects(ask({ n: 9 }), (e) => e instanceof OpenAI.BadRequestError && e.param === 'n');
  });

  test('log probabilities', async () => {
    const check = (choice, text) => {
      assert.equal(choice.logprobs.content.map((t) => t.token).join(''), text);
      assert.deepEqual(Buffer.from(choice.logprobs.content.flatMap((t) => t.bytes)).toString(), text);
      for (const token of choice.logprobs.content) {
        assert.ok(token.logprob <= 0);
        assert.equal(token.top_logprobs.length, 5);
        const sorted = token.top_logprobs.map((t) => t.logprob);
        assert.deepEqual(sorted, [...sorted].sort((a, b) => b - a));
        assert.ok(token.top_logprobs.reduce((sum, t) => sum + Math.exp(t.logprob), 0) <= 1 + 1e-4);
        // The most likely one was taken, since the temperature is 0.
        assert.equal(token.token, token.top_logprobs[0].token);
      }
    };
    const whole = await ask({ logprobs: true, top_logprobs: 5, max_tokens: 32 });
    check(whole.choices[0], whole.choices[0].message.content);
    const runner = client.chat.completions.stream({
      model: MODEL, messages: [{ role: 'user', content: QUESTION }], temperature: 0, max_tokens: 32,
      logprobs: true, top_logprobs: 5,
    });
    const final = (await runner.finalChatCompletion()).choices[0];
    check(final, whole.choices[0].message.content);
    assert.deepEqual(final.logprobs.content, whole.choices[0].logprobs.content);
    const plain = await ask({ logprobs: true, max_tokens: 8 });
    assert.ok(plain.choices[0].logprobs.content.every((t) => t.top_logprobs.length === 0));
    for (const body of [{ logprobs: true, top_logprobs: 21 }, { top_logprobs: 3 }]) {
      await assert.rejects(ask(body), (e) => e instanceof OpenAI.BadRequestError && /^(top_)?logprobs$/.test(e.param));
    }
  });

  test('sampling switches are taken', async () => {
    const answer = await ask({
      temperature: 0.7, top_p: 0.9, top_k: 40, min_p: 0.05, frequency_penalty: 0.5, presence_penalty: 0.5, seed: 1,
      logit_bias: { 300: -100 }, max_tokens: 16, user: 'u', metadata: { a: 'b' }, store: false, service_tier: 'auto',
      safety_identifier: 's', prompt_cache_key: 'k', parallel_tool_calls: true, modalities: ['text'], unheard_of: 1,
    });
    assert.ok(answer.usage.completion_tokens <= 16);
  });

  for (const stream of [false, true]) {
    const how = stream ? 'streamed' : 'whole';
    const complete = async (body) => {
      const params = { model: MODEL, messages: [{ role: 'user', content: 'Weather in Oslo?' }], temperature: 0, ...body };
      return stream ? client.chat.completions.stream(params).finalChatCompletion() : client.chat.completions.create(params);
    };

    test(`tools by choice, ${how}`, async () => {
      const required = await complete({ tools: [weather], tool_choice: 'required', parallel_tool_calls: false });
      const { message, finish_reason } = required.choices[0];
      assert.equal(finish_reason, 'tool_calls');
      assert.equal(message.tool_calls.length, 1);
      assert.match(message.tool_calls[0].id, /^call_[A-Za-z0-9]{24}$/);
      assertWeather(JSON.parse(message.tool_calls[0].function.arguments));

      const named = await complete({ tools: [weather, clock], tool_choice: { type: 'function', function: { name: 'get_time' } } });
      const calls = named.choices[0].message.tool_calls;
      assert.ok(calls.length >= 1 && calls.every((c) => c.function.name === 'get_time'));
      for (const call of calls) assert.ok(JSON.parse(call.function.arguments).zone.length <= 8);

      const none = await complete({ tools: [weather], tool_choice: 'none', max_tokens: 40 });
      assert.equal(none.choices[0].message.tool_calls?.length ?? 0, 0);
      assert.ok(['stop', 'length'].includes(none.choices[0].finish_reason));

      const auto = await complete({ tools: [weather], tool_choice: 'auto', max_tokens: 60 });
      assert.ok(['stop', 'length', 'tool_calls'].includes(auto.choices[0].finish_reason));
      at.recorder.assertValid(4);
    });

    test(`objects, ${how}`, async () => {
      const final = stream
        ? await client.chat.completions.stream({
          model: MODEL, messages: [{ role: 'user', content: 'Judge.' }], response_format: zodResponseFormat(Verdict, 'verdict'),
        }).finalChatCompletion()
        : await client.chat.completions.parse({
          model: MODEL, messages: [{ role: 'user', content: 'Judge.' }], response_format: zodResponseFormat(Verdict, 'verdict'),
        });
      assert.deepEqual(Verdict.parse(final.choices[0].message.parsed), final.choices[0].message.parsed);
      const any = await complete({ response_format: { type: 'json_object' }, max_tokens: 200 });
      if (any.choices[0].finish_reason === 'stop') assert.equal(typeof JSON.parse(any.choices[0].message.content), 'object');
    });
  }

  test('parsed tool arguments', async () => {
    const tool = zodFunction({ name: 'judge', parameters: Verdict });
    const final = await client.chat.completions.parse({
      model: MODEL, messages: [{ role: 'user', content: 'Judge.' }], tools: [tool], tool_choice: 'required',
      parallel_tool_calls: false,
    });
    Verdict.parse(final.choices[0].message.tool_calls[0].function.parsed_arguments);
  });

  test('results of tools go back in', async () => {
    const first = await ask({
      messages: [{ role: 'user', content: 'Weather in Oslo?' }], tools: [weather], tool_choice: 'required', parallel_tool_calls: false,
    });
    const call = first.choices[0].message.tool_calls[0];
    const messages = [
      { role: 'user', content: 'Weather in Oslo?' }, first.choices[0].message,
      { role: 'tool', tool_call_id: call.id, content: '{"sky":"clear"}' },
    ];
    const second = await ask({ messages, tools: [weather], max_tokens: 60 });
    assert.ok(['stop', 'length', 'tool_calls'].includes(second.choices[0].finish_reason));
    assert.ok(second.usage.prompt_tokens > first.usage.prompt_tokens);
    await assert.rejects(ask({ messages: [{ role: 'tool', tool_call_id: 'call_nobody', content: '1' }] }), OpenAI.BadRequestError);
  });

  test('runTools drives the loop', async () => {
    for (const stream of [false, true]) {
      const seen = [];
      const runner = client.chat.completions.runTools({
        model: MODEL, messages: [{ role: 'user', content: 'Weather in Rome?' }], temperature: 0, stream, max_tokens: 200,
        tool_choice: 'required', parallel_tool_calls: false,
        tools: [{
          type: 'function',
          function: {
            name: WEATHER.name, description: WEATHER.description, parameters: WEATHER.schema, parse: JSON.parse,
            function: (args) => { seen.push(args); return { sky: 'clear' }; },
          },
        }],
      }, { maxChatCompletions: 2 });
      await runner.done();
      assert.equal(seen.length, 2);
      seen.forEach(assertWeather);
      assert.deepEqual(runner.messages.map((m) => m.role), ['user', 'assistant', 'tool', 'assistant', 'tool']);
    }
    at.recorder.assertValid(4);
  });

  test('legacy function calling', async () => {
    const messages = [{ role: 'user', content: 'Weather in Oslo?' }];
    const body = {
      messages, functions: [{ name: WEATHER.name, description: WEATHER.description, parameters: WEATHER.schema }],
      function_call: { name: WEATHER.name },
    };
    const { message } = (await ask(body)).choices[0];
    assert.equal(message.function_call.name, WEATHER.name);
    assertWeather(JSON.parse(message.function_call.arguments));
    const pieces = (await collect(await ask({ ...body, stream: true }))).map((c) => c.choices[0].delta.function_call);
    assert.equal(pieces.map((p) => p?.arguments ?? '').join(''), message.function_call.arguments);
    const next = await ask({ ...body, function_call: 'none', max_tokens: 40,
      messages: [...messages, message, { role: 'function', name: WEATHER.name, content: 'clear' }] });
    assert.equal(typeof next.choices[0].message.content, 'string');
  });

  test('aborts free the place', async () => {
    const controller = new AbortController();
    const stream = await ask({ stream: true, max_tokens: 4000, ...LONG }, { signal: controller.signal });
    let seen = 0;
    for await (const chunk of stream) {
      assert.ok(chunk);
      if (++seen === 2) break; // leaving the loop aborts
    }
    const whole = ask({ max_tokens: 4000, ...LONG }, { signal: controller.signal });
    controller.abort();
    await assert.rejects(whole, OpenAI.APIUserAbortError);
    const runner = client.chat.completions.stream({
      model: MODEL, messages: [{ role: 'user', content: QUESTION }], max_tokens: 4000, ...LONG });
    runner.once('chunk', () => runner.abort());
    await assert.rejects(runner.done(), OpenAI.APIUserAbortError);
    assert.equal((await ask({ max_tokens: 1 })).choices[0].finish_reason, 'length');
  });

  test('typed errors', async () => {
    const stranger = new OpenAI({ apiKey: 'sk-db-wrong', baseURL: `${at.url}/v1`, maxRetries: 0, fetch: at.fetch });
    await assert.rejects(stranger.chat.completions.create({ model: MODEL, messages: [{ role: 'user', content: 'x' }] }), (e) => {
      assert.ok(e instanceof OpenAI.AuthenticationError);
      assert.equal(e.code, 'invalid_api_key');
      assert.ok(e.requestID);
      return true;
    });
    for (const stream of [false, true]) {
      await assert.rejects(ask({ model: 'nobody/knows', stream }), (e) =>
        e instanceof OpenAI.NotFoundError && e.code === 'model_not_found' && e.param === 'model');
    }
    for (const [body, param] of [
      [{ temperature: 3 }, 'temperature'],
      [{ messages: [] }, 'messages'],
      [{ tool_choice: 'required' }, 'tool_choice'],
      [{ tools: [weather], tool_choice: { type: 'function', function: { name: 'unheard' } } }, 'tool_choice'],
      [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }] }] }, null],
      [{ response_format: { type: 'json_schema', json_schema: { name: 's', schema: { type: 'spaceship' } } } }, 'response_format'],
      [{ modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'wav' } }, null],
    ]) {
      await assert.rejects(ask(body), (e) => {
        assert.ok(e instanceof OpenAI.BadRequestError || e instanceof OpenAI.UnprocessableEntityError, `${JSON.stringify(body)}: ${e}`);
        assert.equal(e.type, 'invalid_request_error');
        if (param) assert.ok(e.param?.startsWith(param), `${param}: ${e.param}`);
        return true;
      });
    }
    await assert.rejects(client.embeddings.create({ model: MODEL, input: 'x' }), /embedding/i);
    at.recorder.assertValid(10);
  });
});
