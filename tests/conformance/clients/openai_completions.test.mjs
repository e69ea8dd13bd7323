// The openai package on the legacy completions.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { KEY, LONG, MODEL, service } from './support.mjs';

const PROMPT = 'Darkbloom is';

describe('openai: completions', () => {
  const at = service();
  let client;
  before(() => { client = new OpenAI({ apiKey: KEY, baseURL: `${at.url}/v1`, maxRetries: 0, fetch: at.fetch }); });
  const ask = (body = {}, options) =>
    client.completions.create({ model: MODEL, prompt: PROMPT, temperature: 0, max_tokens: 16, ...body }, options);
  const streamed = async (body) => {
    const texts = [];
    let usage;
    for await (const chunk of await ask({ ...body, stream: true, stream_options: { include_usage: true } })) {
      for (const choice of chunk.choices) texts[choice.index] = (texts[choice.index] ?? '') + choice.text;
      usage = chunk.usage ?? usage;
    }
    return { texts, usage };
  };

  test('text, whole and streamed', async () => {
    const whole = await ask();
    assert.match(whole.id, /^cmpl-/);
    assert.equal(whole.object, 'text_completion');
    assert.equal(whole.choices[0].logprobs, null);
    const { texts, usage } = await streamed({});
    assert.deepEqual(texts, [whole.choices[0].text]);
    assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
    at.recorder.assertValid(2);
  });

  test('several prompts, several choices', async () => {
    const whole = await ask({ prompt: ['One', 'Two'], n: 2, temperature: 1, seed: 4 });
    assert.deepEqual(whole.choices.map((c) => c.index), [0, 1, 2, 3]);
    const { texts } = await streamed({ prompt: ['One', 'Two'], n: 2, temperature: 1, seed: 4 });
    assert.deepEqual(texts, whole.choices.map((c) => c.text));
    at.recorder.assertValid(2);
  });

  test('echo', async () => {
    const whole = await ask({ echo: true });
    assert.ok(whole.choices[0].text.startsWith(PROMPT));
    assert.equal(whole.choices[0].text.slice(PROMPT.length), (await ask()).choices[0].text);
    const { texts } = await streamed({ echo: true });
    assert.deepEqual(texts, [whole.choices[0].text]);
  });

  test('token ids are a prompt too', async () => {
    const one = await ask({ prompt: [65, 66, 67], max_tokens: 4 });
    assert.equal(one.usage.prompt_tokens, 3);
    const two = await ask({ prompt: [[65, 66, 67], [68]], max_tokens: 4 });
    assert.equal(two.choices.length, 2);
    assert.equal(two.choices[0].text, one.choices[0].text);
    await assert.rejects(ask({ prompt: [1 << 30] }), (e) => e instanceof OpenAI.BadRequestError && /token id/.test(e.message));
  });

  test('log probabilities', async () => {
    const { choices: [{ text, logprobs }] } = await ask({ logprobs: 3 });
    assert.equal(logprobs.tokens.join(''), text);
    const n = logprobs.tokens.length;
    assert.equal(logprobs.token_logprobs.length, n);
    assert.equal(logprobs.top_logprobs.length, n);
    assert.deepEqual(logprobs.text_offset, logprobs.tokens.map((_, i) => logprobs.tokens.slice(0, i).join('').length));
    logprobs.top_logprobs.forEach((top, i) => {
      assert.ok(Object.keys(top).length >= 3);
      assert.equal(top[logprobs.tokens[i]], logprobs.token_logprobs[i]);
    });
    await assert.rejects(ask({ logprobs: 6 }), (e) => e instanceof OpenAI.BadRequestError && e.param === 'logprobs');
  });

  test('stop strings', async () => {
    const text = (await ask({ max_tokens: 48 })).choices[0].text;
    const stop = text.slice(6, 9);
    const cut = await ask({ max_tokens: 48, stop });
    assert.equal(cut.choices[0].text, text.slice(0, text.indexOf(stop)));
    assert.equal(cut.choices[0].finish_reason, 'stop');
  });

  test('aborts', async () => {
    let seen = 0;
    for await (const chunk of await ask({ stream: true, max_tokens: 4000, ...LONG })) {
      assert.ok(chunk.choices);
      if (++seen === 2) break;
    }
    assert.equal((await ask({ max_tokens: 1, ...LONG })).usage.completion_tokens, 1);
  });

  test('typed errors', async () => {
    const stranger = new OpenAI({ apiKey: 'sk-db-wrong', baseURL: `${at.url}/v1`, maxRetries: 0, fetch: at.fetch });
    await assert.rejects(stranger.completions.create({ model: MODEL, prompt: 'x' }), OpenAI.AuthenticationError);
    await assert.rejects(ask({ model: 'nobody/knows' }), OpenAI.NotFoundError);
    for (const [body, param] of [
      [{ suffix: 'end' }, 'suffix'], [{ best_of: 2 }, 'best_of'], [{ temperature: 3 }, 'temperature'], [{ prompt: 7 }, 'prompt'],
    ]) {
      await assert.rejects(ask(body), (e) => e instanceof OpenAI.BadRequestError && e.param === param);
    }
  });
});
