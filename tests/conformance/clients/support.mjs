// One node for the tests of a file, and a fetch whose answers are validated after each test.
import assert from 'node:assert/strict';
import { after, afterEach, before } from 'node:test';
import { OWNER_KEY, startNode, suiteContext } from '../../integration/harness.mjs';
import { Recorder } from './recorder.mjs';

export const MODEL = 'darkbloom/nano';
export const KEY = OWNER_KEY;
export const QUESTION = 'What is Darkbloom?';
/** An answer that goes on for a while, for what ends before it does. */
export const LONG = { temperature: 2, seed: 3 };

/** Call inside describe(): {url, node, recorder, fetch}, filled before the first test. */
export function service(options = {}) {
  const suite = suiteContext();
  const recorder = new Recorder();
  const out = { recorder, fetch: recorder.fetch };
  before(async () => {
    out.node = await startNode(suite, options);
    out.url = out.node.url;
  });
  afterEach(() => recorder.assertValid());
  after(() => suite.done());
  return out;
}

/** Tools whose arguments are short in any model's hands. */
export const WEATHER = {
  name: 'get_weather',
  description: 'The weather of a city.',
  schema: {
    type: 'object',
    properties: {
      city: { type: 'string', enum: ['Paris', 'Oslo', 'Rome'] },
      days: { type: 'integer', minimum: 1, maximum: 7 },
    },
    required: ['city', 'days'],
    additionalProperties: false,
  },
};
export const CLOCK = {
  name: 'get_time',
  description: 'The time in a zone.',
  schema: {
    type: 'object', properties: { zone: { type: 'string', maxLength: 8 } }, required: ['zone'],
    additionalProperties: false,
  },
};

/** Arguments of a call of WEATHER. */
export function assertWeather(value) {
  assert.deepEqual(Object.keys(value).sort(), ['city', 'days']);
  assert.ok(WEATHER.schema.properties.city.enum.includes(value.city), value.city);
  assert.ok(Number.isInteger(value.days) && value.days >= 1 && value.days <= 7, `${value.days}`);
}
