// Writes src/api/types.gen.ts from spec/proto/hcp.proto: one TypeScript interface per message, and the shape of each
// message as data, from which src/api/complete.ts fills in the fields that JSON leaves out when they are zero.
// With --check it writes nothing and fails when the file on disk is not what the proto says.
import { readFileSync, writeFileSync } from 'node:fs';

const protoUrl = new URL('../../spec/proto/hcp.proto', import.meta.url);
const outUrl = new URL('../src/api/types.gen.ts', import.meta.url);

const text = readFileSync(protoUrl, 'utf8').replace(/\/\/.*$/gm, '');
const enums = new Map();
const messages = new Map();

for (const [, name, body] of text.matchAll(/\benum\s+(\w+)\s*\{([^}]*)\}/g)) {
  enums.set(name, [...body.matchAll(/(\w+)\s*=\s*(\d+)\s*;/g)].map(([, v, n]) => (n === '0' ? '' : v.toLowerCase())));
}

// Messages may hold one level of oneof braces.
for (const [, name, body] of text.matchAll(/\bmessage\s+(\w+)\s*\{((?:[^{}]|\{[^{}]*\})*)\}/g)) {
  const fields = [];
  let rest = body;
  for (const [whole, inner] of body.matchAll(/\boneof\s+\w+\s*\{([^}]*)\}/g)) {
    rest = rest.replace(whole, '');
    for (const [, type, field] of inner.matchAll(/([\w.]+)\s+(\w+)\s*=\s*\d+\s*;/g)) {
      fields.push({ field, type, optional: true });
    }
  }
  for (const [, repeated, type, field] of rest.matchAll(/(repeated\s+)?([\w.]+)\s+(\w+)\s*=\s*\d+\s*;/g)) {
    fields.push({ field, type, repeated: !!repeated });
  }
  messages.set(name, fields);
}

const NUMBERS = new Set(['int32', 'int64', 'uint32', 'uint64', 'double', 'float']);

function tsType(type) {
  if (NUMBERS.has(type)) return 'number';
  if (type === 'bool') return 'boolean';
  if (type === 'string' || type === 'bytes') return 'string';
  return type;
}

// One character or a message name; see complete.ts.
function shape({ type, repeated, optional }) {
  let s = NUMBERS.has(type) ? '0' : type === 'bool' ? 'b' : messages.has(type) ? type : 's';
  if (repeated) s = `[${s}`;
  if (optional || (messages.has(type) && !repeated)) s = `?${s}`;
  return s;
}

let out = '// Generated from spec/proto/hcp.proto by scripts/gen-types.mjs; change the proto, then run `npm run gen`.\n\n';
for (const [name, values] of enums) {
  out += `export type ${name} = ${values.map((v) => `'${v}'`).join(' | ')};\n`;
}
for (const [name, fields] of messages) {
  if (!fields.length) {
    out += `\nexport type ${name} = Record<string, never>;\n`;
    continue;
  }
  out += `\nexport interface ${name} {\n`;
  for (const f of fields) {
    const single = messages.has(f.type) && !f.repeated;
    out += `  ${f.field}${f.optional || single ? '?' : ''}: ${tsType(f.type)}${f.repeated ? '[]' : ''};\n`;
  }
  out += '}\n';
}
out += "\n// '0' number, 's' text or enum, 'b' boolean, otherwise a message; '[' repeated, '?' may be absent.\n";
out += 'export const SHAPES: Record<string, Record<string, string>> = {\n';
for (const [name, fields] of messages) {
  out += `  ${name}: { ${fields.map((f) => `${f.field}: '${shape(f)}'`).join(', ')} },\n`;
}
out += '};\n';
out = out.replace(/\{ {2}\}/g, '{}');

if (process.argv.includes('--check')) {
  let have = '';
  try {
    have = readFileSync(outUrl, 'utf8');
  } catch {
    // A missing file differs from what the proto says, which is what is reported below.
  }
  if (have !== out) {
    console.error('src/api/types.gen.ts does not match spec/proto/hcp.proto: run `npm run gen`');
    process.exit(1);
  }
} else {
  writeFileSync(outUrl, out);
}
