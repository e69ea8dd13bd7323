// The event streams that the encoder's own tests compare byte by byte, held against both published
// descriptions: among them what a healthy node rarely shows, a failure and a call that was cut.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { parseEvents, problems } from './contract.mjs';
import { haveSchemas, responseEventViolations } from './schemas.mjs';

const folder = path.resolve(import.meta.dirname, '..', '..', 'golden', 'dialect');
const streams = fs.readdirSync(folder).filter((name) => /^responses_.*\.sse$/.test(name));

const contract = (text) => problems({
  method: 'POST', path: '/v1/responses', request: {}, status: 200, complete: true, text,
  headers: new Headers({ 'content-type': 'text/event-stream; charset=utf-8', 'x-request-id': 'r' }),
});

describe('transcripts of the Responses encoder', { skip: haveSchemas ? false : 'no API descriptions' }, () => {
  test('there are some', () => assert.ok(streams.length >= 7, streams.join(' ')));
  for (const name of streams) {
    test(name, () => {
      const text = fs.readFileSync(path.join(folder, name), 'utf8');
      if (!name.includes('failed')) {
        assert.deepEqual(contract(text), []);
        return;
      }
      // The contract takes every failure for a fault: here only the shapes count, and the end.
      const events = parseEvents(text).map((e) => JSON.parse(e.data));
      for (const event of events) assert.deepEqual(responseEventViolations(event), []);
      assert.deepEqual(events.slice(-2).map((e) => e.type), ['error', 'response.failed']);
      assert.equal(events.at(-1).response.status, 'failed');
      assert.equal(events.at(-2).code, events.at(-2).error.code);
    });
  }
});
