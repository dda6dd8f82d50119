"use strict";
// The journey's numbers: loaded, and checked against JAX's.
const journey = (() => {
  const host = document.getElementById("journey-explorer");
  const { EXACT, agree, asMap, count, digest, exact } = arithmetic;
  const meta = page.data("journey-meta"),
    { stages, images, classes, about } = meta;
  const HALF = 2 ** -11,
    last = stages.length - 1;
  const shapes = stages.map((stage) => asMap(stage.output));
  const atlases = stages.map((stage, k) => drawing.layout(k ? stage.output : [...stage.output.slice(0, 2), 1], 224));
  const logitsAt = stages[last].op === "softmax" ? stages[last].sources[0] : last;
  const named = (k) => k === logitsAt || (k === last && stages[k].op === "softmax");
  const label = (f) => (classes[f] === undefined ? String(f) : classes[f]);

  // The numbers.
  const arrays = stages.map((stage) => ({ kept: meta.kept[stage.name] }));
  let table, photographs;
  const loaded = new Map();
  // The bytes lie first bytes first, which compresses better.
  const blob = async (id) => {
    const from = new Uint8Array(await page.blob(id)),
      to = from.slice(),
      n = from.length >> 2;
    for (let i = 0; i < n; i++) for (let byte = 0; byte < 4; byte++) to[4 * i + byte] = from[byte * n + i];
    return to.buffer;
  };
  const damaged = [];
  const ready = (async () => {
    const buffer = await blob("journey-weights"),
      size = count(stages[0].output);
    const all = new Map(meta.arrays.map(([name, at, n]) => [name, new Float32Array(buffer, at, n)]));
    table = all.get("table");
    // A weight that meets only zeros shows in no number, so the weights have digests of their own.
    for (const [name, , , crc] of meta.arrays) if (digest(all.get(name)) !== crc) damaged.push(`${name} (other bits)`);
    stages.forEach((stage, k) =>
      stage.arrays.forEach((name) => {
        arrays[k][name] = all.get(`${stage.name}/${name}`);
      }),
    );
    photographs = images.map((_, i) => new Uint8Array(buffer, meta.pixels + i * size, size));
  })();
  const half = (bits) => {
    const sign = bits >> 15 ? -1 : 1,
      power = (bits >> 10) & 31,
      rest = bits & 1023;
    return sign * (power ? 2 ** (power - 25) * (1024 + rest) : rest * 2 ** -24);
  };
  const load = async (i) => {
    if (loaded.has(i)) return loaded.get(i);
    const buffer = await blob(`journey-image-${i}`),
      channels = shapes[0][2];
    const stored = new Map(images[i].outputs.map((entry) => [entry[0], entry])),
      outs = [],
      rough = [];
    outs.push(Float32Array.from(photographs[i], (v, at) => table[(at % channels) * 256 + v]));
    rough.push(0);
    stages.forEach((stage, k) => {
      if (!k) return;
      const entry = stored.get(stage.name),
        before = Math.max(...stage.sources.map((source) => rough[source]));
      if (!entry)
        outs.push(
          exact(
            stage,
            stage.sources.map((source) => outs[source]),
          ),
        );
      else if (entry[2] >= 0) outs.push(new Float32Array(buffer, entry[1], entry[2]));
      else outs.push(Float32Array.from(new Uint16Array(buffer, entry[1], -entry[2]), half));
      rough.push(entry ? (entry[2] < 0 ? HALF : 0) : before);
    });
    loaded.set(i, { outs, rough, number: i });
    return loaded.get(i);
  };
  const inputs = (image, k) => stages[k].sources.map((source) => image.outs[source]);
  const given = (image, k) => ({ ...arrays[k], rough: Math.max(0, ...stages[k].sources.map((s) => image.rough[s])) });

  // Every number of an image against JAX's: how many, how many right, which not.
  const checkStage = (image, k) => {
    const stage = stages[k];
    if (EXACT.has(stage.op)) {
      const same = image.rough[k] || digest(image.outs[k]) === images[image.number].digests[stage.name];
      return { numbers: 0, right: 0, wrong: same ? [] : [0] };
    }
    return agree(stage, inputs(image, k), given(image, k), image.outs[k], image.rough[k]);
  };
  const checkAll = async (image, pause = async () => {}) => {
    const found = { numbers: 0, right: 0, wrong: damaged.slice() };
    for (let k = 1; k <= last; k++) {
      const part = checkStage(image, k);
      if (stages[k].op !== "softmax") {
        found.numbers += part.numbers;
        found.right += part.right;
      }
      if (part.wrong.length)
        found.wrong.push(`${stages[k].name} (${part.wrong.length}, first: number ${part.wrong[0]})`);
      await pause();
    }
    return found;
  };

  let image;
  const at = (k, { f, r, c }) => {
    const [, width, channels] = shapes[k];
    return (r * width + c) * channels + f;
  };
  const place = (k, index) => {
    const [, width, channels] = shapes[k],
      pixel = Math.floor(index / channels);
    return { k, f: index % channels, r: Math.floor(pixel / width), c: pixel % width };
  };
  const where = (k, p) => {
    if (stages[k].output.length > 1) return `${k ? "filter" : "channel"} ${p.f}, row ${p.r}, column ${p.c}`;
    return named(k) ? `class ${label(p.f)}` : `number ${p.f}`;
  };

  return {
    arrays,
    at,
    atlases,
    checkAll,
    checkStage,
    given,
    classes,
    host,
    images,
    label,
    last,
    load,
    logitsAt,
    named,
    place,
    ready,
    shapes,
    stages,
    where,
    anchors: meta.anchors,
    photographs: () => photographs,
    show: async (i) => {
      image = await load(i);
      return image;
    },
    image: () => image,
  };
})();
