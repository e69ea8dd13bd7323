// Coding agents that are JavaScript. What they answer may be nonsense; their protocol may not fail.
import { KEY, MODEL, testAgents } from './agents.mjs';

testAgents(import.meta.dirname, {
  'Qwen Code': {
    bin: 'qwen',
    path: '/v1/chat/completions',
    args: () => ['--auth-type', 'openai', '--max-session-turns', '3', '-p', 'say hello'],
    env: ({ url }) => ({
      OPENAI_BASE_URL: `${url}/v1`, OPENAI_API_KEY: KEY, OPENAI_MODEL: MODEL, QWEN_TELEMETRY_ENABLED: 'false',
    }),
  },
  'Continue CLI': {
    bin: 'cn',
    path: '/v1/chat/completions',
    args: ({ home }) => ['--config', `${home}/config.yaml`, '--readonly', '-p', 'say hello'],
    env: () => ({ CONTINUE_CLI_ENABLE_TELEMETRY: '0', CONTINUE_TELEMETRY_ENABLED: '0' }),
    files: ({ url }) => ({
      'config.yaml': `name: node
version: 1.0.0
schema: v1
models:
  - {name: nano, provider: openai, model: ${MODEL}, apiBase: "${url}/v1", apiKey: ${KEY}, roles: [chat]}
`,
    }),
  },
});
