// The ai package with each provider that speaks one of the dialects.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenResponses } from '@ai-sdk/open-responses';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, generateObject, generateText, isStepCount, Output, streamObject, streamText, tool } from 'ai';
import { z } from 'zod';
import { assertWeather, KEY, LONG, MODEL, QUESTION, service, WEATHER } from './support.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;

const Verdict = z.object({ colour: z.enum(['red', 'green']), count: z.number().int().min(0).max(9), sure: z.boolean() });
const Weather = z.object({ city: z.enum(WEATHER.schema.properties.city.enum), days: z.number().int().min(1).max(7) });

const providers = {
  'openai, responses': (at, apiKey) => createOpenAI({ apiKey, baseURL: `${at.url}/v1`, fetch: at.fetch }),
  'openai, chat': (at, apiKey) => createOpenAI({ apiKey, baseURL: `${at.url}/v1`, fetch: at.fetch }).chat,
  'openai-compatible': (at, apiKey) => createOpenAICompatible({
    name: 'node', apiKey, baseURL: `${at.url}/v1`, fetch: at.fetch, includeUsage: true, supportsStructuredOutputs: true,
  }),
  anthropic: (at, apiKey) => createAnthropic({ apiKey, baseURL: `${at.url}/v1`, fetch: at.fetch }),
  'open-responses': (at, apiKey) => createOpenResponses({ name: 'node', apiKey, url: `${at.url}/v1/responses`, fetch: at.fetch }),
};

for (const [name, create] of Object.entries(providers)) {
  describe(`ai: ${name}`, () => {
    const at = service();
    let model;
    before(() => { model = create(at, KEY)(MODEL); });
    const options = (more) => ({ model, maxRetries: 0, temperature: 0, maxOutputTokens: 200, ...more });

    test('text', async () => {
      const result = await generateText(options({ prompt: QUESTION, system: 'Be brief.' }));
      assert.match(result.text, /\w/);
      assert.ok(result.usage.inputTokens > 0 && result.usage.outputTokens > 0);
      assert.equal(result.finishReason, 'stop');
      at.recorder.assertValid(1);
    });

    test('a stream says what the whole answer says', async () => {
      const whole = await generateText(options({ prompt: QUESTION }));
      const result = streamText(options({ prompt: QUESTION, onError: ({ error }) => { throw error; } }));
      const pieces = [];
      for await (const piece of result.textStream) pieces.push(piece);
      assert.equal(pieces.join(''), whole.text);
      assert.ok(pieces.length > 2);
      assert.equal(await result.finishReason, 'stop');
      assert.equal((await result.usage).outputTokens, whole.usage.outputTokens);
      at.recorder.assertValid(2);
    });

    test('the bound', async () => {
      assert.equal((await generateText(options({ prompt: QUESTION, maxOutputTokens: 2 }))).finishReason, 'length');
    });

    for (const stream of [false, true]) {
      const how = stream ? 'streamed' : 'whole';

      test(`tools, ${how}`, async () => {
        const seen = [];
        const params = options({
          prompt: 'Weather in Oslo?', toolChoice: 'required', stopWhen: isStepCount(2),
          tools: {
            get_weather: tool({
              description: WEATHER.description, inputSchema: Weather,
              execute: async (input) => { seen.push(input); return { sky: 'clear' }; },
            }),
          },
        });
        let result;
        if (stream) {
          const errors = [];
          result = streamText({ ...params, onError: ({ error }) => { errors.push(error); } });
          await result.consumeStream();
          assert.deepEqual(errors, []);
        } else {
          result = await generateText(params);
        }
        const steps = await result.steps;
        assert.equal(steps.length, 2);
        assert.ok(steps.every((step) => step.toolCalls.length >= 1 && step.finishReason === 'tool-calls'));
        assert.ok(seen.length >= 2);
        seen.forEach(assertWeather);
        at.recorder.assertValid(2);
      });

      test(`objects, ${how}`, async () => {
        const params = options({ prompt: 'Judge.', schema: Verdict });
        const output = options({ prompt: 'Judge.', output: Output.object({ schema: Verdict }) });
        const objects = [];
        if (stream) {
          const first = streamObject(params);
          let partial;
          for await (partial of first.partialObjectStream);
          objects.push(await first.object);
          assert.deepEqual(partial, objects[0]);
          const second = streamText(output);
          for await (partial of second.partialOutputStream);
          objects.push(await second.output);
          assert.deepEqual(partial, objects[1]);
        } else {
          objects.push((await generateObject(params)).object, (await generateText(output)).output);
        }
        for (const object of objects) assert.deepEqual(Verdict.parse(object), object);
        at.recorder.assertValid(2);
      });
    }

    test('a tool by name, and none', async () => {
      const tools = { get_weather: tool({ inputSchema: Weather }), get_time: tool({ inputSchema: z.object({ zone: z.string().max(8) }) }) };
      const named = await generateText(options({ prompt: 'Go.', tools, toolChoice: { type: 'tool', toolName: 'get_time' } }));
      assert.ok(named.toolCalls.length >= 1 && named.toolCalls.every((c) => c.toolName === 'get_time' && c.input.zone.length <= 8));
      assert.equal((await generateText(options({ prompt: 'Go.', tools, toolChoice: 'none', maxOutputTokens: 40 }))).toolCalls.length, 0);
      await generateText(options({ prompt: 'Go.', tools, toolChoice: 'auto', maxOutputTokens: 60 }));
    });

    test('aborts', async () => {
      const controller = new AbortController();
      const result = streamText(options({
        prompt: QUESTION, maxOutputTokens: 4000, ...LONG, temperature: name === 'anthropic' ? 1 : 2,
        abortSignal: controller.signal, onError: () => {},
      }));
      await assert.rejects(async () => {
        for await (const part of result.stream ?? result.fullStream) {
          if (part.type === 'text-delta') controller.abort();
          if (part.type === 'abort') throw new Error('aborted');
        }
      }, /abort/i);
      assert.equal((await generateText(options({ prompt: QUESTION, maxOutputTokens: 1 }))).finishReason, 'length');
    });

    test('typed errors', async () => {
      const failing = (m, status) => assert.rejects(generateText({ model: m, prompt: 'x', maxRetries: 0 }), (e) => {
        assert.ok(APICallError.isInstance(e), `${e}`);
        assert.equal(e.statusCode, status);
        assert.ok(e.message.length > 10, e.message); // the body's text was found where this client looks
        assert.equal(e.isRetryable, false);
        return true;
      });
      await failing(create(at, 'sk-db-wrong')(MODEL), 401);
      await failing(create(at, KEY)('nobody/knows'), 404);
      // This one corrects temperatures itself.
      if (name !== 'anthropic') await assert.rejects(generateText(options({ prompt: 'x', temperature: 7 })), (e) => e.statusCode === 400);
    });
  });
}

describe('ai: completions', () => {
  const at = service();

  test('text and stream', async () => {
    const model = createOpenAI({ apiKey: KEY, baseURL: `${at.url}/v1`, fetch: at.fetch }).completion(MODEL);
    const whole = await generateText({ model, prompt: QUESTION, maxRetries: 0, temperature: 0, maxOutputTokens: 24 });
    const result = streamText({ model, prompt: QUESTION, maxRetries: 0, temperature: 0, maxOutputTokens: 24 });
    assert.equal(await result.text, whole.text);
    at.recorder.assertValid(2);
  });
});
