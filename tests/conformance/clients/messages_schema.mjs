// The Messages API as JSON Schema, written from the types of @anthropic-ai/sdk. Members that those
// types declare and that only concern services beyond a model's answer may be left out; where they
// are sent they must have the declared type.
const ref = (name) => ({ $ref: `#/components/schemas/${name}` });
const nullable = (schema) => ({ anyOf: [schema, { type: 'null' }] });
const count = { type: 'integer', minimum: 0 };
const string = { type: 'string' };
const tagged = (type, properties = {}, optional = {}) => ({
  type: 'object',
  properties: { type: { const: type }, ...properties, ...optional },
  required: ['type', ...Object.keys(properties)],
  additionalProperties: false,
});

const serviceUsage = {
  cache_creation: nullable({
    type: 'object', properties: { ephemeral_1h_input_tokens: count, ephemeral_5m_input_tokens: count },
    required: ['ephemeral_1h_input_tokens', 'ephemeral_5m_input_tokens'],
  }),
  inference_geo: nullable(string),
  output_tokens_details: nullable({
    type: 'object', properties: { thinking_tokens: count }, required: ['thinking_tokens'],
  }),
  server_tool_use: nullable({ type: 'object' }),
  service_tier: { enum: ['standard', 'priority', 'batch', null] },
  speed: { enum: ['standard', 'fast', null] },
};

const toolUse = (input) => tagged('tool_use', { id: { type: 'string', pattern: '^[a-zA-Z0-9_-]{1,64}$' }, name: string, input }, {
  caller: { type: 'object', properties: { type: { const: 'direct' } }, required: ['type'] },
  toolset_name: nullable(string),
});

const stopReason = {
  enum: ['end_turn', 'max_tokens', 'stop_sequence', 'tool_use', 'pause_turn', 'refusal', 'model_context_window_exceeded'],
};

const message = (content, stop) => ({
  type: 'object',
  properties: {
    id: { type: 'string', pattern: '^msg_[A-Za-z0-9]+$' },
    type: { const: 'message' },
    role: { const: 'assistant' },
    model: { type: 'string', minLength: 1 },
    content,
    stop_reason: stop,
    stop_sequence: nullable(string),
    usage: ref('Usage'),
    container: { type: 'null' },
    context_management: nullable({ type: 'object' }),
    diagnostics: { type: 'null' },
    stop_details: { type: 'null' },
    metadata: { type: 'object' }, // the provider's particulars, on request
  },
  required: ['id', 'type', 'role', 'model', 'content', 'stop_reason', 'stop_sequence', 'usage'],
  additionalProperties: false,
});

export default {
  components: {
    schemas: {
      Usage: {
        type: 'object',
        properties: {
          input_tokens: count, output_tokens: count,
          cache_read_input_tokens: nullable(count), cache_creation_input_tokens: nullable(count),
          ...serviceUsage,
        },
        required: ['input_tokens', 'output_tokens', 'cache_read_input_tokens', 'cache_creation_input_tokens'],
        additionalProperties: false,
      },
      ContentBlock: {
        oneOf: [
          tagged('text', { text: { type: 'string', minLength: 1 } }, { citations: nullable({ type: 'array' }) }),
          tagged('thinking', { thinking: string, signature: { type: 'string', minLength: 1 } }),
          toolUse({ type: 'object' }),
        ],
      },
      Message: message({ type: 'array', items: ref('ContentBlock') }, stopReason),
      message_start: tagged('message_start', { message: message({ type: 'array', maxItems: 0 }, { type: 'null' }) }),
      ping: tagged('ping'),
      content_block_start: tagged('content_block_start', {
        index: count,
        content_block: {
          oneOf: [
            tagged('text', { text: { const: '' } }, { citations: nullable({ type: 'array' }) }),
            tagged('thinking', { thinking: { const: '' }, signature: { const: '' } }),
            toolUse({ type: 'object', maxProperties: 0 }),
          ],
        },
      }),
      content_block_delta: tagged('content_block_delta', {
        index: count,
        delta: {
          oneOf: [
            tagged('text_delta', { text: string }),
            tagged('thinking_delta', { thinking: string }, { estimated_tokens: count }),
            tagged('signature_delta', { signature: { type: 'string', minLength: 1 } }),
            tagged('input_json_delta', { partial_json: string }),
          ],
        },
      }),
      content_block_stop: tagged('content_block_stop', { index: count }),
      message_delta: tagged('message_delta', {
        delta: {
          type: 'object',
          properties: {
            stop_reason: stopReason, stop_sequence: nullable(string),
            container: { type: 'null' }, stop_details: { type: 'null' },
          },
          required: ['stop_reason', 'stop_sequence'],
          additionalProperties: false,
        },
        usage: {
          type: 'object',
          properties: {
            input_tokens: count, output_tokens: count,
            cache_read_input_tokens: nullable(count), cache_creation_input_tokens: nullable(count), ...serviceUsage,
          },
          required: ['input_tokens', 'output_tokens'],
          additionalProperties: false,
        },
      }, { context_management: nullable({ type: 'object' }), metadata: { type: 'object' } }),
      message_stop: tagged('message_stop'),
      error: tagged('error', {
        error: {
          type: 'object',
          properties: {
            type: {
              enum: ['invalid_request_error', 'authentication_error', 'billing_error', 'permission_error',
                'not_found_error', 'request_too_large', 'rate_limit_error', 'timeout_error', 'api_error',
                'overloaded_error'],
            },
            message: { type: 'string', minLength: 1 },
            details: nullable({ type: 'object' }),
          },
          required: ['type', 'message'],
          additionalProperties: false,
        },
      }, { request_id: nullable(string) }),
      TokensCount: {
        type: 'object', properties: { input_tokens: { type: 'integer', minimum: 1 } }, required: ['input_tokens'],
      },
      ModelInfo: {
        type: 'object',
        properties: {
          id: string, type: { const: 'model' }, display_name: string,
          created_at: { type: 'string', pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d' },
        },
        required: ['id', 'type', 'display_name', 'created_at'],
      },
      ModelList: {
        type: 'object',
        properties: {
          data: { type: 'array', items: ref('ModelInfo') }, has_more: { type: 'boolean' },
          first_id: nullable(string), last_id: nullable(string),
        },
        required: ['data', 'has_more', 'first_id', 'last_id'],
      },
    },
  },
};
