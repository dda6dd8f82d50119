"use strict";
// The network's arithmetic on stored float32 numbers. Products of two of them are exact here and are summed in double,
// so a sum is the sum; JAX's float32 may be off by gamma(n) times the sizes of the terms, and by no more.
const arithmetic = (() => {
  const UNIT = 2 ** -24,
    TINY = 2 ** -126,
    APPROXIMATED = 1e-5;
  const EXACT = new Set([
    "relu",
    "relu6",
    "max_pool",
    "global_max_pool",
    "flatten",
    "dropout",
    "drop_path",
    "identity",
    "concat",
  ]);
  const UNCHANGED = new Set(["flatten", "dropout", "drop_path", "identity"]);
  const WHOLE = new Set(["dense", "global_avg_pool", "global_max_pool", "group_norm", "softmax", "flatten"]);
  const gamma = (n) => (n * UNIT) / (1 - n * UNIT);
  const bound = (n, size) => gamma(n) * size + n * TINY;
  const count = (shape) => shape.reduce((product, n) => product * n, 1);
  // A vector is a map of one pixel.
  const asMap = (shape) => (shape.length === 3 ? shape : [1, 1, shape[0]]);

  const erfc = (x) => {
    if (x < 0) return 2 - erfc(-x);
    if (x > 27) return 0;
    if (x < 2.5) {
      let term = x,
        sum = x;
      for (let n = 1; term > sum * 1e-17; n++) sum += term *= (2 * x * x) / (2 * n + 1);
      return 1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
    }
    let fraction = x;
    for (let n = 80; n > 0; n--) fraction = x + n / 2 / fraction;
    return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
  };
  const sigmoid = (x) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
  const FUNCTIONS = {
    relu: (x) => (x > 0 ? x : 0),
    relu6: (x) => Math.min(x > 0 ? x : 0, 6),
    tanh: Math.tanh,
    sigmoid,
    silu: (x) => x * sigmoid(x),
    gelu: (x) => x * 0.5 * erfc(-x * Math.SQRT1_2),
    hard_sigmoid: (x) => Math.min(Math.max(x + 3, 0), 6) / 6,
    hard_swish: (x) => (x * Math.min(Math.max(x + 3, 0), 6)) / 6,
    dropout: (x) => x,
    drop_path: (x) => x,
    identity: (x) => x,
  };

  // Functions that a number of their layer shapes.
  const SHAPED = {
    leaky_relu: ({ slope }) => (x) => (x > 0 ? x : Math.fround(slope) * x),
    elu: ({ alpha }) => (x) => (x > 0 ? x : Math.fround(alpha) * Math.expm1(x)),
  };
  // Kinds whose arithmetic needs the numbers of their layer, which journeys of earlier versions lack.
  const NUMBERED = new Set([...Object.keys(SHAPED), "layer_norm", "local_response_norm", "upsample"]);
  const isKnown = (stage) => !NUMBERED.has(stage.op) || Boolean(stage.numbers);
  const functionOf = (stage) => {
    if (FUNCTIONS[stage.op]) return FUNCTIONS[stage.op];
    return SHAPED[stage.op] && isKnown(stage) ? SHAPED[stage.op](stage.numbers) : undefined;
  };

  // What one window reads along one axis: its taps, and -1 where it lies on padding.
  const taps = (stage, axis, out) => {
    const size = asMap(stage.input)[axis];
    return Array.from({ length: stage.kernel[axis] }, (_, tap) => {
      const place = out * stage.strides[axis] + tap * stage.dilation[axis] - stage.pads[axis][0];
      return place >= 0 && place < size ? place : -1;
    });
  };
  const known = new WeakMap();
  const windows = (stage, visit) => {
    if (!known.has(stage))
      known.set(
        stage,
        [0, 1].map((axis) => Array.from({ length: stage.output[axis] }, (_, out) => taps(stage, axis, out))),
      );
    const [rows, columns] = known.get(stage);
    for (let r = 0; r < rows.length; r++)
      for (let c = 0; c < columns.length; c++) visit(r * columns.length + c, rows[r], columns[c]);
  };
  // Numbers, and what may differ in each: worked out for who asks.
  const rounded = (right, allow) => {
    let allowed;
    return {
      right,
      get allowed() {
        allowed = allowed || allow();
        return allowed;
      },
    };
  };
  const absolute = (numbers) => numbers && numbers.map(Math.abs);

  // Of each number of a convolution, those whose kernels are stored.
  const convolved = (stage, x, { kernel, bias, kept }) => {
    const [, width, channels] = stage.input,
      features = stage.output[2],
      stored = kept ? kept.length : features,
      inputs = channels / stage.groups,
      share = features / stage.groups;
    const right = new Float64Array(count(stage.output)).fill(kept ? NaN : 0),
      sum = new Float64Array(stored);
    // Where each stored filter begins to read, in channels.
    const first = Int32Array.from(sum, (_, f) => Math.floor((kept ? kept[f] : f) / share) * inputs);
    windows(stage, (pixel, rows, columns) => {
      for (let f = 0; f < stored; f++) sum[f] = bias ? bias[f] : 0;
      for (let i = 0; i < rows.length; i++)
        for (let j = 0; j < columns.length; j++) {
          if (rows[i] < 0 || columns[j] < 0) continue;
          const from = (rows[i] * width + columns[j]) * channels,
            tap = (i * columns.length + j) * inputs;
          for (let k = 0; k < inputs; k++) {
            const at = (tap + k) * stored;
            if (stage.groups === 1) {
              const value = x[from + k];
              if (value !== 0) for (let f = 0; f < stored; f++) sum[f] += value * kernel[at + f];
            } else for (let f = 0; f < stored; f++) sum[f] += x[from + first[f] + k] * kernel[at + f];
          }
        }
      for (let f = 0; f < stored; f++) right[pixel * features + (kept ? kept[f] : f)] = sum[f];
    });
    return right;
  };
  const multiplied = (stage, x, { kernel, bias }) => {
    const features = stage.output[0],
      right = new Float64Array(features);
    for (let k = 0; k < x.length; k++)
      if (x[k] !== 0) for (let f = 0; f < features; f++) right[f] += x[k] * kernel[k * features + f];
    if (bias) for (let f = 0; f < features; f++) right[f] += bias[f];
    return right;
  };
  // Sums of n terms may differ by a part of the sum of their sizes.
  const summed = (sums, terms) => (stage, [x], arrays) =>
    rounded(sums(stage, x, arrays), () => {
      const sizes = { kernel: absolute(arrays.kernel), bias: absolute(arrays.bias), kept: arrays.kept };
      const part = terms(stage);
      return sums(stage, absolute(x), sizes).map((size) => bound(part, size) + arrays.rough * size);
    });
  const conv = summed(convolved, (stage) => count(stage.kernel) * (stage.input[2] / stage.groups) + 2);
  const dense = summed(multiplied, (stage) => stage.input[0] + 2);
  // Of each number of a pooling, where the numbers of its window lie in what it reads.
  const pooled = (stage, combine) => {
    const [, width, channels] = stage.input;
    windows(stage, (pixel, rows, columns) => {
      for (let f = 0; f < channels; f++) {
        const places = [];
        for (const row of rows)
          for (const column of columns) {
            if (row >= 0 && column >= 0) places.push((row * width + column) * channels + f);
          }
        combine(pixel * channels + f, places);
      }
    });
  };
  const winner = (x, places) => places.reduce((a, b) => (x[b] > x[a] ? b : a));
  const averaged = (stage, [x], { rough }) => {
    const right = new Float64Array(count(stage.output)),
      allowed = new Float64Array(right.length);
    const taken = stage.kernel[0] * stage.kernel[1];
    pooled(stage, (at, places) => {
      right[at] = places.reduce((sum, place) => sum + x[place], 0) / places.length;
      const size = places.reduce((sum, place) => sum + Math.abs(x[place]), 0) / places.length;
      allowed[at] = bound(taken + 1, size) + rough * size;
    });
    return { right, allowed };
  };
  const normalised = (stage, [x], { mean, var: variance, scale, bias, rough }) => {
    const channels = scale.length,
      epsilon = Math.fround(stage.epsilon);
    const right = new Float64Array(x.length),
      allowed = new Float64Array(x.length);
    for (let i = 0; i < x.length; i++) {
      const f = i % channels,
        factor = scale[f] / Math.sqrt(variance[f] + epsilon),
        moved = (x[i] - mean[f]) * factor;
      right[i] = moved + bias[f];
      allowed[i] = bound(8, Math.abs(moved) + Math.abs(bias[f])) + rough * Math.abs(x[i] * factor);
    }
    return { right, allowed };
  };
  const statistics = (stage, x, group) => {
    const channels = asMap(stage.input)[2],
      share = channels / stage.groups,
      pixels = x.length / channels;
    let sum = 0,
      level = 0,
      squares = 0;
    const each = (visit) => {
      for (let p = 0; p < pixels; p++) for (let k = 0; k < share; k++) visit(x[p * channels + group * share + k]);
    };
    each((v) => {
      sum += v;
      level += Math.abs(v);
    });
    const n = pixels * share,
      mean = sum / n;
    each((v) => {
      squares += (v - mean) ** 2;
    });
    return { n, mean, level: level / n, variance: squares / n };
  };
  // Of the channels of one place alone, or the features of a vector.
  const placeStatistics = (x, channels, place) => {
    const own = Array.from(x.subarray(place * channels, (place + 1) * channels));
    const average = (numbers) => numbers.reduce((sum, v) => sum + v, 0) / channels,
      mean = average(own);
    return { n: channels, mean, level: average(own.map(Math.abs)), variance: average(own.map((v) => (v - mean) ** 2)) };
  };
  const rescaled = (x, { scale, bias, rough }, epsilon, statisticsOf) => {
    const channels = scale.length,
      right = new Float64Array(x.length),
      allowed = new Float64Array(x.length);
    for (let i = 0; i < x.length; i++) {
      const f = i % channels,
        { n, mean, level, variance } = statisticsOf(f, Math.floor(i / channels));
      const inverse = 1 / Math.sqrt(variance + epsilon),
        normal = (x[i] - mean) * inverse,
        g = gamma(n + 8) + rough;
      right[i] = normal * scale[f] + bias[f];
      const size = level * inverse + Math.abs(normal) * (1 + g * (level * inverse) ** 2);
      allowed[i] = g * (size * Math.abs(scale[f]) + Math.abs(bias[f])) + (n + 8) * TINY;
    }
    return { right, allowed };
  };
  const grouped = (stage, [x], arrays) => {
    const share = arrays.scale.length / stage.groups;
    const groups = Array.from({ length: stage.groups }, (_, g) => statistics(stage, x, g));
    return rescaled(x, arrays, Math.fround(stage.epsilon), (f) => groups[Math.floor(f / share)]);
  };
  const layered = (stage, [x], arrays) => {
    const channels = arrays.scale.length;
    const places = Array.from({ length: x.length / channels }, (_, place) => placeStatistics(x, channels, place));
    return rescaled(x, arrays, Math.fround(stage.numbers.epsilon), (f, place) => places[place]);
  };
  // The channels whose squares a local response normalisation adds up, and what it divides by.
  const neighbours = (stage, x, i) => {
    const { size, k, alpha, beta } = stage.numbers,
      channels = asMap(stage.output)[2],
      f = i % channels,
      half = Math.floor(size / 2),
      first = Math.max(0, f - half),
      end = Math.min(channels, f + half + 1);
    let total = 0;
    for (let n = first; n < end; n++) total += x[i - f + n] ** 2;
    return { first, end, total, divisor: (Math.fround(k) + Math.fround(alpha) * total) ** Math.fround(beta) };
  };
  const localResponse = (stage, [x], { rough }) => {
    const right = Float64Array.from(x, (v, i) => v / neighbours(stage, x, i).divisor),
      share = APPROXIMATED + (1 + 2 * stage.numbers.beta) * rough;
    return { right, allowed: right.map((y) => share * Math.abs(y) + TINY) };
  };
  const scaled = (stage, [x], { scale, rough }) => {
    const right = Float64Array.from(x, (v, i) => v * scale[i % scale.length]);
    return { right, allowed: right.map((y) => bound(1, Math.abs(y)) + rough * Math.abs(y)) };
  };
  // The rows or columns that one of a larger map is made of, and how much of each it takes.
  const blend = (stage, axis, out) => {
    const { factor, method } = stage.numbers,
      last = stage.input[axis] - 1;
    if (method === "nearest") return [[Math.floor(out / factor[axis]), 1]];
    const middle = Math.min(Math.max((out + 0.5) / factor[axis] - 0.5, 0), last),
      low = Math.floor(middle),
      share = middle - low;
    return share ? [[low, 1 - share], [low + 1, share]] : [[low, 1]];
  };
  const upsampled = (stage, [x], { rough }) => {
    const [height, width, channels] = stage.output,
      right = new Float64Array(count(stage.output)),
      allowed = new Float64Array(right.length),
      exactly = stage.numbers.method === "nearest";
    for (let r = 0; r < height; r++)
      for (let c = 0; c < width; c++)
        for (let f = 0; f < channels; f++) {
          let sum = 0,
            size = 0;
          for (const [row, down] of blend(stage, 0, r))
            for (const [column, across] of blend(stage, 1, c)) {
              const part = down * across * x[(row * stage.input[1] + column) * channels + f];
              sum += part;
              size += Math.abs(part);
            }
          const at = (r * width + c) * channels + f;
          right[at] = sum;
          allowed[at] = (exactly ? 0 : bound(8, size)) + rough * size;
        }
    return { right, allowed };
  };
  const softmax = (stage, [x], { rough }) => {
    const largest = x.reduce((a, b) => Math.max(a, b), -Infinity),
      powers = Float64Array.from(x, (v) => Math.exp(v - largest));
    const sum = powers.reduce((a, b) => a + b, 0),
      right = powers.map((p) => p / sum);
    return { right, allowed: right.map((p) => (APPROXIMATED + 2 * rough * Math.abs(largest)) * p + TINY) };
  };
  const pointwise = (stage, [x], { rough }) => {
    const own = functionOf(stage),
      right = Float64Array.from(x, (v) => own(v));
    return { right, allowed: right.map((y, i) => APPROXIMATED * Math.abs(y) + TINY + 2 * rough * Math.abs(x[i])) };
  };
  const OPS = {
    conv,
    dense,
    softmax,
    avg_pool: averaged,
    batch_norm: normalised,
    group_norm: grouped,
    tanh: pointwise,
    sigmoid: pointwise,
    silu: pointwise,
    gelu: pointwise,
    elu: pointwise,
    layer_norm: layered,
    local_response_norm: localResponse,
    scale: scaled,
    upsample: upsampled,
    leaky_relu: (stage, [x], { rough }) => {
      const own = functionOf(stage),
        right = Float64Array.from(x, (v) => own(v));
      return { right, allowed: right.map((_, i) => bound(1, Math.abs(x[i])) + rough * Math.abs(x[i])) };
    },
    global_avg_pool: (stage, sources, arrays) => averaged(slid(stage), sources, arrays),
    hard_sigmoid: (stage, [x], { rough }) => {
      const right = Float64Array.from(x, FUNCTIONS.hard_sigmoid);
      return { right, allowed: right.map((_, i) => bound(2, Math.abs(x[i]) / 6 + 1) + rough * Math.abs(x[i])) };
    },
    hard_swish: (stage, [x], { rough }) => {
      const right = Float64Array.from(x, FUNCTIONS.hard_swish);
      const size = (v) => Math.abs(v) * (Math.abs(v) / 6 + 1);
      return { right, allowed: right.map((_, i) => bound(3, size(x[i])) + 2 * rough * size(x[i])) };
    },
    multiply: (stage, sources, { rough }) => {
      const right = Float64Array.from({ length: count(stage.output) }, (_, i) =>
        sources.reduce((product, source) => product * source[factorAt(stage, source, i)], 1),
      );
      const n = sources.length;
      return { right, allowed: right.map((v) => bound(n - 1, Math.abs(v)) + n * rough * Math.abs(v)) };
    },
    add: (stage, [a, b], { rough }) => {
      const right = Float64Array.from(a, (v, i) => v + b[i]);
      return { right, allowed: right.map((_, i) => (gamma(1) + rough) * (Math.abs(a[i]) + Math.abs(b[i])) + TINY) };
    },
  };
  // The number of a source that a number of a product is made of; a vector has one for each channel.
  const factorAt = (stage, source, i) => (source.length === count(stage.output) ? i : i % source.length);

  // A global pooling as one window.
  const overall = (stage) => ({
    kernel: stage.input.slice(0, 2),
    strides: [1, 1],
    dilation: [1, 1],
    pads: [
      [0, 0],
      [0, 0],
    ],
    output: [1, 1, stage.input[2]],
  });

  const slid = (stage) => (stage.op.startsWith("global") ? { ...stage, ...overall(stage) } : stage);

  // What the chains make of each place, one behind the other.
  const joined = (stage, sources) => {
    const out = new Float32Array(count(stage.output)),
      channels = asMap(stage.output)[2],
      places = out.length / channels;
    let first = 0;
    for (const source of sources) {
      const own = source.length / places;
      for (let place = 0; place < places; place++)
        out.set(source.subarray(place * own, (place + 1) * own), place * channels + first);
      first += own;
    }
    return out;
  };

  // What an exact stage makes of its sources; every other stage's numbers are stored.
  const exact = (stage, sources) => {
    const [x] = sources;
    if (stage.op === "relu" || stage.op === "relu6") return x.map(FUNCTIONS[stage.op]);
    if (UNCHANGED.has(stage.op)) return x;
    if (stage.op === "concat") return joined(stage, sources);
    const out = new x.constructor(count(stage.output));
    pooled(slid(stage), (at, places) => {
      out[at] = x[winner(x, places)];
    });
    return out;
  };

  // Numbers of a stage from its sources, and the difference allowed to each; undefined where the page cannot tell.
  const compute = (stage, sources, arrays) => {
    const missing = stage.arrays.some((name) => !arrays[name]);
    return missing || !OPS[stage.op] || !isKnown(stage) ? undefined : OPS[stage.op](stage, sources, { rough: 0, ...arrays });
  };
  // `rough` is the relative rounding of the stored output, where it is not float32.
  const agree = (stage, sources, arrays, output, rough = 0) => {
    const answer = compute(stage, sources, arrays),
      wrong = [];
    let numbers = 0,
      right = 0;
    if (answer)
      answer.right.forEach((value, i) => {
        if (Number.isNaN(value)) return;
        numbers++;
        if (Math.abs(value - output[i]) <= answer.allowed[i] + rough * Math.abs(output[i])) right++;
        else wrong.push(i);
      });
    return { numbers, right, wrong };
  };

  const CRC = Int32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
    return n;
  });
  const digest = (numbers) => {
    const bytes = new Uint8Array(Float32Array.from(numbers, (v) => v + 0).buffer);
    let crc = -1;
    for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ CRC[(crc ^ bytes[i]) & 255];
    return (crc ^ -1) >>> 0;
  };

  // The rows and columns of earlier stages that a region of stage k depends on: [first, end) of each axis, by stage.
  const field = (stages, k, row, column) => {
    const regions = new Map([
      [
        k,
        [
          [row, row + 1],
          [column, column + 1],
        ],
      ],
    ]);
    for (let at = k; at > 0; at--) {
      const region = regions.get(at),
        stage = stages[at];
      if (!region) continue;
      for (const source of stage.sources) {
        const shape = asMap(stages[source].output);
        const needed = [0, 1].map((axis) => {
          if (WHOLE.has(stage.op) || stages[source].output.length === 1) return [0, shape[axis]];
          const [first, end] = region[axis],
            step = stage.strides[axis],
            before = stage.pads[axis][0];
          const reach = (stage.kernel[axis] - 1) * stage.dilation[axis] + 1;
          return [Math.max(0, first * step - before), Math.min(shape[axis], (end - 1) * step - before + reach)];
        });
        const known = regions.get(source);
        regions.set(
          source,
          known ? needed.map(([a, b], axis) => [Math.min(a, known[axis][0]), Math.max(b, known[axis][1])]) : needed,
        );
      }
    }
    return regions;
  };
  // The outputs along one axis whose window reads a place, and the places that no window reads.
  const readers = (stage, axis, place) => {
    const outputs = Array.from({ length: asMap(stage.output)[axis] }, (_, out) => out);
    return outputs.filter((out) => taps(stage, axis, out).includes(place));
  };
  const unread = (stage, axis) => {
    const places = Array.from({ length: stage.input[axis] }, (_, place) => place);
    const read = new Set(Array.from({ length: stage.output[axis] }, (_, out) => taps(stage, axis, out)).flat());
    return places.filter((place) => !read.has(place));
  };
  // With valid padding: the places that are never the middle of a window, for want of neighbours.
  const edge = (stage, axis) => {
    const reach = (stage.kernel[axis] - 1) * stage.dilation[axis] + 1,
      half = (reach - 1) / 2,
      size = stage.input[axis];
    if (stage.op !== "conv" || stage.pads.flat().some(Boolean) || reach % 2 === 0) return [];
    return Array.from({ length: size }, (_, place) => place).filter((place) => place < half || place >= size - half);
  };

  // Decimals at which numbers show four digits, and the numbers rounded so that they add up as shown (largest remainder).
  const decimals = (numbers) => {
    const largest = Math.max(...numbers.map(Math.abs).filter(Number.isFinite), 0);
    return largest ? Math.min(12, Math.max(0, 3 - Math.floor(Math.log10(largest)))) : 0;
  };
  const apportion = (numbers, places, total = numbers.reduce((a, b) => a + b, 0)) => {
    const unit = 10 ** places,
      down = numbers.map((v) => Math.floor(v * unit));
    let missing = Math.round(total * unit) - down.reduce((a, b) => a + b, 0);
    const order = numbers.map((v, i) => [v * unit - down[i], i]).sort((a, b) => b[0] - a[0]);
    for (const [, i] of order) if (missing-- > 0) down[i]++;
    return down.map((v) => v / unit);
  };
  const fixed = (x, places, plus = false) => {
    const text = (x + 0).toFixed(places).replace(/^-(0(\.0*)?)$/, "$1");
    return plus && x >= 0 ? `+${text}` : text;
  };
  // A float32 in the fewest digits that tell it from its neighbours.
  const whole = (x) => {
    for (let digits = 1; digits < 9; digits++) {
      if (Math.fround(Number(x.toPrecision(digits))) === Math.fround(x)) return String(Number(x.toPrecision(digits)));
    }
    return String(Number(x.toPrecision(9)));
  };

  // The colours from -1 over the paper to +1, from nine anchors.
  const STEPS = 255;
  const ramp = (anchors) =>
    Array.from({ length: 2 * STEPS + 1 }, (_, i) => {
      const place = (i / (2 * STEPS)) * (anchors.length - 1),
        low = Math.min(Math.floor(place), anchors.length - 2);
      return [0, 2, 4].map((at) => {
        const [a, b] = [anchors[low], anchors[low + 1]].map((anchor) => parseInt(anchor.slice(at, at + 2), 16));
        return Math.round(a + (b - a) * (place - low));
      });
    });
  const shade = (x, limit) => STEPS + Math.round(STEPS * Math.max(-1, Math.min(1, limit ? x / limit : 0)));

  // The filter bench: a picture in grey, row by row, under any filter; then pooled by 2.
  const filtered = (picture, width, kernel, side) => {
    const out = [],
      height = picture.length / width;
    for (let r = 0; r + side <= height; r++)
      for (let c = 0; c + side <= width; c++) {
        out.push(
          kernel.reduce((sum, w, i) => sum + w * picture[(r + Math.floor(i / side)) * width + c + (i % side)], 0),
        );
      }
    return out;
  };
  const blocks = (map, width, kind) => {
    const out = [],
      height = map.length / width;
    for (let r = 0; r + 2 <= height; r += 2)
      for (let c = 0; c + 2 <= width; c += 2) {
        const four = [0, 1, width, width + 1].map((step) => map[r * width + c + step]);
        out.push(kind === "max" ? Math.max(...four) : four.reduce((a, b) => a + b) / 4);
      }
    return out;
  };
  const weighted = (kernel) => {
    const total = kernel.reduce((a, b) => a + b, 0),
      size = kernel.reduce((a, b) => a + Math.abs(b), 0);
    const near = (x) => Math.abs(x) <= 1e-9 * size;
    return near(total) || near(total - 1) ? kernel : kernel.map((w) => w / total);
  };

  return {
    EXACT,
    FUNCTIONS,
    agree,
    apportion,
    asMap,
    blend,
    blocks,
    bound,
    compute,
    count,
    decimals,
    digest,
    edge,
    erfc,
    exact,
    factorAt,
    field,
    filtered,
    fixed,
    functionOf,
    gamma,
    isKnown,
    neighbours,
    placeStatistics,
    pooled,
    ramp,
    readers,
    shade,
    slid,
    statistics,
    taps,
    unread,
    weighted,
    whole,
    windows,
    winner,
  };
})();
if (typeof module !== "undefined") module.exports = arithmetic;
