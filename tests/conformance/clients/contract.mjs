// What every answer of the node must be, whoever asked: the right schema, and for streams the right
// order too.
import { responseEventViolations, violations, haveSchemas } from './schemas.mjs';

const schema = (set, name, value) => (haveSchemas || set === 'messages' ? violations(set, name, value) : []);

/** The blocks of an event stream: {event, data, comment}. A cut stream's last piece is left out. */
export function parseEvents(text) {
  const blocks = text.split('\n\n');
  blocks.pop();
  return blocks.map((block) => {
    const out = {};
    for (const line of block.split('\n')) {
      if (line.startsWith(':')) out.comment = line.slice(1).trim();
      else if (line.startsWith('event: ')) out.event = line.slice(7);
      else if (line.startsWith('data: ')) out.data = line.slice(6);
      else out.stray = line;
    }
    return out;
  });
}

/** What is wrong with an exchange {path, request, status, headers, text, complete}; empty when nothing is. */
export function problems(exchange) {
  const path = exchange.path.replace(/^\/v1\/v1\//, '/v1/').replace(/(.)\/$/, '$1');
  const out = [];
  if (!exchange.headers.get('x-request-id')) out.push('no x-request-id');
  const messages = path.startsWith('/v1/messages');
  if (messages && exchange.headers.get('request-id') !== exchange.headers.get('x-request-id')) {
    out.push('request-id differs from x-request-id');
  }
  if (exchange.method === 'HEAD') return out;
  const type = exchange.headers.get('content-type') ?? '';
  if (type.startsWith('text/event-stream')) return [...out, ...streamProblems(path, exchange)];
  if (!type.startsWith('application/json')) return [...out, `content type ${type}`];
  if (!exchange.complete) return out; // given up by the client
  const body = JSON.parse(exchange.text);
  if (exchange.status >= 400) return [...out, ...errorProblems(messages, exchange, body)];
  return [...out, ...bodyProblems(path, exchange.request, body)];
}

function errorProblems(messages, exchange, body) {
  if (messages) {
    const out = schema('messages', 'error', body);
    if (body.request_id !== exchange.headers.get('request-id')) out.push('request_id of the error');
    return out;
  }
  const out = schema('openai', 'ErrorResponse', body);
  for (const member of ['message', 'type', 'param', 'code']) {
    if (!(member in (body.error ?? {}))) out.push(`an error without ${member}`);
  }
  return out;
}

function bodyProblems(path, request, body) {
  if (path === '/v1/messages') return [...schema('messages', 'Message', body), ...messageProblems(request, body)];
  if (path === '/v1/messages/count_tokens') return schema('messages', 'TokensCount', body);
  if (path === '/v1/completions') return [...schema('openai', 'CreateCompletionResponse', body), ...usageProblems(body.usage)];
  if (path === '/v1/models') return [...schema('openai', 'ListModelsResponse', body), ...schema('messages', 'ModelList', body)];
  if (path.startsWith('/v1/models/')) return [...schema('openai', 'Model', body), ...schema('messages', 'ModelInfo', body)];
  if (path === '/v1/responses/input_tokens') return schema('openai', 'TokenCountsResource', body);
  if (path.startsWith('/v1/responses/') && (body.deleted || body.object === 'list')) return [];
  // The shape of the body decides between these two, not the path.
  if (body.object === 'response') return responseProblems(body);
  if (path === '/v1/chat/completions' || path === '/v1/responses') return completionProblems(request, body);
  return [`no contract for ${path}`];
}

function completionProblems(request, body) {
  const out = [...schema('openai', 'CreateChatCompletionResponse', body), ...usageProblems(body.usage)];
  if (body.choices.length !== (request?.n ?? 1)) out.push(`${body.choices.length} choices`);
  body.choices.forEach((choice, i) => {
    if (choice.index !== i) out.push(`choice ${i} has index ${choice.index}`);
    out.push(...callProblems(choice.message.tool_calls ?? [], choice.finish_reason, request));
    const { content, tool_calls: calls, function_call: call } = choice.message;
    if (typeof content !== 'string' && !calls && !call) out.push('neither text nor calls');
    if (choice.finish_reason === 'function_call' && !isJsonObject(call?.arguments)) out.push(`arguments ${call?.arguments}`);
    if (request?.reasoning_format !== 'raw') out.push(...markupProblems(content ?? ''));
  });
  return out;
}

function callProblems(calls, finish, request) {
  const out = [];
  if (finish === 'tool_calls' && calls.length === 0) out.push('finish_reason tool_calls without one');
  if (finish === 'stop' && calls.length > 0) out.push('tool calls and finish_reason stop');
  const names = request?.tools?.map((t) => t.function?.name ?? t.name);
  for (const call of calls) {
    if (names && !names.includes(call.function.name)) out.push(`a call of ${call.function.name}`);
    if (finish === 'tool_calls' && !isJsonObject(call.function.arguments)) out.push(`arguments ${call.function.arguments}`);
  }
  if (new Set(calls.map((c) => c.id)).size !== calls.length) out.push('call ids repeat');
  return out;
}

const isJsonObject = (text) => {
  try {
    const value = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
};

/** Marks of the model's notation in a text. A call that does not parse is text, one that does is not. */
function markupProblems(text) {
  const out = /<\/?think>|<\|im_(start|end)\|>/i.test(text) ? [`markup in the text: ${text}`] : [];
  for (const [, call] of text.matchAll(/<tool_call>\s*(\{.*?\})\s*<\/tool_call>/gs)) {
    if (isJsonObject(call) && 'name' in JSON.parse(call)) out.push(`a call in the text: ${text}`);
  }
  return out;
}

function usageProblems(usage) {
  if (!usage) return ['no usage'];
  const out = [];
  if (usage.total_tokens !== usage.prompt_tokens + usage.completion_tokens) out.push('total_tokens is not the sum');
  if (usage.prompt_tokens_details?.cached_tokens > usage.prompt_tokens) out.push('more cached than prompt tokens');
  if (usage.completion_tokens_details?.reasoning_tokens > usage.completion_tokens) out.push('more reasoning than tokens');
  return out;
}

function responseProblems(response) {
  const out = [...schema('openai', 'Response', response), ...schema('open', 'ResponseResource', response)];
  if (!/^resp_/.test(response.id)) out.push(`id ${response.id}`);
  if (response.status === 'completed' || response.status === 'incomplete') {
    const u = response.usage;
    if (!u) return [...out, 'no usage'];
    if (u.total_tokens !== u.input_tokens + u.output_tokens) out.push('total_tokens is not the sum');
    if ((response.status === 'incomplete') !== (response.incomplete_details !== null)) out.push('incomplete_details');
    if (response.status === 'completed' && response.output.length === 0) out.push('no item');
  }
  for (const item of response.output) {
    if (item.type === 'function_call' && item.status === 'completed' && !isJsonObject(item.arguments)) {
      out.push(`arguments ${item.arguments}`);
    }
    if (item.type === 'message') for (const part of item.content) out.push(...markupProblems(part.text ?? ''));
  }
  return out;
}

function messageProblems(request, message) {
  const out = [];
  const calls = message.content.filter((b) => b.type === 'tool_use').length;
  if ((message.stop_reason === 'tool_use') !== calls > 0 && message.stop_reason !== 'max_tokens') {
    out.push(`${calls} calls and stop_reason ${message.stop_reason}`);
  }
  if ((message.stop_reason === 'stop_sequence') !== (message.stop_sequence !== null)) out.push('stop_sequence');
  for (const block of message.content) if (block.type === 'text') out.push(...markupProblems(block.text));
  return out;
}

function streamProblems(path, exchange) {
  if (exchange.status !== 200) return [`a stream with status ${exchange.status}`];
  const events = parseEvents(exchange.text);
  const out = events.filter((e) => e.stray).map((e) => `stray line ${e.stray}`);
  const sent = events.filter((e) => e.data !== undefined);
  if (path === '/v1/messages') return [...out, ...messageStreamProblems(sent, exchange)];
  const named = sent.some((e) => e.event);
  if (named) return [...out, ...responseStreamProblems(sent, exchange)];
  const legacy = path === '/v1/completions';
  return [...out, ...chunkStreamProblems(sent, exchange, legacy)];
}

// --- chat completions and completions -----------------------------------------------------------

function chunkStreamProblems(sent, exchange, legacy) {
  const out = [];
  const request = exchange.request ?? {};
  const ends = sent.filter((e) => e.data === '[DONE]').length;
  if (exchange.complete && sent.at(-1)?.data !== '[DONE]') out.push('the stream does not end with [DONE]');
  if (ends > 1) out.push(`${ends} times [DONE]`);
  const chunks = sent.filter((e) => e.data !== '[DONE]').map((e) => JSON.parse(e.data));
  const choices = new Map();
  let usage;
  const same = (name) => new Set(chunks.map((c) => c[name])).size > 1 && out.push(`${name} changes`);
  ['id', 'created', 'model', 'object', 'system_fingerprint'].forEach(same);
  for (const chunk of chunks) {
    if (chunk.error) {
      out.push(`failed: ${JSON.stringify(chunk.error)}`);
      continue;
    }
    out.push(...(legacy ? schema('openai', 'CreateCompletionResponse', ended(chunk))
      : schema('openai', 'CreateChatCompletionStreamResponse', chunk)));
    if (usage) out.push('a chunk after the usage');
    if (chunk.choices.length === 0) {
      if (!request.stream_options?.include_usage) out.push('a chunk without choices');
      usage = chunk.usage;
      out.push(...usageProblems(usage));
    } else if ('usage' in chunk) {
      out.push('usage on a chunk with choices');
    }
    for (const choice of chunk.choices) {
      if (!choices.has(choice.index)) choices.set(choice.index, { text: '', calls: [], first: true });
      const state = choices.get(choice.index);
      if (state.finish) out.push(`a chunk after the finish of choice ${choice.index}`);
      out.push(...(legacy ? legacyChoice(state, choice) : chatChoice(state, choice)));
    }
  }
  if (!exchange.complete) return out;
  if (request.stream_options?.include_usage && !usage) out.push('no usage chunk');
  for (const [index, state] of choices) {
    if (!state.finish) out.push(`choice ${index} has no finish_reason`);
    if (request.reasoning_format !== 'raw' && !legacy) out.push(...markupProblems(state.text));
    if (!legacy) out.push(...callProblems(state.calls, state.finish, request));
  }
  if (!legacy && choices.size !== (request.n ?? 1)) out.push(`${choices.size} choices`);
  return out;
}

/** The description has no chunks of completions, which have no reason to finish until the last. */
const ended = (chunk) =>
  ({ ...chunk, choices: chunk.choices.map((c) => (c.finish_reason === null ? { ...c, finish_reason: 'stop' } : c)) });

function legacyChoice(state, choice) {
  state.text += choice.text;
  state.finish = choice.finish_reason;
  return [];
}

function chatChoice(state, choice) {
  const out = [];
  const { delta } = choice;
  if (state.first !== (delta.role === 'assistant')) out.push('the first chunk, and no other, has the role');
  state.first = false;
  state.text += delta.content ?? '';
  if (delta.function_call) state.legacy = (state.legacy ?? '') + (delta.function_call.arguments ?? '');
  for (const part of delta.tool_calls ?? []) {
    const call = state.calls[part.index];
    if (call === undefined) {
      if (part.index !== state.calls.length) {
        out.push(`call index ${part.index} out of turn`);
        continue;
      }
      if (!part.id || part.type !== 'function' || !part.function?.name) out.push(`first piece ${JSON.stringify(part)}`);
      state.calls[part.index] = { id: part.id, function: { name: part.function?.name, arguments: part.function?.arguments ?? '' } };
    } else {
      if (part.id || part.function?.name) out.push('a later piece repeats id or name');
      if (part.index !== state.calls.length - 1) out.push('pieces of calls are interleaved');
      call.function.arguments += part.function?.arguments ?? '';
    }
  }
  if (choice.finish_reason) {
    state.finish = choice.finish_reason;
    if (state.finish === 'function_call' && !isJsonObject(state.legacy)) out.push(`arguments ${state.legacy}`);
    if (Object.keys(delta).length !== 0) out.push(`text beside the finish: ${JSON.stringify(delta)}`);
  }
  return out;
}

// --- responses ------------------------------------------------------------------------------------

const TERMINAL = ['response.completed', 'response.incomplete', 'response.failed'];
// What each item may send between its `added` and `done`, in this order.
const ITEM_STEPS = {
  message: /^(content_part\.added (output_text\.delta )*output_text\.done content_part\.done )*$/,
  reasoning: new RegExp('^((reasoning_summary_part\\.added (reasoning_summary_text\\.delta )*reasoning_summary_text\\.done ' +
    'reasoning_summary_part\\.done )|(content_part\\.added )?(reasoning_text\\.delta |reasoning\\.delta )*' +
    '(reasoning_text\\.done |reasoning\\.done )(content_part\\.done )?)*$'),
  function_call: /^(function_call_arguments\.delta )*function_call_arguments\.done $/,
};

function responseStreamProblems(sent, exchange) {
  const out = [];
  const state = { items: [], open: null };
  const last = sent.length - 1;
  sent.forEach(({ event: name, data }, i) => {
    const event = JSON.parse(data);
    if (name !== event.type) out.push(`event ${name} with type ${event.type}`);
    if (event.sequence_number !== i) out.push(`sequence_number ${event.sequence_number} at ${i}`);
    out.push(...responseEventViolations(event));
    if (event.type === 'error') out.push(`failed: ${data}`);
    if (i === 0 && event.type !== 'response.created') out.push(`begins with ${event.type}`);
    if (i === 1 && event.type !== 'response.in_progress') out.push(`second is ${event.type}`);
    if (i < 2 && event.response?.status !== 'in_progress') out.push(`${event.type} with status ${event.response?.status}`);
    if (TERMINAL.includes(event.type)) {
      if (i !== last) out.push(`${event.type} is not the last`);
      if (event.type !== `response.${event.response.status}`) out.push(`${event.type}, status ${event.response.status}`);
      out.push(...responseProblems(event.response));
      if (JSON.stringify(event.response.output) !== JSON.stringify(state.items)) out.push('output differs from the items');
    } else if (i > 1) {
      out.push(...itemStep(state, event));
    }
  });
  if (exchange.complete && !TERMINAL.includes(JSON.parse(sent[last].data).type)) out.push('no terminal event');
  return out;
}

function itemStep(state, event) {
  const out = [];
  if (event.output_index !== state.items.length) out.push(`${event.type} with output_index ${event.output_index}`);
  if (event.type === 'response.output_item.added') {
    if (state.open) out.push('an item inside another');
    state.open = { item: event.item, steps: '', text: '' };
    if (event.item.status && event.item.status !== 'in_progress') out.push(`added with status ${event.item.status}`);
    return out;
  }
  if (!state.open) return [...out, `${event.type} outside an item`];
  const { open } = state;
  if (event.type === 'response.output_item.done') {
    if (event.item.id !== open.item.id || event.item.type !== open.item.type) out.push('another item is done');
    // An answer that was cut may leave its call unfinished.
    const whole = event.item.status !== 'incomplete' || open.item.type !== 'function_call';
    if (whole && !ITEM_STEPS[open.item.type].test(open.steps)) out.push(`steps of ${open.item.type}: ${open.steps}`);
    state.items.push(event.item);
    state.open = null;
    return out;
  }
  open.steps += `${event.type.replace('response.', '')} `;
  if (event.item_id !== open.item.id) out.push(`${event.type} of item ${event.item_id}`);
  if (event.type.endsWith('part.added')) open.text = '';
  if (event.type.endsWith('.delta')) open.text += event.delta;
  const whole = event.text ?? event.arguments;
  if (event.type.endsWith('.done') && whole !== undefined && whole !== open.text) out.push('deltas differ from the whole');
  return out;
}

// --- messages -------------------------------------------------------------------------------------

function messageStreamProblems(sent, exchange) {
  const out = [];
  const state = { step: 'start', index: 0, block: null, calls: 0 };
  for (const { event: name, data } of sent) {
    const event = JSON.parse(data);
    if (name !== event.type) out.push(`event ${name} with type ${event.type}`);
    out.push(...schema('messages', event.type, event));
    out.push(...messageStep(state, event));
  }
  if (exchange.complete && state.step !== 'end') out.push('no message_stop');
  return out;
}

function messageStep(state, event) {
  const expect = (step) => (state.step === step ? [] : [`${event.type} while ${state.step}`]);
  const enter = (from, to) => {
    const out = expect(from);
    state.step = to;
    return out;
  };
  switch (event.type) {
    case 'ping': return state.step === 'start' || state.step === 'end' ? [`ping while ${state.step}`] : [];
    case 'message_start': return enter('start', 'between');
    case 'content_block_start': {
      const out = enter('between', 'block');
      if (event.index !== state.index) out.push(`block ${event.index} instead of ${state.index}`);
      state.block = { type: event.content_block.type, text: '', signed: false };
      return out;
    }
    case 'content_block_delta': {
      const out = expect('block');
      if (event.index !== state.index) out.push(`delta of block ${event.index} in ${state.index}`);
      return [...out, ...blockDelta(state.block, event.delta)];
    }
    case 'content_block_stop': {
      const out = enter('block', 'between');
      if (event.index !== state.index) out.push(`stop of block ${event.index} in ${state.index}`);
      state.index += 1;
      if (state.block?.type === 'thinking' && !state.block.signed) out.push('thinking without a signature');
      if (state.block?.type === 'text') out.push(...markupProblems(state.block.text));
      if (state.block?.type === 'tool_use') {
        state.calls += 1;
        state.lastInput = state.block.text;
      }
      return out;
    }
    case 'message_delta': {
      const out = enter('between', 'after');
      const reason = event.delta.stop_reason;
      if ((reason === 'stop_sequence') !== (event.delta.stop_sequence !== null)) out.push('stop_sequence');
      if (reason === 'tool_use' && state.calls === 0) out.push('stop_reason tool_use without one');
      if (reason === 'end_turn' && state.calls > 0) out.push('calls and stop_reason end_turn');
      if (reason === 'tool_use' && !isJsonObject(state.lastInput || '{}')) out.push(`input ${state.lastInput}`);
      return out;
    }
    case 'message_stop': return enter('after', 'end');
    default: return [`event ${event.type}`];
  }
}

const DELTAS = { text: ['text_delta'], thinking: ['thinking_delta', 'signature_delta'], tool_use: ['input_json_delta'] };

function blockDelta(block, delta) {
  if (!block) return [];
  const out = DELTAS[block.type]?.includes(delta.type) ? [] : [`${delta.type} in a ${block.type} block`];
  if (block.signed) out.push('a delta after the signature');
  if (delta.type === 'signature_delta') block.signed = true;
  block.text += delta.text ?? delta.partial_json ?? '';
  return out;
}
