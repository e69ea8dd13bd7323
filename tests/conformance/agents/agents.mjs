// Runs coding agents as a user would, in an empty environment, with a proxy between them and the
// node that keeps every exchange for the validators. Nothing else can be reached.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { OWNER_KEY, startNode, suiteContext, temporaryFolder } from '../../integration/harness.mjs';
import { problems } from '../clients/contract.mjs';

export const MODEL = 'darkbloom/nano';
export const KEY = OWNER_KEY;
const TIMEOUT_MS = 120_000;
// A port that refuses: where connections to anything but the node end.
const NOWHERE = 'http://127.0.0.1:9';

/** Forwards requests as they are and records them: {url, exchanges}. */
async function recordingProxy(t, target) {
  const exchanges = [];
  const server = http.createServer((request, response) => {
    const sent = [];
    request.on('data', (d) => sent.push(d));
    request.on('end', () => {
      const body = Buffer.concat(sent);
      const headers = { ...request.headers, host: new URL(target).host };
      delete headers['accept-encoding']; // answers are read as they are
      const onward = http.request(target + request.url, { method: request.method, headers }, (answer) => {
        const exchange = {
          method: request.method, path: request.url.split('?')[0], request: body.length ? JSON.parse(body) : undefined,
          status: answer.statusCode, headers: new Headers(answer.headers), text: '', complete: false,
        };
        exchanges.push(exchange);
        response.writeHead(answer.statusCode, answer.headers);
        answer.setEncoding('utf8');
        answer.on('data', (d) => {
          exchange.text += d;
          response.write(d);
        });
        answer.on('end', () => {
          exchange.complete = true;
          response.end();
        });
        answer.on('error', () => response.destroy());
      });
      onward.on('error', () => response.destroy());
      response.on('close', () => onward.destroy());
      onward.end(body);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, exchanges };
}

/**
 * One test per agent: {bin, args, env, files, path}. `args`, `env` and `files` (content by name
 * inside the agent's home) are functions of {url, home}; `path` is where it must have asked.
 */
export function testAgents(folder, agents) {
  describe('coding agents', () => {
    const suite = suiteContext();
    let node;
    after(() => suite.done());
    before(async () => { node = await startNode(suite); });

    for (const [name, agent] of Object.entries(agents)) {
      test(`${name} completes a one-line prompt`, async (t) => {
        const proxy = await recordingProxy(t, node.url);
        const home = temporaryFolder(t);
        const work = path.join(home, 'work');
        fs.mkdirSync(work);
        const where = { url: proxy.url, home };
        for (const [file, content] of Object.entries(agent.files?.(where) ?? {})) {
          fs.mkdirSync(path.dirname(path.join(home, file)), { recursive: true });
          fs.writeFileSync(path.join(home, file), content);
        }
        const bin = path.join(folder, 'node_modules', '.bin', agent.bin);
        const child = spawn(bin, agent.args(where), {
          cwd: work, stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS, killSignal: 'SIGKILL',
          env: {
            PATH: `${path.dirname(process.execPath)}:/usr/bin:/bin`, HOME: home, TERM: 'dumb',
            HTTPS_PROXY: NOWHERE, https_proxy: NOWHERE, NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1',
            ...agent.env?.(where),
          },
        });
        let stdout = '';
        let stderr = '';
        child.stdout.on('data', (d) => { stdout += d; });
        child.stderr.on('data', (d) => { stderr += d; });
        const [code] = await once(child, 'close');
        const said = `${stdout}\n${stderr}`.slice(-8000);
        const asked = proxy.exchanges.filter((e) => e.path === agent.path);
        for (const exchange of proxy.exchanges) {
          assert.ok(exchange.status < 400, `${exchange.method} ${exchange.path}: ${exchange.status} ${exchange.text}`);
          assert.deepEqual(problems(exchange), [], exchange.text.slice(0, 20_000));
        }
        assert.ok(asked.some((e) => e.complete && e.request.stream), `no answer was read to its end\n${said}`);
        assert.equal(code, 0, said);
        assert.match(stdout, /\S/);
      });
    }
  });
}
