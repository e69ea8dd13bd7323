// Structured output of a model that cannot be trusted to know JSON: whatever it samples at
// temperature 1 follows the caller's schema, or was cut by the bound and says so.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startNode, suiteContext } from '../../integration/harness.mjs';
import { validatorOf } from './schemas.mjs';
import { MODEL } from './support.mjs';

const CASES = Number(process.env.DARKBLOOM_STRUCTURED_CASES ?? 100);
const PARALLEL = 8;
const BOUND = 400;

const object = (properties, more = {}) =>
  ({ type: 'object', properties, required: Object.keys(properties), additionalProperties: false, ...more });
const short = { type: 'string', maxLength: 12 };

const SCHEMAS = {
  flags: object({ sure: { type: 'boolean' }, odd: { type: 'boolean' }, nothing: { type: 'null' } }),
  numbers: object({ count: { type: 'integer', minimum: -20, maximum: 300 }, share: { type: 'number', minimum: 0, maximum: 1 } }),
  strings: object({ name: { type: 'string', minLength: 2, maxLength: 20 }, code: { type: 'string', pattern: '^[A-Z]{3}-[0-9]{2,4}$' } }),
  formats: object({ day: { type: 'string', format: 'date' }, id: { type: 'string', format: 'uuid' } }),
  choices: object({ colour: { enum: ['red', 'green', 'dark blue', 3, null] }, kind: { const: 'fixed' } }),
  optional: { type: 'object', properties: { a: short, b: { type: 'integer' }, c: { type: 'boolean' } }, required: ['b'], additionalProperties: false },
  list: object({ items: { type: 'array', items: { type: 'integer', minimum: 0, maximum: 99 }, minItems: 2, maxItems: 5 } }),
  tuple: { type: 'array', prefixItems: [short, { type: 'boolean' }], items: false, minItems: 2 },
  nested: object({
    who: object({ name: short, address: object({ street: short, number: { type: 'integer', minimum: 1, maximum: 999 } }) }),
    tags: { type: 'array', items: { enum: ['x', 'y', 'z'] }, maxItems: 3 },
  }),
  either: { anyOf: [object({ text: short }), object({ number: { type: 'integer' } }), { type: 'null' }] },
  chain: {
    ...object({ root: { $ref: '#/$defs/node' } }),
    $defs: { node: object({ value: { type: 'integer', minimum: 0, maximum: 9 }, next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } }) },
  },
  union: object({ value: { type: ['string', 'integer', 'null'], maxLength: 6 }, more: { type: ['boolean', 'array'], items: { type: 'boolean' }, maxItems: 2 } }),
};

// How each dialect is asked, and where its answer and its end are.
const WAYS = {
  'chat completions': {
    path: '/v1/chat/completions',
    body: (schema, sampling) => ({
      ...sampling, messages: [{ role: 'user', content: 'Give an example.' }], max_tokens: BOUND,
      response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } },
    }),
    read: ({ choices: [{ message, finish_reason }] }) => ({ text: message.content, cut: finish_reason === 'length' }),
  },
  'chat tools': {
    path: '/v1/chat/completions',
    objectOnly: true,
    body: (schema, sampling) => ({
      ...sampling, messages: [{ role: 'user', content: 'Give an example.' }], max_tokens: BOUND, parallel_tool_calls: false,
      tools: [{ type: 'function', function: { name: 'answer', parameters: schema, strict: true } }], tool_choice: 'required',
    }),
    read: ({ choices: [{ message, finish_reason }] }) =>
      ({ text: message.tool_calls?.[0]?.function.arguments, cut: finish_reason === 'length' }),
  },
  responses: {
    path: '/v1/responses',
    body: (schema, { seed: _, ...sampling }) => ({
      ...sampling, input: 'Give an example.', max_output_tokens: BOUND,
      text: { format: { type: 'json_schema', name: 'answer', schema, strict: true } },
    }),
    read: ({ output, status }) =>
      ({ text: output.find((i) => i.type === 'message')?.content[0]?.text, cut: status === 'incomplete' }),
  },
  messages: {
    path: '/v1/messages',
    body: (schema, { seed: _, ...sampling }) => ({
      ...sampling, messages: [{ role: 'user', content: 'Give an example.' }], max_tokens: BOUND,
      output_config: { format: { type: 'json_schema', schema } },
    }),
    read: ({ content, stop_reason }) => ({ text: content.find((b) => b.type === 'text')?.text, cut: stop_reason === 'max_tokens' }),
  },
};

describe('structured output', () => {
  const suite = suiteContext();
  let node;
  after(() => suite.done());
  before(async () => { node = await startNode(suite); });

  const names = Object.keys(SCHEMAS);
  for (const [way, { path, body, read, objectOnly }] of Object.entries(WAYS)) {
    test(`${way}: every answer follows its schema`, async (t) => {
      const usable = names.filter((name) => !objectOnly || SCHEMAS[name].type === 'object');
      const n = Math.ceil(CASES / Object.keys(WAYS).length);
      let next = 0;
      let whole = 0;
      const worker = async () => {
        while (next < n) {
          const i = next++;
          const name = usable[i % usable.length];
          const schema = SCHEMAS[name];
          const response = await fetch(node.url + path, {
            method: 'POST', headers: node.headers,
            body: JSON.stringify(body(schema, { model: MODEL, temperature: 1, seed: i })),
          });
          const answer = await response.json();
          assert.equal(response.status, 200, `${name}: ${JSON.stringify(answer)}`);
          const { text, cut } = read(answer);
          if (cut) continue;
          whole += 1;
          const value = JSON.parse(text);
          const validate = validatorOf(schema);
          assert.ok(validate(value), `${name}, seed ${i}: ${text}\n${JSON.stringify(validate.errors)}`);
        }
      };
      await Promise.all(Array.from({ length: PARALLEL }, worker));
      t.diagnostic(`${whole} of ${n} were whole`);
      // Answers are short by their schema, so few of them can reach the bound.
      assert.ok(whole >= n * 0.6, `${whole} of ${n} were whole`);
    });
  }

  test('a schema that cannot be compiled is refused by the name of its keyword', async () => {
    for (const [keyword, schema] of [
      ['not', object({ a: { not: { type: 'string' } } })],
      ['uniqueItems', object({ a: { type: 'array', items: short, uniqueItems: true } })],
    ]) {
      for (const { path, body } of Object.values(WAYS)) {
        const response = await fetch(node.url + path, {
          method: 'POST', headers: node.headers, body: JSON.stringify(body(schema, { model: MODEL })),
        });
        const answer = await response.json();
        assert.ok(response.status === 400 || response.status === 422, `${path}: ${response.status}`);
        assert.ok(answer.error.message.includes(keyword), answer.error.message);
      }
    }
  });
});
