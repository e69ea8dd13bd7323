// Many clients at once, clients that leave, clients that do not read.
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { OWNER_KEY, readEvents, startNode } from './harness.mjs';

const MODEL = 'darkbloom/nano';
const STREAMS = Number(process.env.DARKBLOOM_TEST_STREAMS ?? 500);
const ask = (extra) => ({ model: MODEL, messages: [{ role: 'user', content: 'What is Darkbloom?' }], ...extra });

test(`${STREAMS} concurrent streams: each complete and correct, memory flat after`, async (t) => {
  const node = await startNode(t);
  const whole = await (await node.chat(ask({ temperature: 0, max_tokens: 48 }))).json();
  const expected = whole.choices[0].message.content;
  const round = async () => {
    const answers = await Promise.all(Array.from({ length: STREAMS }, async () => {
      const response = await node.chat(ask({ temperature: 0, max_tokens: 48, stream: true }));
      assert.equal(response.status, 200);
      const events = await readEvents(response);
      assert.equal(events.at(-1), '[DONE]');
      return events.slice(0, -1).map((e) => JSON.parse(e).choices[0].delta.content ?? '').join('');
    }));
    for (const text of answers) assert.equal(text, expected);
  };
  await round();
  const after = node.residentBytes();
  const descriptors = node.openDescriptors();
  await round();
  await round();
  assert.ok(node.residentBytes() < after * 1.1 + (16 << 20), `${after} -> ${node.residentBytes()}`);
  assert.ok(node.openDescriptors() <= descriptors + STREAMS, 'descriptors leak');
});

test('a client that disconnects frees its slot', async (t) => {
  const node = await startNode(t);
  const running = async () => (await (await fetch(`${node.url}/health`)).json()).active_requests;
  const controllers = [];
  for (let i = 0; i < 24; ++i) {
    const controller = new AbortController();
    const response = await node.chat(ask({ stream: true, temperature: 2, seed: i, max_tokens: 8000 }),
      { signal: controller.signal });
    const reader = response.body.getReader();
    await reader.read();
    controllers.push(controller);
  }
  for (const controller of controllers) controller.abort();
  for (let i = 0; i < 200 && (await running()) > 0; ++i) await new Promise((r) => setTimeout(r, 10));
  assert.equal(await running(), 0);
  const response = await node.chat(ask({ max_tokens: 1 }));
  assert.equal(response.status, 200);
});

test('a reader that stops is cut by the stall limit and holds nothing after', async (t) => {
  const node = await startNode(t, { args: ['--write-stall-timeout', '1'] });
  const body = JSON.stringify(ask({ stream: true, temperature: 2, seed: 5, max_tokens: 60000 }));
  const socket = net.connect({ port: node.port, host: '127.0.0.1' });
  socket.on('error', () => {});
  socket.write(`POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${OWNER_KEY}\r\n`
    + `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  socket.pause();
  const running = async () => (await (await fetch(`${node.url}/health`)).json()).active_requests;
  for (let i = 0; i < 500 && (await running()) === 0; ++i) await new Promise((r) => setTimeout(r, 10));
  for (let i = 0; i < 3000 && (await running()) > 0; ++i) await new Promise((r) => setTimeout(r, 10));
  assert.equal(await running(), 0);
  socket.destroy();
});
