// The contracts as JSON Schema 2020-12: the two public API descriptions, and the Messages API as
// its official package types it.
import fs from 'node:fs';
import path from 'node:path';
import Ajv2020 from 'ajv/dist/2020.js';
import { dataFolder } from '../../integration/harness.mjs';
import messagesSchemas from './messages_schema.mjs';

const read = (folder, file) => JSON.parse(fs.readFileSync(path.join(dataFolder(folder), file), 'utf8'));

/** False when the API descriptions are absent (and CI does not insist on them). */
export const haveSchemas = Boolean(dataFolder('openai-openapi') && dataFolder('open-responses'));

const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
const documents = { messages: messagesSchemas };
if (haveSchemas) {
  documents.openai = read('openai-openapi', 'openapi-subset.json');
  documents.open = read('open-responses', 'openapi-2026-04-24.json');
  // This one lets an answer repeat a requested schema only as null, OpenAI's only as the object.
  documents.open.components.schemas.JsonSchemaResponseFormat.properties.schema = { type: 'object' };
}
for (const [name, document] of Object.entries(documents)) ajv.addSchema(document, name);

const compiled = new Map();

/** What is wrong with `value` by schema `name` of `set` (openai, open, messages); empty when it fits. */
export function violations(set, name, value) {
  const id = `${set}#/components/schemas/${name}`;
  if (!compiled.has(id)) compiled.set(id, ajv.compile({ $ref: id }));
  const validate = compiled.get(id);
  if (validate(value)) return [];
  return validate.errors.map((e) => `${set} ${name}${e.instancePath}: ${e.message} ${JSON.stringify(e.params)}`);
}

/** Schema names of the Responses stream events by their `type`. */
function eventNames(document) {
  const names = new Map();
  for (const [name, schema] of Object.entries(document?.components.schemas ?? {})) {
    const type = schema.properties?.type;
    if (name.endsWith('Event') && type) names.set(type.const ?? type.enum?.[0], name);
  }
  return names;
}
const responseEvents = { openai: eventNames(documents.openai), open: eventNames(documents.open) };

/** What is wrong with one event of a Responses stream, by both descriptions. */
export function responseEventViolations(event) {
  const out = [];
  let known = false;
  for (const [set, names] of Object.entries(responseEvents)) {
    if (!names.has(event.type)) continue;
    known = true;
    out.push(...violations(set, names.get(event.type), event));
  }
  return known || !haveSchemas ? out : [`no description knows the event ${event.type}`];
}

/** A validator of any JSON Schema, for answers that must follow a caller's schema. */
export function validatorOf(schema) {
  const own = new Ajv2020({ strict: false, validateFormats: false });
  return own.compile(schema);
}
