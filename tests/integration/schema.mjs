// The part of JSON Schema 2020-12 that OpenAI's API description uses.
const ANNOTATIONS = new Set(['description', 'title', 'default', 'example', 'examples', 'deprecated', 'format',
  'discriminator', '$recursiveAnchor', '$schema']);

const typeOf = (v) => {
  if (v === null) return 'null';
  if (Array.isArray(v)) return 'array';
  return typeof v;
};
const hasType = (v, type) => (type === 'integer' ? Number.isInteger(v) : typeOf(v) === type);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const CHECKS = {
  type: (s, v) => [s.type].flat().some((t) => hasType(v, t)),
  enum: (s, v) => s.enum.some((e) => same(e, v)),
  const: (s, v) => same(s.const, v),
  minimum: (s, v) => typeof v !== 'number' || v >= s.minimum,
  maximum: (s, v) => typeof v !== 'number' || v <= s.maximum,
  minLength: (s, v) => typeof v !== 'string' || v.length >= s.minLength,
  maxLength: (s, v) => typeof v !== 'string' || v.length <= s.maxLength,
  pattern: (s, v) => typeof v !== 'string' || new RegExp(s.pattern, 'u').test(v),
  minItems: (s, v) => !Array.isArray(v) || v.length >= s.minItems,
  maxItems: (s, v) => !Array.isArray(v) || v.length <= s.maxItems,
  required: (s, v) => typeOf(v) !== 'object' || s.required.every((name) => name in v),
};

/** What is wrong with `value`, as `path: keyword` lines; empty when it fits. */
export function violations(root, schema, value, path = '$') {
  if (schema === true || schema === undefined) return [];
  const out = [];
  const into = (inner, v, at) => out.push(...violations(root, inner, v, at));
  const fits = (inner) => violations(root, inner, value, path).length === 0;
  for (const keyword of Object.keys(schema)) {
    if (ANNOTATIONS.has(keyword) || keyword.startsWith('x-')) continue;
    if (keyword === '$ref') {
      const name = schema.$ref.replace('#/components/schemas/', '');
      into(root.components.schemas[name], value, path);
    } else if (keyword === 'properties') {
      if (typeOf(value) !== 'object') continue;
      for (const [name, inner] of Object.entries(schema.properties)) {
        if (name in value) into(inner, value[name], `${path}.${name}`);
      }
    } else if (keyword === 'additionalProperties') {
      if (typeOf(value) !== 'object') continue;
      for (const name of Object.keys(value)) {
        if (name in (schema.properties ?? {})) continue;
        if (schema.additionalProperties === false) out.push(`${path}.${name}: additionalProperties`);
        else into(schema.additionalProperties, value[name], `${path}.${name}`);
      }
    } else if (keyword === 'items') {
      if (Array.isArray(value)) value.forEach((v, i) => into(schema.items, v, `${path}[${i}]`));
    } else if (keyword === 'allOf') {
      for (const inner of schema.allOf) into(inner, value, path);
    } else if (keyword === 'anyOf') {
      if (!schema.anyOf.some(fits)) out.push(`${path}: anyOf`);
    } else if (keyword === 'oneOf') {
      if (schema.oneOf.filter(fits).length !== 1) out.push(`${path}: oneOf`);
    } else if (CHECKS[keyword]) {
      if (!CHECKS[keyword](schema, value)) out.push(`${path}: ${keyword} ${JSON.stringify(schema[keyword])}`);
    } else {
      throw new Error(`${path}: this validator does not know ${keyword}`);
    }
  }
  return out;
}
