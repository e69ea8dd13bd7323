// The ai package takes it for granted that answers are stored: from the second turn on it refers to
// what was said instead of repeating it, with nothing configured.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText } from 'ai';
import { KEY, MODEL, QUESTION, service } from './support.mjs';

describe('ai: a conversation by reference', () => {
  const at = service();
  test('the second turn is answered as if everything had been sent', async () => {
    const model = createOpenAI({ apiKey: KEY, baseURL: `${at.url}/v1`, fetch: at.fetch })(MODEL);
    const ask = (messages) => generateText({ model, messages, maxRetries: 0, temperature: 0, maxOutputTokens: 60 });
    const first = await ask([{ role: 'user', content: 'Hello.' }]);
    const turns = (said) => [{ role: 'user', content: 'Hello.' }, ...said, { role: 'user', content: QUESTION }];
    const second = await ask(turns(first.response.messages));
    const { request } = at.recorder.exchanges.at(-1);
    assert.equal(request.input[1].type, 'item_reference');
    assert.equal('store' in request, false);
    const spelled = await ask(turns([{ role: 'assistant', content: first.text }]));
    assert.equal(second.usage.inputTokens, spelled.usage.inputTokens);
    assert.equal(second.text, spelled.text);
    at.recorder.assertValid(3);
  });
});
