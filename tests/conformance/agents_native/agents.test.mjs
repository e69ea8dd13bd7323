// Coding agents that bring native programs: on messages, on responses and on chat completions.
import { KEY, MODEL, testAgents } from '../agents/agents.mjs';

testAgents(import.meta.dirname, {
  'Claude Code': {
    bin: 'claude',
    path: '/v1/messages',
    args: () => ['-p', 'say hello', '--output-format', 'json', '--max-turns', '3'],
    env: ({ url }) => ({
      ANTHROPIC_BASE_URL: url, ANTHROPIC_AUTH_TOKEN: KEY, ANTHROPIC_MODEL: MODEL, ANTHROPIC_SMALL_FAST_MODEL: MODEL,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1', DISABLE_TELEMETRY: '1', DISABLE_ERROR_REPORTING: '1',
      DISABLE_AUTOUPDATER: '1',
    }),
  },
  Codex: {
    bin: 'codex',
    path: '/v1/responses',
    args: ({ url }) => ['exec', '--skip-git-repo-check', '-m', MODEL, '-c', 'model_provider=node', '-c',
      `model_providers.node={name="node",base_url="${url}/v1",env_key="NODE_KEY",wire_api="responses",` +
      'request_max_retries=0,stream_max_retries=0}', 'say hello'],
    env: () => ({ NODE_KEY: KEY }),
  },
  OpenCode: {
    bin: 'opencode',
    path: '/v1/chat/completions',
    args: () => ['run', 'say hello'],
    env: () => ({ OPENCODE_DISABLE_AUTOUPDATE: '1', OPENCODE_DISABLE_MODELS_FETCH: '1', OPENCODE_DISABLE_LSP_DOWNLOAD: '1' }),
    files: ({ url }) => ({
      '.config/opencode/opencode.json': JSON.stringify({
        autoupdate: false, share: 'disabled', model: `node/${MODEL}`, small_model: `node/${MODEL}`,
        permission: { bash: 'deny', edit: 'deny', webfetch: 'deny' },
        provider: {
          node: {
            npm: '@ai-sdk/openai-compatible', name: 'node', options: { baseURL: `${url}/v1`, apiKey: KEY },
            models: { [MODEL]: { name: 'nano' } },
          },
        },
      }),
    }),
  },
});
