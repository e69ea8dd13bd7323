// The commands and programs of the documents, as a reader would run them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startNode, suiteContext, temporaryFolder } from '../../integration/harness.mjs';
import { problems } from './contract.mjs';
import { KEY, MODEL } from './support.mjs';

const CURL = {
  'models': `curl -sS $HOST/v1/models -H "Authorization: Bearer $KEY"`,
  'chat': `curl -sS $HOST/v1/chat/completions \\
    -H "Authorization: Bearer $KEY" \\
    -H "Content-Type: application/json" \\
    -d '{"model": "${MODEL}", "messages": [{"role": "user", "content": "Hello!"}]}'`,
  'chat, every documented member': `curl -sS -X POST $HOST/v1/chat/completions \\
    -H "Authorization: Bearer $KEY" \\
    -H "Content-Type: application/json" \\
    -d '{"model": "${MODEL}", "messages": [{"role": "system", "content": "You are helpful."},
         {"role": "user", "content": "What is 2+2?"}], "max_tokens": 100, "temperature": 0.7, "stream": false}'`,
  'chat, stream': `curl -sS -N -X POST $HOST/v1/chat/completions \\
    -H "Authorization: Bearer $KEY" \\
    -H "Content-Type: application/json" \\
    -d '{"model": "${MODEL}", "messages": [{"role": "user", "content": "Hello!"}], "stream": true}'`,
  'responses': `curl -sS $HOST/v1/responses \\
    -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
    -d '{"model": "${MODEL}", "input": "Hello!"}'`,
  'completions': `curl -sS $HOST/v1/completions \\
    -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
    -d '{"model": "${MODEL}", "prompt": "Once upon a time", "max_tokens": 20}'`,
  'messages': `curl -sS $HOST/v1/messages \\
    -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
    -d '{"model": "${MODEL}", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello!"}]}'`,
  'messages, with the other header': `curl -sS $HOST/v1/messages \\
    -H "x-api-key: $KEY" -H "anthropic-version: 2023-06-01" -H "content-type: application/json" \\
    -d '{"model": "${MODEL}", "max_tokens": 100, "system": "Be brief.", "messages": [{"role": "user", "content": "Hello!"}]}'`,
  'messages, stream': `curl -sS -N $HOST/v1/messages \\
    -H "x-api-key: $KEY" -H "anthropic-version: 2023-06-01" -H "content-type: application/json" \\
    -d '{"model": "${MODEL}", "max_tokens": 100, "stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'`,
  'a body that waits for leave': `curl -sS $HOST/v1/chat/completions -H "Expect: 100-continue" \\
    -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
    -d '{"model": "${MODEL}", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello!"}]}'`,
  'pricing': 'curl -sS $HOST/v1/pricing',
  'catalog': 'curl -sS $HOST/v1/models/catalog',
};

const PYTHON = ['openai_models', 'openai_chat', 'openai_chat_stream', 'openai_responses', 'openai_completions', 'openai_errors',
  'anthropic_message', 'anthropic_message_stream', 'anthropic_doubled_prefix', 'anthropic_count'];

async function run(command, args, env) {
  const child = spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (d) => { stdout += d; });
  child.stderr.on('data', (d) => { stderr += d; });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

describe('samples', () => {
  const suite = suiteContext();
  let node;
  let folder;
  after(() => suite.done());
  before(async () => {
    node = await startNode(suite);
    folder = temporaryFolder(suite);
  });

  for (const [name, command] of Object.entries(CURL)) {
    test(`curl: ${name}`, async () => {
      // The head goes to its own place, since the documents show what the body prints.
      const saved = path.join(folder, 'head');
      const { code, stdout, stderr } = await run('sh', ['-c', `${command} -D ${saved}`], { HOST: node.url, KEY });
      assert.equal(code, 0, stderr);
      // Before it there may be an interim answer, after it trailers.
      const heads = fs.readFileSync(saved, 'latin1').trim().split(/\r?\n\r?\n/);
      const head = heads.findLast((h) => h.startsWith('HTTP/')).split(/\r?\n/);
      assert.match(head[0], /^HTTP\/1\.1 200/, stdout);
      const headers = new Headers(head.slice(1).map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]));
      const where = /\$HOST(\/\S+)/.exec(command)[1];
      if (name === 'pricing' || name === 'catalog') {
        assert.equal(typeof JSON.parse(stdout), 'object');
        return;
      }
      const data = /-d '([^']*)'/.exec(command)?.[1];
      assert.deepEqual(problems({
        method: data ? 'POST' : 'GET', path: where, request: data && JSON.parse(data), status: 200, headers, text: stdout, complete: true,
      }), [], stdout);
    });
  }

  for (const name of PYTHON) {
    test(`python: ${name}`, async () => {
      const { code, stdout, stderr } = await run('python3', [path.join(import.meta.dirname, 'samples.py'), name],
        { HOST: node.url, KEY, MODEL });
      assert.equal(code, 0, `${stdout}${stderr}`);
      assert.match(stdout, /\S/);
    });
  }
});
