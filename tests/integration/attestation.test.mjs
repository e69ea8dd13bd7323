// Who answered, and is it intact: identity headers, signatures of every dialect, the attestation of the node, the
// identity key on disk, and `darkbloom verify-response`.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { OWNER_KEY, runBinary, startNode, suiteContext, temporaryFolder } from './harness.mjs';
import { derToRaw, fromBase64, nodeIdOf, NotVerified, verifyBody, verifyFresh, verifyStream } from './verifier.mjs';

const MODEL = 'darkbloom/nano';
const turn = [{ role: 'user', content: 'Hello!' }];
const DIALECTS = {
  chat: { path: '/v1/chat/completions', body: { model: MODEL, messages: turn, max_tokens: 8, temperature: 0 } },
  completions: { path: '/v1/completions', body: { model: MODEL, prompt: 'Hello', max_tokens: 8, temperature: 0 } },
  responses: { path: '/v1/responses', body: { model: MODEL, input: 'Hello!', max_output_tokens: 16, temperature: 0 } },
  messages: { path: '/v1/messages', body: { model: MODEL, messages: turn, max_tokens: 8, temperature: 0 } },
};

async function refuses(check) {
  await assert.rejects(check, (failure) => failure instanceof NotVerified || failure instanceof SyntaxError
    || failure instanceof TypeError || failure.name === 'DataError' || failure.name === 'OperationError');
}

/** Runs `check` with each byte changed in turn; every one of them must fail. */
async function eachFlipFails(bytes, check) {
  for (let i = 0; i < bytes.length; ++i) {
    const bad = Uint8Array.from(bytes);
    bad[i] ^= 1;
    await assert.rejects(check(bad), undefined, `byte ${i} of ${bytes.length}`);
  }
}

describe('attestation', () => {
  const suite = suiteContext();
  let node;
  let dataDir;
  const dialects = Object.entries(DIALECTS).map(([name, dialect]) => ({ name, ...dialect }));
  after(() => suite.done());
  before(async () => {
    dataDir = temporaryFolder(suite);
    node = await startNode(suite, { dataDir });
  });

  const post = (dialect, extra = {}, headers = {}, query = '') => fetch(node.url + dialect.path + query, {
    method: 'POST', headers: { ...node.headers, ...headers }, body: JSON.stringify({ ...dialect.body, ...extra }),
  });
  const bytesOf = async (response) => new Uint8Array(await response.arrayBuffer());
  const listed = async () => (await (await fetch(`${node.url}/v1/providers/attestation`)).json()).providers[0];

  test('headers name the machine, in every dialect', async () => {
    for (const dialect of dialects) {
      for (const stream of [false, true]) {
        const response = await post(dialect, { stream });
        await response.text();
        assert.equal(response.status, 200, dialect.name);
        const header = (name) => response.headers.get(name);
        assert.equal(header('x-provider-attested'), 'true');
        assert.equal(header('x-provider-trust-level'), 'self_signed');
        assert.equal(header('x-provider-secure-enclave'), 'false');
        assert.equal(header('x-provider-encrypted'), null);
        assert.ok(header('x-provider-chip'));
        assert.ok(header('x-provider-model'));
        assert.match(header('x-provider-serial'), /^db1-[a-z2-7]{16}$/);
        assert.equal(header('x-provider-serial'), `db1-${header('x-provider-id')}`);
        assert.equal(await nodeIdOf(fromBase64(header('x-attestation-se-public-key'))), header('x-provider-id'));
        const timing = JSON.parse(header('x-timing'));
        assert.deepEqual(Object.keys(timing), ['parse_us', 'reserve_us', 'route_us', 'queue_us', 'dispatch_us', 'provider_us']);
        for (const us of Object.values(timing)) assert.ok(Number.isInteger(us) && us >= 0);
        assert.equal(header('content-encoding'), null);
      }
    }
  });

  test('an error before a machine was chosen names none', async () => {
    for (const dialect of dialects) {
      const response = await post(dialect, { model: 'nobody/nothing' });
      await response.text();
      assert.equal(response.status, 404);
      for (const name of ['x-provider-id', 'x-se-signature', 'x-response-hash', 'x-attestation-se-public-key']) {
        assert.equal(response.headers.get(name), null, name);
      }
    }
  });

  test('whole answers verify, and no changed byte does', async () => {
    const trusted = (await listed()).identity_public_key;
    for (const dialect of dialects) {
      const request = JSON.stringify(dialect.body);
      // A client that would take compressed bodies gets the signed bytes all the same.
      const response = await post(dialect, {}, { 'accept-encoding': 'gzip, br' });
      const body = await bytesOf(response);
      const header = (name) => response.headers.get(name);
      const statement = await verifyBody(body, header, trusted);
      assert.equal(statement.request_hash, createHash('sha256').update(request).digest('hex'));
      assert.equal(statement.model, MODEL);
      assert.equal(JSON.parse(new TextDecoder().decode(body)).id, statement.response_id);
      assert.ok(statement.prompt_tokens > 0 && statement.completion_tokens > 0);
      assert.match(statement.finish_reason, /^(stop|length)$/);
      assert.ok(Math.abs(statement.ts - Date.now() / 1000) < 600);
      await eachFlipFails(body, (bad) => verifyBody(bad, header, trusted));
      for (const name of ['x-response-hash', 'x-se-signature', 'x-response-statement', 'x-response-statement-signature', 'x-attestation-se-public-key']) {
        await eachFlipFails(new TextEncoder().encode(header(name)),
          (bad) => verifyBody(body, (n) => (n === name ? new TextDecoder().decode(bad) : header(n)), trusted));
      }
    }
  });

  test('streams verify, and no changed byte does', async () => {
    const trusted = (await listed()).identity_public_key;
    for (const dialect of dialects) {
      const response = await post(dialect, { stream: true });
      const bytes = await bytesOf(response);
      const statement = await verifyStream(bytes, trusted);
      assert.equal(statement.request_hash, createHash('sha256').update(JSON.stringify({ ...dialect.body, stream: true })).digest('hex'));
      assert.ok(new TextDecoder().decode(bytes).includes(statement.response_id));
      await eachFlipFails(bytes, (bad) => verifyStream(bad, trusted));
      await refuses(verifyStream(bytes.subarray(0, bytes.length >> 1), trusted));
      const noDone = new TextDecoder().decode(bytes).replace('data: [DONE]\n\n', '');
      assert.equal((await verifyStream(new TextEncoder().encode(noDone), trusted)).response_id, statement.response_id);
      const last = new TextDecoder().decode(bytes).trimEnd().split('\n\n').at(-1);
      assert.ok(last === 'data: [DONE]' || last.startsWith(': darkbloom-signature '), last);
    }
  });

  test('answers of every shape verify, many at once', async () => {
    const trusted = (await listed()).identity_public_key;
    const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] } } }];
    const shapes = [
      [DIALECTS.chat, { n: 3, logprobs: true, top_logprobs: 2, temperature: 1 }],
      [DIALECTS.chat, { messages: [{ role: 'user', content: 'Grüße — 你好 😀' }], max_tokens: 40 }],
      [DIALECTS.chat, { tools, tool_choice: 'required', max_tokens: 60 }],
      [DIALECTS.chat, { stream_options: { include_usage: true }, stop: ['e'] }],
      [DIALECTS.completions, { prompt: ['One', 'Two'], echo: true, n: 2 }],
      [DIALECTS.responses, { input: [{ role: 'user', content: 'Hello!' }], instructions: 'Be brief.', store: true }],
      [DIALECTS.messages, { system: 'Be brief.', stop_sequences: ['z'] }],
    ];
    await Promise.all(shapes.flatMap(([dialect, extra]) => [true, false, true, false].map(async (stream) => {
      const { stream_options: usage, ...rest } = extra;
      const response = await post(dialect, { ...rest, ...(stream && usage ? { stream_options: usage } : {}), stream });
      const bytes = await bytesOf(response);
      assert.equal(response.status, 200, new TextDecoder().decode(bytes));
      const statement = stream ? await verifyStream(bytes, trusted) : await verifyBody(bytes, (name) => response.headers.get(name), trusted);
      const n = (rest.n ?? 1) * (Array.isArray(rest.prompt) ? rest.prompt.length : 1);
      assert.equal(statement.finish_reason.split(',').length, n);
    })));
  });

  test('an event that is put into a stream is noticed, however it is dressed up', async () => {
    const text = await (await post(DIALECTS.chat, { stream: true })).text();
    const at = text.indexOf('\n\n') + 2;
    for (const added of ['data: {}\n\n', ': note\ndata: {}\n\n', ': note\rdata: {}\n\n', 'event: ping\ndata: {"choices":[]}\n\n']) {
      await refuses(verifyStream(new TextEncoder().encode(text.slice(0, at) + added + text.slice(at))));
    }
    for (const added of [': keep-alive\n\n', 'event: ping\ndata: {"type":"ping"}\n\n']) {
      await verifyStream(new TextEncoder().encode(text.slice(0, at) + added + text.slice(at)));
    }
  });

  test('streams carry hash and signature as trailers, too', async () => {
    for (const headers of [{}, { te: 'trailers', connection: 'TE' }]) {
      const body = JSON.stringify({ ...DIALECTS.chat.body, stream: true });
      const response = await new Promise((resolve, reject) => {
        const request = http.request(node.url + DIALECTS.chat.path, {
          method: 'POST', headers: { ...node.headers, ...headers, 'content-length': Buffer.byteLength(body) },
        }, resolve);
        request.on('error', reject);
        request.end(body);
      });
      assert.equal(response.headers.trailer, 'x-response-hash, x-se-signature');
      const chunks = [];
      for await (const chunk of response) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      const evidence = JSON.parse(/^: darkbloom-signature (.*)$/m.exec(text)[1]);
      assert.equal(response.trailers['x-response-hash'], evidence.response_hash);
      assert.equal(response.trailers['x-se-signature'], evidence.se_signature);
    }
  });

  test('the node tells about itself, and what is not proven', async () => {
    const response = await fetch(`${node.url}/v1/providers/attestation`); // public
    assert.equal(response.status, 200);
    const { providers, count } = await response.json();
    assert.equal(count, 1);
    const [provider] = providers;
    assert.equal(provider.provider_id, await nodeIdOf(fromBase64(provider.identity_public_key)));
    assert.equal(provider.serial_number, `db1-${provider.provider_id}`);
    assert.equal(provider.trust_level, 'self_signed');
    assert.equal(provider.attestation_scheme, 'software-p256');
    assert.equal(provider.scope, 'same-operator');
    assert.equal(provider.secure_enclave, false);
    assert.equal(provider.sip_enabled, null);
    assert.equal(provider.se_public_key, provider.identity_public_key);
    assert.ok(provider.models.some((model) => model.id === MODEL));
    assert.match(provider.build_id, /^[0-9a-f]{64}$/);
    assert.ok(provider.memory_gb > 0);
    assert.equal(provider.claims.find((c) => c.claim === 'operator_cannot_read_prompts').value, false);
    const one = await fetch(`${node.url}/v1/providers/${provider.provider_id}/attestation`);
    assert.equal((await one.json()).provider_id, provider.provider_id);
    const other = await fetch(`${node.url}/v1/providers/aaaaaaaaaaaaaaaa/attestation`);
    assert.equal(other.status, 404);
    assert.equal((await other.json()).error.code, 'unknown_provider');
  });

  test('a fresh statement is bound to the nonce of the caller', async () => {
    const { provider_id: id } = await listed();
    const nonce = randomBytes(32);
    const response = await fetch(`${node.url}/v1/providers/${id}/attestation?nonce=${nonce.toString('base64url')}`);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('cache-control'), 'no-store');
    const answer = await response.json();
    const status = await verifyFresh(answer, nonce);
    assert.equal(status.v, 2);
    assert.ok(Math.abs(Date.parse(status.timestamp) - Date.now()) < 600_000);
    await refuses(verifyFresh(answer, randomBytes(32)));
    await refuses(verifyFresh({ ...answer, n_leaves: 2 }, nonce));
    for (const bad of ['', 'x', randomBytes(31).toString('base64url'), `${randomBytes(32).toString('base64url')}AA`]) {
      const refused = await fetch(`${node.url}/v1/providers/${id}/attestation?nonce=${bad}`);
      assert.equal(refused.status, 400, bad);
      assert.equal((await refused.json()).error.param, 'nonce');
    }
  });

  test('pins take the serial that responses name', async () => {
    const serial = (await listed()).serial_number;
    for (const dialect of dialects) {
      for (const pin of [{ provider_serial: serial }, { provider_serial: ['x', serial] }, { provider_serials: ` ${serial} ` },
        { provider_serials: [serial, serial], provider_serial: 'x' }]) {
        const response = await post(dialect, pin);
        await response.text();
        assert.equal(response.status, 200, JSON.stringify(pin));
        assert.equal(response.headers.get('x-provider-serial'), serial);
      }
      const pinned = await post(dialect, { provider_serial: 'db1-aaaaaaaaaaaaaaaa' });
      await pinned.text();
      assert.equal(pinned.status, dialect.name === 'messages' ? 529 : 503);
      assert.ok(pinned.headers.get('retry-after'));
      assert.equal(pinned.headers.get('x-provider-serial'), null);
      for (const bad of [{ provider_serial: '' }, { provider_serials: [] }, { provider_serial: 7 }, { provider_serials: [7] }]) {
        const refused = await post(dialect, bad);
        await refused.text();
        assert.equal(refused.status, 400, JSON.stringify(bad));
      }
    }
  });

  test('metadata in the body on request, three ways', async () => {
    const ways = [[{ metadata_details: true }, {}, ''], [{}, { 'X-Darkbloom-Metadata-Details': 'true' }, ''], [{}, {}, '?metadata=details']];
    for (const [extra, headers, query] of ways) {
      const response = await post(DIALECTS.chat, extra, headers, query);
      const { metadata } = await response.json();
      assert.equal(metadata.provider_id, response.headers.get('x-provider-id'));
      assert.equal(metadata.provider_attested, true);
      assert.equal(metadata.provider_trust_level, 'self_signed');
      assert.equal(metadata.provider_secure_enclave, false);
      assert.equal(metadata.attestation_se_public_key, response.headers.get('x-attestation-se-public-key'));
      assert.equal(metadata.job_id, response.headers.get('x-inference-job-id'));
      assert.ok(Number.isInteger(metadata.timing.parse_us));
      const stream = await (await post(DIALECTS.chat, { ...extra, stream: true }, headers, query)).text();
      await verifyStream(new TextEncoder().encode(stream));
      const chunks = stream.split('\n\n').filter((b) => b.startsWith('data: {')).map((b) => JSON.parse(b.slice(6)));
      assert.equal(chunks.at(-1).metadata.provider_id, metadata.provider_id);
      assert.ok(chunks.slice(0, -1).every((chunk) => chunk.metadata === undefined));
    }
    assert.equal((await (await post(DIALECTS.chat)).json()).metadata, undefined);
  });

  test('verify-response: head and body, dumps, streams', async (t) => {
    const folder = temporaryFolder(t);
    const file = (name, bytes) => {
      fs.writeFileSync(path.join(folder, name), bytes);
      return path.join(folder, name);
    };
    const key = (await listed()).identity_public_key;
    const request = JSON.stringify(DIALECTS.chat.body);
    const response = await post(DIALECTS.chat);
    const body = Buffer.from(await response.arrayBuffer());
    const head = `HTTP/1.1 200 OK\r\n${[...response.headers].map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n`;
    const apart = ['--headers', file('head', head), '--body', file('body', body)];

    const fine = await runBinary(['verify-response', ...apart, '--key', key, '--request', file('request', request)]);
    assert.equal(fine.code, 0, fine.stderr);
    assert.match(fine.stdout, /^verified: signed by node [a-z2-7]{16}$/m);
    assert.match(fine.stdout, /not proven/);
    const byUrl = await runBinary(['verify-response', file('dump', Buffer.concat([Buffer.from(head), body])), '--url', node.url, '--json']);
    assert.equal(byUrl.code, 0, byUrl.stderr);
    const verdict = JSON.parse(byUrl.stdout);
    assert.equal(verdict.verified, true);
    assert.equal(verdict.key_from, 'url');
    assert.equal(verdict.statement.response_id, JSON.parse(body).id);
    assert.equal(verdict.public_key, key);
    const alone = await runBinary(['verify-response', ...apart]);
    assert.equal(alone.code, 0);
    assert.match(alone.stdout, /came with the response/);

    const stream = Buffer.from(await (await post(DIALECTS.chat, { stream: true })).arrayBuffer());
    assert.equal((await runBinary(['verify-response', file('stream', stream), '--key', key])).code, 0);
    assert.equal((await runBinary(['verify-response', '-', '--key', key], { input: stream })).code, 0);

    const flip = (bytes, at) => Buffer.from(bytes.map((b, i) => (i === at ? b ^ 1 : b)));
    const failures = [
      ['--headers', apart[1], '--body', file('bad', flip(body, body.length >> 1))],
      [file('badstream', flip(stream, 40)), '--key', key],
      [file('cut', stream.subarray(0, stream.length >> 1)), '--key', key],
      ['--body', apart[3], '--key', key], // without its head
      [...apart, '--request', file('other', `${request} `)],
      [...apart, '--key', 'BGD+1LolWp0xyWHrdMY1bWjASbiSO2H6bOZpYi5g8p+2eQP+EAi4vJmkGunpVii8ZPLxsgwtfp9Rd6PClNRGIpk='],
    ];
    for (const args of failures) {
      const bad = await runBinary(['verify-response', ...args]);
      assert.equal(bad.code, 1, args.join(' '));
      assert.match(bad.stderr, /^not verified: /);
      assert.equal(bad.stdout, '');
    }
    for (const args of [[], ['--headers', apart[1]], [...apart, '--key', 'AAAA'], [...apart, '--key', key, '--url', node.url]]) {
      assert.equal((await runBinary(['verify-response', ...args])).code, 2, args.join(' '));
    }
    const missing = await runBinary(['verify-response', path.join(folder, 'nowhere')]);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /nowhere/);
    const notAFile = await runBinary(['verify-response', folder]);
    assert.equal(notAFile.code, 1);
    assert.ok(notAFile.stderr.includes(`${folder}: cannot be read`), notAFile.stderr);
  });

  test('verify-response reads what curl writes', async (t) => {
    if (spawnSync('curl', ['--version']).status !== 0) return t.skip('no curl on this machine');
    const folder = temporaryFolder(t);
    for (const [name, extra] of [['whole', {}], ['stream', { stream: true }]]) {
      const args = ['-sN', '-H', `Authorization: Bearer ${OWNER_KEY}`, '-H', 'Content-Type: application/json',
        '-d', JSON.stringify({ ...DIALECTS.chat.body, ...extra }), node.url + DIALECTS.chat.path];
      const dump = path.join(folder, `${name}.dump`);
      const body = path.join(folder, `${name}.body`);
      const head = path.join(folder, `${name}.head`);
      fs.writeFileSync(dump, spawnSync('curl', ['-i', ...args]).stdout);
      assert.equal(spawnSync('curl', ['-D', head, '-o', body, ...args]).status, 0);
      for (const files of [[dump], ['--headers', head, '--body', body]]) {
        const done = await runBinary(['verify-response', ...files, '--url', node.url]);
        assert.equal(done.code, 0, `${files}: ${done.stderr}`);
      }
    }
  });

  test('the identity is kept over a restart, in a file of its own', async (t) => {
    const before = await listed();
    const file = path.join(dataDir, 'identity-key.pem');
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    assert.match(fs.readFileSync(file, 'utf8'), /^-----BEGIN PRIVATE KEY-----\n/);
    const copy = temporaryFolder(t);
    fs.copyFileSync(file, path.join(copy, 'identity-key.pem'));
    fs.chmodSync(path.join(copy, 'identity-key.pem'), 0o600);
    const again = await startNode(t, { dataDir: copy, args: ['--model', 'bench:null'] });
    const { providers } = await (await fetch(`${again.url}/v1/providers/attestation`)).json();
    assert.equal(providers[0].provider_id, before.provider_id);
    assert.ok(!again.log.stderr.includes('PRIVATE'));
  });

  test('a key file that is damaged, or that others can read, ends the start with a reason', async (t) => {
    const folder = temporaryFolder(t);
    const file = path.join(folder, 'identity-key.pem');
    const start = () => runBinary(['serve', '--listen', '127.0.0.1:0', '--data-dir', folder, '--model', 'bench:null'],
      { env: { DARKBLOOM_OWNER_KEY: OWNER_KEY } });
    fs.writeFileSync(file, 'nonsense', { mode: 0o600 });
    const damaged = await start();
    assert.equal(damaged.code, 1);
    assert.match(damaged.stderr, /identity-key\.pem.*delete it/);
    assert.equal(fs.readFileSync(file, 'utf8'), 'nonsense');
    fs.copyFileSync(path.join(dataDir, 'identity-key.pem'), file);
    fs.chmodSync(file, 0o644);
    const open = await start();
    assert.equal(open.code, 1);
    assert.match(open.stderr, /identity-key\.pem.*0644.*chmod 600/);
    const wrong = await runBinary(['serve', '--data-dir', folder, '--provider-serial', 'mine']);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /provider\.serial/);
  });

  test('the verifier itself refuses what is not strict DER', () => {
    const good = fromBase64('MEYCIQDv1IsqrLao/RFA3ZzUXoHWnSyHe1aq+ZHDTQ6oTq83FgIhAPfLHJQtZXxB1Dbzobbin2Xz6QDbua/0Bk3Eqy+EOs2o');
    assert.equal(derToRaw(good).length, 64);
    for (const bad of [good.subarray(0, 70), Uint8Array.of(...good, 0), Uint8Array.of(0x30, 0x03, 0x02, 0x01, 0x01),
      Uint8Array.of(0x30, 0x81, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01), Uint8Array.of(0x30, 0x06, 0x02, 0x01, 0x81, 0x02, 0x01, 0x01),
      Uint8Array.of(0x30, 0x07, 0x02, 0x02, 0x00, 0x01, 0x02, 0x01, 0x01)]) {
      assert.throws(() => derToRaw(bad), NotVerified);
    }
  });
});
