// The embedded model answers its own domain: held-out phrasings, greedily, judged by keyword.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { startNode } from './harness.mjs';

test('50 held-out questions, at least 80 % right', async (t) => {
  const file = path.resolve(import.meta.dirname, '..', '..', 'tools', 'nano', 'heldout.json');
  const questions = JSON.parse(fs.readFileSync(file, 'utf8'));
  assert.ok(questions.length >= 50);
  const node = await startNode(t);
  const wrong = [];
  for (const { question, any } of questions) {
    const response = await node.chat({
      model: 'darkbloom/nano', messages: [{ role: 'user', content: question }], temperature: 0, max_tokens: 120,
    });
    const answer = (await response.json()).choices[0].message.content;
    const right = any.some((word) => answer.toLowerCase().includes(word.toLowerCase()));
    const sentence = /[.!?]["')]*\s*$/.test(answer);
    if (!right || !sentence) wrong.push({ question, answer });
  }
  t.diagnostic(`${questions.length - wrong.length} of ${questions.length} right`);
  assert.ok(wrong.length <= questions.length * 0.2, JSON.stringify(wrong, null, 1));
});
