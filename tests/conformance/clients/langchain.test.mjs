// The @langchain/openai package on chat completions, responses and completions.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AIMessage, HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, OpenAI } from '@langchain/openai';
import { z } from 'zod';
import { assertWeather, KEY, MODEL, QUESTION, service, WEATHER } from './support.mjs';

const Verdict = z.object({ colour: z.enum(['red', 'green']), count: z.number().int(), sure: z.boolean() });
const weather = tool(async () => 'clear', {
  name: WEATHER.name, description: WEATHER.description,
  schema: z.object({ city: z.enum(WEATHER.schema.properties.city.enum), days: z.number().int().min(1).max(7) }),
});

for (const useResponsesApi of [false, true]) {
  describe(`langchain: ${useResponsesApi ? 'responses' : 'chat completions'}`, () => {
    const at = service();
    const chat = (options = {}) => new ChatOpenAI({
      model: MODEL, apiKey: KEY, temperature: 0, maxTokens: 200, maxRetries: 0, useResponsesApi,
      configuration: { baseURL: `${at.url}/v1`, fetch: at.fetch }, ...options,
    });

    test('text', async () => {
      const answer = await chat().invoke([new SystemMessage('Be brief.'), new HumanMessage(QUESTION)]);
      assert.match(answer.text, /\w/);
      assert.ok(answer.usage_metadata.input_tokens > 0 && answer.usage_metadata.output_tokens > 0);
      at.recorder.assertValid(1);
    });

    test('a stream says what the whole answer says', async () => {
      const whole = await chat().invoke(QUESTION);
      let sum;
      let pieces = 0;
      for await (const piece of await chat().stream(QUESTION)) {
        sum = sum === undefined ? piece : sum.concat(piece);
        pieces += 1;
      }
      assert.equal(sum.text, whole.text);
      assert.ok(pieces > 2);
      assert.equal(sum.usage_metadata.output_tokens, whole.usage_metadata.output_tokens);
      at.recorder.assertValid(2);
    });

    test('tools, and their results', async () => {
      // On responses this client sends no choice but that of a name.
      const choice = useResponsesApi ? WEATHER.name : 'required';
      const bound = chat().bindTools([weather], { tool_choice: choice, parallel_tool_calls: false });
      const question = new HumanMessage('Weather in Oslo?');
      const whole = await bound.invoke([question]);
      assert.equal(whole.tool_calls.length, 1);
      assertWeather(whole.tool_calls[0].args);
      let sum;
      for await (const piece of await bound.stream([question])) sum = sum === undefined ? piece : sum.concat(piece);
      assertWeather(sum.tool_calls[0].args);
      const result = new ToolMessage({ content: 'clear', tool_call_id: whole.tool_calls[0].id });
      const next = await chat().bindTools([weather]).invoke([question, whole, result]);
      assert.ok(next instanceof AIMessage);
      assert.ok(next.usage_metadata.input_tokens > whole.usage_metadata.input_tokens);
      at.recorder.assertValid(3);
    });

    test('objects, by schema and by call', async () => {
      for (const method of ['jsonSchema', 'functionCalling']) {
        const object = await chat().withStructuredOutput(Verdict, { method, name: 'verdict' }).invoke('Judge.');
        assert.deepEqual(Verdict.parse(object), object);
      }
      at.recorder.assertValid(2);
    });

    test('aborts', async () => {
      const controller = new AbortController();
      const long = chat({ maxTokens: 4000, temperature: 2 });
      await assert.rejects(async () => {
        for await (const piece of await long.stream(QUESTION, { signal: controller.signal })) {
          if (piece) controller.abort();
        }
      }, /abort/i);
      assert.ok(await chat({ maxTokens: 1 }).invoke(QUESTION));
    });

    test('typed errors', async () => {
      const status = (expected) => (e) => {
        assert.equal(e.status, expected, `${e}`);
        return true;
      };
      await assert.rejects(chat({ apiKey: 'sk-db-wrong' }).invoke('x'), status(401));
      await assert.rejects(chat({ model: 'nobody/knows' }).invoke('x'), status(404));
      await assert.rejects(chat({ temperature: 3 }).invoke('x'), status(400));
    });
  });
}

describe('langchain: completions', () => {
  const at = service();

  test('text and stream', async () => {
    const model = new OpenAI({
      model: MODEL, apiKey: KEY, temperature: 0, maxTokens: 24, maxRetries: 0,
      configuration: { baseURL: `${at.url}/v1`, fetch: at.fetch },
    });
    const whole = await model.invoke('Darkbloom is');
    let sum = '';
    for await (const piece of await model.stream('Darkbloom is')) sum += piece;
    assert.equal(sum, whole);
    at.recorder.assertValid(2);
  });
});
