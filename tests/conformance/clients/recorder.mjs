// A fetch that keeps what passed through it, so that every answer an official client read is held
// against the contracts too.
import assert from 'node:assert/strict';
import { problems } from './contract.mjs';

export class Recorder {
  exchanges = [];

  /** Give this to a client in place of fetch. */
  fetch = async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const method = (init.method ?? (input instanceof Request ? input.method : 'GET')).toUpperCase();
    const sent = init.body ?? (input instanceof Request && method !== 'GET' ? await input.clone().text() : undefined);
    const response = await fetch(input, init);
    const exchange = {
      method, path: url.pathname, request: parsed(sent), status: response.status,
      headers: response.headers, text: '', complete: response.body === null,
    };
    this.exchanges.push(exchange);
    if (response.body === null) return response;
    const decoder = new TextDecoder();
    const watched = response.body.pipeThrough(new TransformStream({
      transform(chunk, controller) {
        exchange.text += decoder.decode(chunk, { stream: true });
        controller.enqueue(chunk);
      },
      flush() { exchange.complete = true; },
    }));
    return new Response(watched, { status: response.status, statusText: response.statusText, headers: response.headers });
  };

  /** Everything seen so far is valid; forgets it. `atLeast` guards against a client that went elsewhere. */
  assertValid(atLeast = 0) {
    const seen = this.exchanges.splice(0);
    for (const exchange of seen) {
      assert.deepEqual(problems(exchange), [], `${exchange.method} ${exchange.path}\n${JSON.stringify(exchange.request)}\n` +
        exchange.text.slice(0, 20_000));
    }
    assert.ok(seen.length >= atLeast, `${seen.length} exchanges`);
    return seen;
  }
}

function parsed(body) {
  if (typeof body !== 'string' && !(body instanceof Uint8Array)) return undefined;
  try {
    return JSON.parse(typeof body === 'string' ? body : new TextDecoder().decode(body));
  } catch {
    return undefined;
  }
}
