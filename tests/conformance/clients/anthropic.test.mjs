// The @anthropic-ai/sdk package on messages, with both base URLs that documents show.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';
import { assertWeather, CLOCK, KEY, LONG, MODEL, QUESTION, service, WEATHER } from './support.mjs';

const asTool = ({ name, description, schema }) => ({ name, description, input_schema: schema });
const weather = asTool(WEATHER);
const clock = asTool(CLOCK);
const Verdict = z.object({ colour: z.enum(['red', 'green']), count: z.number().int(), sure: z.boolean() });
const uses = (message) => message.content.filter((block) => block.type === 'tool_use');
const text = (message) => message.content.filter((block) => block.type === 'text').map((block) => block.text).join('');

for (const base of ['', '/v1']) {
  describe(`anthropic: messages${base && ', base URL ending in /v1'}`, () => {
    const at = service();
    let client;
    const connect = (options) =>
      new Anthropic({ apiKey: KEY, baseURL: at.url + base, maxRetries: 0, fetch: at.fetch, ...options });
    before(() => { client = connect({}); });
    const body = (more) =>
      ({ model: MODEL, max_tokens: 200, messages: [{ role: 'user', content: QUESTION }], temperature: 0, ...more });
    const ask = (more = {}, options) => client.messages.create(body(more), options);

    test('text', async () => {
      const message = await ask();
      assert.match(text(message), /darkbloom/i);
      assert.equal(message.stop_reason, 'end_turn');
      assert.equal(message.model, MODEL);
      at.recorder.assertValid(1);
    });

    test('the credential in either header', async () => {
      const token = connect({ apiKey: null, authToken: KEY });
      assert.equal((await token.messages.create(body({ max_tokens: 1 }))).stop_reason, 'max_tokens');
      const header = connect({ defaultHeaders: { authorization: null, 'x-api-key': KEY } });
      assert.equal((await header.messages.create(body({ max_tokens: 1 }))).stop_reason, 'max_tokens');
      assert.deepEqual(at.recorder.assertValid(2).map((e) => e.status), [200, 200]);
    });

    test('every form of content', async () => {
      const message = await ask({
        system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }, { type: 'text', text: 'Be kind.' }],
        messages: [
          { role: 'user', content: [{ type: 'text', text: 'Hello.', cache_control: { type: 'ephemeral' } }] },
          { role: 'assistant', content: [{ type: 'thinking', thinking: 'Greets.', signature: 'x' }, { type: 'text', text: 'Hi.' }] },
          { role: 'user', content: QUESTION },
          { role: 'system', content: 'Say less.' },
        ],
        metadata: { user_id: 'u' }, top_k: 20, top_p: 0.9, service_tier: 'auto', max_tokens: 40,
      });
      assert.ok(message.usage.input_tokens > 20);
    });

    test('a stream says what the whole answer says', async () => {
      const whole = await ask();
      let seen = '';
      const types = [];
      for await (const event of await ask({ stream: true })) {
        types.push(event.type);
        if (event.type === 'content_block_delta') seen += event.delta.text;
        if (event.type === 'message_start') assert.equal(event.message.usage.input_tokens, whole.usage.input_tokens);
        if (event.type === 'message_delta') assert.equal(event.usage.output_tokens, whole.usage.output_tokens);
      }
      assert.equal(seen, text(whole));
      assert.ok(types.filter((t) => t === 'content_block_delta').length > 2);
      at.recorder.assertValid(2);
    });

    test('the stream helper', async () => {
      const stream = client.messages.stream(body());
      let seen = '';
      let blocks = 0;
      stream.on('text', (delta) => { seen += delta; });
      stream.on('contentBlock', () => { blocks += 1; });
      const final = await stream.finalMessage();
      assert.equal(await stream.finalText(), seen);
      assert.equal(text(final), seen);
      assert.equal(blocks, 1);
      assert.equal(final.stop_reason, 'end_turn');
      assert.ok(final.usage.output_tokens > 0);
      at.recorder.assertValid(1);
    });

    test('stop sequences and the bound', async () => {
      const whole = text(await ask());
      const stop = whole.slice(9, 14);
      for (const stream of [false, true]) {
        const complete = (more) => (stream ? client.messages.stream(body(more)).finalMessage() : ask(more));
        const cut = await complete({ stop_sequences: ['never there', stop] });
        assert.equal(cut.stop_reason, 'stop_sequence');
        assert.equal(cut.stop_sequence, stop);
        assert.equal(text(cut), whole.slice(0, whole.indexOf(stop)));
        const bounded = await complete({ max_tokens: 3 });
        assert.equal(bounded.stop_reason, 'max_tokens');
        assert.equal(bounded.usage.output_tokens, 3);
      }
    });

    test('a last assistant turn is continued', async () => {
      const message = await ask({ messages: [{ role: 'user', content: QUESTION }, { role: 'assistant', content: 'Darkbloom is' }] });
      assert.ok(['end_turn', 'max_tokens'].includes(message.stop_reason));
    });

    for (const stream of [false, true]) {
      const how = stream ? 'streamed' : 'whole';
      const complete = (more) => {
        const params = body({ messages: [{ role: 'user', content: 'Weather in Oslo?' }], ...more });
        return stream ? client.messages.stream(params).finalMessage() : client.messages.create(params);
      };

      test(`tools by choice, ${how}`, async () => {
        const any = await complete({ tools: [weather], tool_choice: { type: 'any', disable_parallel_tool_use: true } });
        assert.equal(any.stop_reason, 'tool_use');
        assert.equal(uses(any).length, 1);
        assertWeather(uses(any)[0].input);

        const named = await complete({ tools: [weather, clock], tool_choice: { type: 'tool', name: 'get_time' } });
        assert.ok(uses(named).length >= 1 && uses(named).every((use) => use.name === 'get_time' && use.input.zone.length <= 8));

        const none = await complete({ tools: [weather], tool_choice: { type: 'none' } });
        assert.equal(uses(none).length, 0);
        await complete({ tools: [weather], tool_choice: { type: 'auto' } });
        at.recorder.assertValid(4);
      });

      test(`objects, ${how}`, async () => {
        const params = body({ messages: [{ role: 'user', content: 'Judge.' }], output_config: { format: zodOutputFormat(Verdict) } });
        const final = stream ? await client.messages.stream(params).finalMessage() : await client.messages.parse(params);
        assert.deepEqual(Verdict.parse(final.parsed_output), final.parsed_output);
        at.recorder.assertValid(1);
      });
    }

    test('results of tools go back in', async () => {
      const question = { role: 'user', content: 'Weather in Oslo?' };
      const first = await ask({ messages: [question], tools: [weather], tool_choice: { type: 'any', disable_parallel_tool_use: true } });
      const result = { type: 'tool_result', tool_use_id: uses(first)[0].id, content: [{ type: 'text', text: 'clear' }] };
      const second = await ask({
        messages: [question, { role: 'assistant', content: first.content }, { role: 'user', content: [result] }], tools: [weather],
      });
      assert.ok(second.usage.input_tokens > first.usage.input_tokens);
      await assert.rejects(ask({ messages: [{ role: 'user', content: [{ ...result, tool_use_id: 'toolu_nobody' }] }] }),
        Anthropic.BadRequestError);
    });

    for (const thread of [undefined, false]) {
      // By default the runner counts on a conversation that the service holds, and sends all of it
      // when it is told that there is none.
      test(`the tool runner drives the loop${thread === false ? ' without threads' : ''}`, async () => {
        const seen = [];
        const runner = client.beta.messages.toolRunner({
          ...body({ messages: [{ role: 'user', content: 'Weather in Rome?' }] }), max_iterations: 3, thread,
          tool_choice: { type: 'any', disable_parallel_tool_use: true },
          tools: [{ ...weather, type: 'custom', parse: (input) => input, run: (input) => { seen.push(input); return 'clear'; } }],
        });
        const final = await runner.runUntilDone();
        assert.equal(final.stop_reason, 'tool_use');
        assert.ok(seen.length >= 2);
        seen.forEach(assertWeather);
        const statuses = at.recorder.assertValid(3).map((e) => e.status);
        assert.equal(statuses.filter((s) => s === 200).length, 3);
        assert.ok(statuses.every((s) => s === 200 || s === 404));
      });
    }

    test('threads: nothing that went before is lost', async () => {
      const thread = client.beta.messages.thread(body({ messages: [] }));
      const first = await thread.send({ role: 'user', content: 'Hello there.' });
      const second = await thread.send({ role: 'user', content: QUESTION });
      assert.ok(second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens);
      const whole = await ask({
        messages: [{ role: 'user', content: 'Hello there.' }, { role: 'assistant', content: first.content },
          { role: 'user', content: QUESTION }],
      });
      assert.equal(text(second), text(whole));
      assert.equal(second.usage.input_tokens, whole.usage.input_tokens);
    });

    test('thinking is a block, where it is asked for', async () => {
      for (const stream of [false, true]) {
        const complete = (more) => {
          const params = body({ max_tokens: 2000, messages: [{ role: 'user', content: 'What is 3 + 4?' }], ...more });
          return stream ? client.messages.stream(params).finalMessage() : client.messages.create(params);
        };
        const open = await complete({ thinking: { type: 'enabled', budget_tokens: 1024 } });
        assert.equal(open.content[0].type, 'thinking');
        assert.ok(open.content[0].thinking.length > 0 && open.content[0].signature.length > 0);
        const hidden = await complete({});
        assert.ok(hidden.content.every((block) => block.type === 'text'));
        const next = await complete({
          thinking: { type: 'enabled', budget_tokens: 1024 },
          messages: [{ role: 'user', content: 'What is 3 + 4?' }, { role: 'assistant', content: open.content },
            { role: 'user', content: 'And 2 + 2?' }],
        });
        assert.equal(next.role, 'assistant');
      }
      at.recorder.assertValid(6);
    });

    test('tokens are counted', async () => {
      const counted = await client.messages.countTokens({ model: MODEL, messages: [{ role: 'user', content: QUESTION }] });
      assert.equal(counted.input_tokens, (await ask({ max_tokens: 1 })).usage.input_tokens);
      at.recorder.assertValid(2);
    });

    test('models', async () => {
      const ids = [];
      for await (const model of client.models.list()) ids.push(model.id);
      assert.deepEqual(ids, [MODEL]);
      assert.equal((await client.models.retrieve(MODEL)).type, 'model');
      at.recorder.assertValid(2);
    });

    test('aborts', async () => {
      for await (const event of await ask({ stream: true, max_tokens: 4000, ...LONG })) {
        if (event.type === 'content_block_delta') break;
      }
      const stream = client.messages.stream(body({ max_tokens: 4000, ...LONG }));
      stream.once('text', () => stream.abort());
      await assert.rejects(stream.done(), Anthropic.APIUserAbortError);
      assert.equal((await ask({ max_tokens: 1, ...LONG })).stop_reason, 'max_tokens');
    });

    test('typed errors', async () => {
      await assert.rejects(connect({ apiKey: 'sk-db-wrong' }).messages.create(body()), (e) => {
        assert.ok(e instanceof Anthropic.AuthenticationError, `${e}`);
        assert.equal(e.error.error.type, 'authentication_error');
        assert.ok(e.requestID);
        return true;
      });
      for (const stream of [false, true]) {
        await assert.rejects(ask({ model: 'nobody/knows', stream }), (e) => {
          assert.ok(e instanceof Anthropic.NotFoundError, `${e}`);
          assert.equal(e.error.error.type, 'not_found_error');
          return true;
        });
      }
      for (const more of [
        { max_tokens: undefined }, { max_tokens: 0 }, { messages: [] }, { temperature: 3 },
        { tool_choice: { type: 'any' } }, { tools: [weather], tool_choice: { type: 'tool', name: 'unheard' } },
        { messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA==' } }] }] },
      ]) {
        await assert.rejects(ask(more), (e) => {
          assert.ok(e instanceof Anthropic.BadRequestError, `${JSON.stringify(more)}: ${e}`);
          assert.equal(e.error.error.type, 'invalid_request_error');
          return true;
        });
      }
      at.recorder.assertValid(10);
    });
  });
}
