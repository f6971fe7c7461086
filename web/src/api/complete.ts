import { SHAPES } from './types.gen';

function zeroOf(shape: string): unknown {
  switch (shape[0]) {
    case '[':
      return [];
    case '0':
      return 0;
    case 's':
      return '';
    case 'b':
      return false;
    default:
      return undefined;
  }
}

/** Fills in what JSON left out because it was zero, so that pages need not ask at every field. Fields that the
 * shape does not know are kept; a value of null counts as left out. */
export function complete<T>(message: string, value: unknown): T {
  const shapes = SHAPES[message];
  const given = (value ?? {}) as Record<string, unknown>;
  if (!shapes) return given as T;
  const result: Record<string, unknown> = { ...given };
  for (const [field, shape] of Object.entries(shapes)) {
    const have = given[field];
    if (have === undefined || have === null) {
      const zero = zeroOf(shape);
      if (zero === undefined) delete result[field];
      else result[field] = zero;
      continue;
    }
    const bare = shape.replace('?', '');
    const type = bare.replace('[', '');
    if (!SHAPES[type]) continue;
    result[field] =
      bare[0] === '[' ? (Array.isArray(have) ? have.map((v) => complete(type, v)) : []) : complete(type, have);
  }
  return result as T;
}
