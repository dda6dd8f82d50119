"use strict";
// The journey's numbers: loaded, checked against JAX's, and taken apart one at a time.
const journey = (() => {
  const host = document.getElementById("journey-explorer");
  if (!host || !document.getElementById("journey-meta")) return undefined;
  const { EXACT, FUNCTIONS, agree, asMap, bound, count, digest, exact, overall, statistics, taps, whole } = arithmetic;
  const meta = page.data("journey-meta"),
    { stages, images, classes, about } = meta;
  const LISTED = 12,
    HALF = 2 ** -11,
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
  const where = (k, p) =>
    stages[k].output.length === 1
      ? `${named(k) ? label(p.f) : `number ${p.f}`}`
      : `${k ? "filter" : "channel"} ${p.f}, row ${p.r}, column ${p.c}`;

  // What a number is made of: `terms` that add up to it with `bias`, or a `choice` among a window, or a function's value.
  const grid = (k, p, channel, weightOf) => {
    const stage = stages[k],
      window = stage.op.startsWith("global") ? { ...stage, ...overall(stage) } : stage;
    const source = stage.sources[0],
      x = image.outs[source];
    const columns = taps(window, 1, p.c);
    return taps(window, 0, p.r).map((r, i) =>
      columns.map((c, j) => {
        const inside = r >= 0 && c >= 0;
        return { r, c, inside, x: inside ? x[at(source, { f: channel, r, c })] : 0, w: weightOf ? weightOf(i, j) : 1 };
      }),
    );
  };
  const strongest = (cells, source, f) => {
    const best = cells
      .flat()
      .filter((cell) => cell.inside)
      .reduce((a, b) => (Math.abs(b.x * b.w) > Math.abs(a.x * a.w) ? b : a));
    return { k: source, f, r: best.r, c: best.c };
  };
  const RECIPES = {
    conv: (k, p) => {
      const stage = stages[k],
        source = stage.sources[0],
        [, , features] = shapes[k],
        { kernel, bias, kept } = arrays[k];
      const share = shapes[source][2] / stage.groups,
        first = Math.floor(p.f / (features / stage.groups)) * share;
      const stored = kept ? kept.indexOf(p.f) : p.f,
        wide = kept ? kept.length : features;
      if (!kernel || stored < 0) return { missing: true };
      const cells = (n) =>
        grid(k, p, first + n, (i, j) => kernel[((i * stage.kernel[1] + j) * share + n) * wide + stored]);
      const terms = Array.from({ length: share }, (_, n) => {
        const products = cells(n)
          .flat()
          .map((cell) => cell.x * cell.w);
        return {
          label: `channel ${first + n}`,
          f: first + n,
          value: products.reduce((a, b) => a + b, 0),
          size: products.reduce((a, b) => a + Math.abs(b), 0),
        };
      });
      const go = (n) => strongest(cells(n), source, first + n);
      return {
        terms,
        bias: bias ? bias[stored] : undefined,
        n: share * count(stage.kernel) + 2,
        cells,
        go,
        of: "channels",
      };
    },
    dense: (k, p) => {
      const source = stages[k].sources[0],
        x = image.outs[source],
        { kernel, bias } = arrays[k],
        wide = stages[k].output[0];
      if (!kernel) return { missing: true };
      const terms = Array.from(x, (v, n) => ({
        label: input(source, n),
        value: v * kernel[n * wide + p.f],
        x: v,
        w: kernel[n * wide + p.f],
      }));
      return {
        terms,
        bias: bias ? bias[p.f] : undefined,
        n: x.length + 2,
        go: (n) => place(source, n),
        of: "inputs",
        fold: true,
      };
    },
    average: (k, p) => {
      const source = stages[k].sources[0],
        cells = grid(k, p, p.f),
        inside = cells.flat().filter((cell) => cell.inside);
      const terms = inside.map((cell) => ({ label: `row ${cell.r}, column ${cell.c}`, value: cell.x / inside.length }));
      return {
        terms,
        n: cells.flat().length + 1,
        window: cells,
        go: (n) => ({ k: source, f: p.f, r: inside[n].r, c: inside[n].c }),
        of: "pixels",
        note: `each is one of ${inside.length}, so divided by ${inside.length}`,
      };
    },
    choice: (k, p) => {
      const cells = grid(k, p, p.f),
        inside = cells.flat().filter((cell) => cell.inside);
      const wins = inside.reduce((a, b) => (b.x > a.x ? b : a)),
        mean = inside.reduce((sum, cell) => sum + cell.x, 0) / inside.length;
      return {
        window: cells,
        wins,
        value: wins.x,
        go: () => ({ k: stages[k].sources[0], f: p.f, r: wins.r, c: wins.c }),
        lines: [
          `The largest of ${inside.length} is ${whole(wins.x)}, at row ${wins.r}, column ${wins.c} of channel ${p.f}.`,
          `The average would have been ${whole(mean)}: not what this run did.`,
        ],
      };
    },
    add: (k, p) => ({
      n: 1,
      of: "paths",
      go: (n) => ({ ...p, k: stages[k].sources[n] }),
      terms: stages[k].sources.map((source) => ({ label: stages[source].name, value: image.outs[source][at(k, p)] })),
    }),
    affine: (k, p) => {
      const stage = stages[k],
        source = stage.sources[0],
        { mean, var: variance, scale, bias } = arrays[k];
      const x = image.outs[source],
        own =
          stage.op === "group_norm"
            ? statistics(stage, x, Math.floor(p.f / (scale.length / stage.groups)))
            : { mean: mean[p.f], variance: variance[p.f], n: 0, level: 0 };
      const v = x[at(k, p)],
        factor = scale[p.f] / Math.sqrt(own.variance + Math.fround(stage.epsilon)),
        value = (v - own.mean) * factor;
      const text = `(${whole(v)} - ${whole(own.mean)}) × ${whole(scale[p.f])} / sqrt(${whole(own.variance)} + ${whole(stage.epsilon)})`;
      return {
        terms: [{ label: text, value, size: Math.abs(value) + Math.abs(own.level * factor) * 2 }],
        bias: bias[p.f],
        n: own.n + 8,
        go: () => ({ ...p, k: source }),
        of: "terms",
        whole: true,
      };
    },
    pointwise: (k, p) => {
      const stage = stages[k],
        x = image.outs[stage.sources[0]][at(k, p)],
        value = FUNCTIONS[stage.op](x);
      const text =
        stage.op === "relu"
          ? `max(0, ${whole(x)})`
          : stage.op === "dropout"
            ? `dropout acts in training only: ${whole(x)}`
            : `${stage.op}(${whole(x)})`;
      return {
        value,
        curve: stage.op === "dropout" ? undefined : FUNCTIONS[stage.op],
        x,
        lines: [`${text} = ${whole(image.outs[k][at(k, p)])}`],
        go: () => ({ ...p, k: stage.sources[0] }),
        near: !EXACT.has(stage.op),
      };
    },
    flatten: (k, p) => {
      const source = stages[k].sources[0],
        from = place(source, p.f),
        [height, width, channels] = shapes[source];
      return {
        value: image.outs[k][p.f],
        go: () => from,
        lines: [
          `Number ${p.f} is row ${from.r}, column ${from.c}, channel ${from.f}: ` +
            `(${from.r} × ${width} + ${from.c}) × ${channels} + ${from.f} = ${p.f}, of ${height} × ${width} × ${channels}.`,
        ],
      };
    },
    softmax: (k, p) => {
      const source = stages[k].sources[0],
        z = image.outs[source],
        largest = z.reduce((a, b) => Math.max(a, b), -Infinity);
      const powers = Array.from(z, (v) => Math.exp(v - largest)),
        sum = powers.reduce((a, b) => a + b, 0);
      return {
        value: powers[p.f] / sum,
        near: true,
        go: () => ({ ...p, k: source }),
        bars: powers.map((power, n) => ({ label: label(n), value: power / sum })),
        lines: [
          `exp(${whole(z[p.f])}) / the sum of exp over all ${z.length} = ${whole(powers[p.f] / sum)}: all of them add up to 1.`,
        ],
      };
    },
    input: (k, p) => ({
      value: image.outs[0][at(0, p)],
      lines: [
        `Intensity ${photographs[image.number][at(0, p)]} of 255; ` +
          `the network reads ${whole(image.outs[0][at(0, p)])}.`,
      ],
    }),
    opaque: (k, p) => ({
      value: image.outs[k][at(k, p)],
      lines: ["The page knows no arithmetic for this kind of layer."],
    }),
  };
  const RECIPE = {
    conv: "conv",
    dense: "dense",
    avg_pool: "average",
    global_avg_pool: "average",
    max_pool: "choice",
    global_max_pool: "choice",
    add: "add",
    batch_norm: "affine",
    group_norm: "affine",
    flatten: "flatten",
    softmax: "softmax",
    input: "input",
    relu: "pointwise",
    tanh: "pointwise",
    sigmoid: "pointwise",
    silu: "pointwise",
    gelu: "pointwise",
    dropout: "pointwise",
  };
  const input = (source, n) => {
    const from = stages[source].op === "flatten" ? place(stages[source].sources[0], n) : undefined;
    return from ? `row ${from.r}, column ${from.c}, channel ${from.f}` : `${stages[source].name} ${n}`;
  };
  const takeApart = (k, p) => {
    const parts = RECIPES[RECIPE[stages[k].op] || "opaque"](k, p),
      found = image.outs[k][at(k, p)];
    if (parts.missing)
      return { ...parts, found, lines: ["The arithmetic of this number is not embedded, to keep the page small."] };
    if (!parts.terms) {
      const allowed = parts.near ? 1e-5 * Math.abs(parts.value) + 2 ** -126 : 0;
      return { ...parts, found, allowed: allowed + image.rough[k] * Math.abs(found) };
    }
    const sum = parts.terms.reduce((total, term) => total + term.value, 0) + (parts.bias || 0);
    const size = parts.terms.reduce(
      (total, term) => total + (term.size === undefined ? Math.abs(term.value) : term.size),
      0,
    );
    const rough = image.rough[k] * Math.abs(found) + given(image, k).rough * size;
    return { ...parts, found, value: sum, allowed: bound(parts.n, size + Math.abs(parts.bias || 0)) + rough };
  };
  // The largest terms, in order, and what the others add up to.
  const largest = (terms, most = LISTED) => {
    const top = [];
    terms.forEach((term, n) => {
      const size = Math.abs(term.value);
      if (top.length === most && size <= Math.abs(terms[top[most - 1]].value)) return;
      let i = top.length;
      while (i && Math.abs(terms[top[i - 1]].value) < size) i--;
      top.splice(i, 0, n);
      if (top.length > most) top.pop();
    });
    const rest = terms.length - top.length,
      listed = new Set(top);
    return { top, rest, other: rest ? terms.reduce((sum, term, n) => (listed.has(n) ? sum : sum + term.value), 0) : 0 };
  };
  // Why class a and not b: the difference of two logits as a sum over what the last dense layer reads.
  const versus = (a, b) => {
    const k = logitsAt;
    if (stages[k].op !== "dense" || !arrays[k].kernel) return undefined;
    const [one, two] = [a, b].map((f) => takeApart(k, { f, r: 0, c: 0 }));
    const terms = one.terms.map((term, n) => ({ label: term.label, value: term.value - two.terms[n].value }));
    const bias = one.bias === undefined ? undefined : one.bias - two.bias;
    return {
      terms,
      bias,
      value: terms.reduce((sum, term) => sum + term.value, 0) + (bias || 0),
      go: one.go,
      of: "inputs",
      found: one.found - two.found,
      allowed: one.allowed + two.allowed,
    };
  };

  return {
    arrays,
    at,
    atlases,
    checkAll,
    checkStage,
    classes,
    host,
    images,
    label,
    largest,
    last,
    load,
    logitsAt,
    named,
    place,
    ready,
    shapes,
    stages,
    takeApart,
    versus,
    where,
    anchors: meta.anchors,
    kept: meta.kept,
    photographs: () => photographs,
    show: async (i) => {
      image = await load(i);
      return image;
    },
    image: () => image,
  };
})();
