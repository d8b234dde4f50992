// Draws avatars: `node avatars.mjs COUNT style ...` prints one JSON object a line: {style, seed, meta, attributes, svg}.
import { createAvatar } from '@dicebear/core';
import * as collection from '@dicebear/collection';

const [count, ...styles] = process.argv.slice(2);
for (const style of styles) {
  const key = style.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
  for (let seed = 0; seed < Number(count); seed += 1) {
    const avatar = createAvatar(collection[key], { seed: `${style}-${seed}` }).toJson();
    const line = { style, seed, meta: collection[key].meta, attributes: avatar.extra, svg: avatar.svg };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}
