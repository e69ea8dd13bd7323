// Everything that real clients were seen to send: sent again, with headers as they were and texts
// of the recorded lengths put back. Nothing may be refused, and every answer must be valid.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { dataFolder, startNode, suiteContext } from '../../integration/harness.mjs';
import { parseEvents, problems } from './contract.mjs';
import { KEY, MODEL } from './support.mjs';

const folder = dataFolder('client-requests');
const WORDS = 'the node answers every question that a client of any kind may ask of it and counts what it took ';

/** Puts texts of the given lengths, ids and keys where the recordings have marks. */
function refill(value) {
  if (typeof value === 'string') {
    const length = /^<text:(\d+)>$/.exec(value)?.[1];
    if (length) return WORDS.repeat(Math.ceil(length / WORDS.length)).slice(0, Number(length));
    return value.replaceAll('<id>', '0123456789abcdef').replaceAll('<key>', KEY);
  }
  if (Array.isArray(value)) return value.map(refill);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, refill(inner)]));
}

/** Sends exactly these headers (fetch would add its own) and reads the whole answer. */
function send(url, { method, target, headers, body }) {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const own = { ...headers };
    delete own['content-length'];
    // Answers are read as they are.
    delete own['accept-encoding'];
    if (payload) own['content-length'] = payload.length;
    const request = http.request(url + target, { method, headers: own }, (response) => {
      const chunks = [];
      response.on('data', (d) => chunks.push(d));
      response.on('end', () => resolve({
        method, path: new URL(url + target).pathname, request: body, status: response.statusCode,
        headers: new Headers(response.headers), text: Buffer.concat(chunks).toString(), complete: true,
      }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(payload);
  });
}

// The ends of the answers: a node that serves nothing but these tests need not write novels.
const BOUND = 64;
const bounded = (body) => {
  const out = { ...body, model: MODEL };
  for (const name of ['max_tokens', 'max_completion_tokens', 'max_output_tokens']) {
    if (name in out) out[name] = Math.min(out[name], BOUND);
  }
  // Without a bound, a model that was asked for an object may go on with it for long.
  if (out.response_format) out.max_tokens ??= BOUND * 4;
  return out;
};

describe('recorded requests', { skip: folder ? false : 'no recordings' }, () => {
  const suite = suiteContext();
  let node;
  after(() => suite.done());
  before(async () => { node = await startNode(suite); });

  for (const file of folder ? fs.readdirSync(folder).filter((name) => name.endsWith('.json')).sort() : []) {
    const recorded = JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8'));
    recorded.forEach((request, i) => {
      const agent = request.headers['user-agent']?.split(/[\s(]/)[0];
      test(`${file} ${i}: ${agent} ${request.method} ${request.target}${request.body?.stream ? ' streamed' : ''}`, async () => {
        const { tools_left_out: _, ...body } = request.body ?? {};
        const answer = await send(node.url, {
          method: request.method, target: request.target, headers: refill(request.headers),
          body: request.body ? bounded(refill(body)) : undefined,
        });
        if (request.target === '/v1/embeddings') {
          // No embedding model is loaded: said clearly, in the shape that clients read.
          assert.ok(answer.status >= 400 && answer.status < 500, answer.text);
          assert.match(JSON.parse(answer.text).error.message, /embedding/i);
        } else {
          assert.ok(answer.status >= 200 && answer.status < 300, `${answer.status} ${answer.text}`);
        }
        assert.deepEqual(problems(answer), [], answer.text.slice(0, 20_000));
        if (request.body?.stream) {
          assert.match(answer.headers.get('content-type'), /^text\/event-stream/);
          assert.ok(parseEvents(answer.text).length >= 3);
        }
      });
    });
  }
});
