"use strict";
// Training in the page: the gradients of the layers whose sums arithmetic.js computes, in double precision, and
// stochastic gradient descent with momentum. A network is its `stages`, one after another, and the `arrays` of each.
const training = (() => {
  const { EXACT, compute, count, exact, gamma, pooled, slid, windows, winner } =
    typeof arithmetic === "undefined" ? require("./arithmetic.js") : arithmetic;
  const BATCH = 32,
    APPROXIMATED = 1e-5,
    TINY = 2 ** -126,
    SOFTMAX = { op: "softmax", arrays: [] };

  // Xorshift (Marsaglia 2003, https://doi.org/10.18637/jss.v008.i14): alike in every browser.
  const generator = (seed) => {
    let word = Math.imul(seed + 1, 0x9e3779b1) | 1;
    return () => {
      word ^= word << 13;
      word ^= word >>> 17;
      word ^= word << 5;
      return (word >>> 0) / 2 ** 32;
    };
  };
  const shuffled = (n, random) => {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  };

  // How many numbers each array of a stage has, and its fans: what one number reads, and what reads one number.
  const area = ({ op, kernel }) => (op === "conv" ? count(kernel) : 1);
  const fans = (stage) => [area(stage) * stage.input.at(-1), area(stage) * stage.output.at(-1)];
  const size = (stage, name) => (name === "bias" ? stage.output.at(-1) : fans(stage)[0] * stage.output.at(-1));
  const zeros = (stages) =>
    stages.map((stage) => Object.fromEntries(stage.arrays.map((name) => [name, new Float64Array(size(stage, name))])));
  const listed = (stages, arrays) => stages.flatMap((stage, k) => stage.arrays.map((name) => arrays[k][name]));
  const copied = (arrays, change) =>
    arrays.map((own) => Object.fromEntries(Object.entries(own).map(([name, numbers]) => [name, change(numbers)])));
  // Glorot and Bengio 2010, as the program draws; biases begin at zero.
  const drawn = (stages, seed) => {
    const random = generator(seed),
      arrays = zeros(stages);
    stages.forEach((stage, k) => {
      const [read, made] = fans(stage),
        limit = Math.sqrt(6 / (read + made)),
        { kernel = [] } = arrays[k];
      for (let i = 0; i < kernel.length; i++) kernel[i] = (2 * random() - 1) * limit;
    });
    return arrays;
  };

  // What every stage makes of an input; the last are the logits.
  const forward = (stages, arrays, x) => {
    const outs = [x];
    stages.forEach((stage, k) => {
      if (!k || stage.op === "softmax") return;
      const sources = [outs[k - 1]];
      outs.push(EXACT.has(stage.op) ? exact(stage, sources) : compute(stage, sources, arrays[k]).right);
    });
    return outs;
  };
  const chances = (logits) => compute(SOFTMAX, [logits], {}).right;
  const most = (numbers) => numbers.reduce((best, v, i) => (v > numbers[best] ? i : best), 0);

  // From the gradient of what a stage made, `out`, to that of what it read, `into`; those of its arrays are added to
  // `sums`. `x` and `arrays` are multiplied; `seen` and `made` say which way a ReLU and a maximum went.
  const BACK = {
    conv: (stage, { x, out, into, arrays: { kernel }, sums }) => {
      const [, width, channels] = stage.input,
        features = stage.output[2];
      windows(stage, (pixel, rows, columns) => {
        const from = pixel * features;
        let silent = true;
        for (let f = 0; f < features; f++) silent = silent && out[from + f] === 0;
        if (silent) return;
        if (sums.bias) for (let f = 0; f < features; f++) sums.bias[f] += out[from + f];
        for (let i = 0; i < rows.length; i++)
          for (let j = 0; j < columns.length; j++) {
            if (rows[i] < 0 || columns[j] < 0) continue;
            const read = (rows[i] * width + columns[j]) * channels,
              tap = (i * columns.length + j) * channels;
            for (let k = 0; k < channels; k++) {
              const at = (tap + k) * features,
                value = x[read + k];
              let back = 0;
              for (let f = 0; f < features; f++) {
                sums.kernel[at + f] += value * out[from + f];
                back += kernel[at + f] * out[from + f];
              }
              into[read + k] += back;
            }
          }
      });
    },
    dense: (stage, { x, out, into, arrays: { kernel }, sums }) => {
      const [features] = stage.output;
      if (sums.bias) for (let f = 0; f < features; f++) sums.bias[f] += out[f];
      for (let k = 0; k < x.length; k++)
        for (let f = 0; f < features; f++) {
          const at = k * features + f;
          sums.kernel[at] += x[k] * out[f];
          into[k] += kernel[at] * out[f];
        }
    },
    relu: (_, { made, out, into }) => {
      for (let i = 0; i < out.length; i++) if (made[i] > 0) into[i] = out[i];
    },
    max_pool: (stage, { seen, out, into }) =>
      pooled(slid(stage), (at, places) => {
        into[winner(seen, places)] += out[at];
      }),
    avg_pool: (stage, { out, into }) =>
      pooled(slid(stage), (at, places) => {
        for (const place of places) into[place] += out[at] / places.length;
      }),
    flatten: (_, { out, into }) => into.set(out),
  };
  BACK.global_max_pool = BACK.max_pool;
  BACK.global_avg_pool = BACK.avg_pool;
  const backward = (stages, arrays, outs, read, top, sums) => {
    let out = top;
    for (let k = outs.length - 1; k; k--) {
      const into = new Float64Array(outs[k - 1].length),
        given = { x: read[k - 1], seen: outs[k - 1], made: outs[k], out, into, arrays: arrays[k], sums: sums[k] };
      BACK[stages[k].op](stages[k], given);
      out = into;
    }
  };

  // Adds the gradient of the cross-entropy of one picture, times `share`.
  const learn = (stages, arrays, x, label, share, sums) => {
    const outs = forward(stages, arrays, x),
      logits = outs.at(-1),
      chance = chances(logits);
    backward(stages, arrays, outs, outs, chance.map((p, f) => (p - (f === label)) * share), sums);
    return { loss: -Math.log(Math.max(chance[label], Number.MIN_VALUE)), right: most(logits) === label };
  };
  // By how much float32 may be off, stage by stage, from the logits back: `unsure` is what may differ in each number
  // that a stage made, `off` in the gradient of it. A ReLU or a maximum that is decided by less may go the other way.
  const unsure = (stages, arrays, large, outs) => {
    const made = [new Float64Array(outs[0].length)];
    stages.slice(0, outs.length).forEach((stage, k) => {
      if (!k) return;
      const sources = [made[k - 1]];
      if (stage.op === "relu") made.push(made[k - 1]);
      else if (EXACT.has(stage.op)) made.push(exact(stage, sources));
      else {
        const { allowed } = compute(stage, [outs[k - 1]], arrays[k]),
          passed = compute({ ...stage, arrays: [] }, sources, { kernel: large[k].kernel }).right;
        made.push(allowed.map((v, i) => v + passed[i]));
      }
    });
    return made;
  };
  const DOUBT = {
    relu: (_, { seen, doubt, gradient, into }) => {
      for (let i = 0; i < into.length; i++) if (seen[i] !== 0 && Math.abs(seen[i]) <= doubt[i]) into[i] += gradient[i];
    },
    max_pool: (stage, { seen, doubt, gradient, into }) =>
      pooled(slid(stage), (at, places) => {
        const first = winner(seen, places),
          close = places.filter((place) => seen[first] - seen[place] <= doubt[first] + doubt[place]);
        if (close.length > 1) for (const place of close) into[place] += gradient[at];
      }),
  };
  DOUBT.global_max_pool = DOUBT.max_pool;
  const doubts = (stages, arrays, x, label, rows, sums) => {
    const outs = forward(stages, arrays, x),
      large = copied(arrays, (numbers) => numbers.map(Math.abs)),
      doubt = unsure(stages, arrays, large, outs),
      chance = chances(outs.at(-1)),
      // An error of the logits is twice that of a chance, in parts of it.
      part = 2 * Math.max(...doubt.at(-1)) + APPROXIMATED;
    let gradient = chance.map((p, f) => (p - (f === label)) / rows),
      off = chance.map((p, f) => (p * part) / rows + gamma(4) * Math.abs(gradient[f]));
    for (let k = outs.length - 1; k; k--) {
      const stage = stages[k],
        empty = () => new Float64Array(outs[k - 1].length),
        taken = stage.arrays.length ? fans(stage)[1] + (rows * count(stage.output)) / stage.output.at(-1) : rows,
        given = { seen: outs[k - 1], made: outs[k], arrays: large[k], sums: sums[k], doubt: doubt[k - 1] },
        [next, into] = [empty(), empty()];
      BACK[stage.op](stage, { ...given, x: outs[k - 1], out: gradient, arrays: arrays[k], sums: zeros([stage])[0], into: next });
      gradient = gradient.map(Math.abs);
      const both = off.map((v, i) => v + gradient[i]);
      BACK[stage.op](stage, { ...given, x: doubt[k - 1], out: both, sums: { kernel: sums[k].kernel }, into: empty() });
      const rounded = off.map((v, i) => v + gamma(taken + 4) * gradient[i]);
      BACK[stage.op](stage, { ...given, x: outs[k - 1].map(Math.abs), out: rounded, into });
      if (DOUBT[stage.op]) DOUBT[stage.op](stage, { ...given, gradient: both, into });
      [gradient, off] = [next, into];
    }
  };
  // The gradient of a batch, its mean, and the difference from it that is allowed to each number of JAX's.
  const gradient = (stages, arrays, batch) => {
    const [right, allowed] = [zeros(stages), zeros(stages)];
    for (const { x, label } of batch) {
      learn(stages, arrays, x, label, 1 / batch.length, right);
      doubts(stages, arrays, x, label, batch.length, allowed);
    }
    return { right, allowed: copied(allowed, (numbers) => numbers.map((v) => v + TINY)) };
  };
  const agree = (stages, { right, allowed }, found) => {
    const wrong = [];
    let numbers = 0;
    stages.forEach((stage, k) =>
      stage.arrays.forEach((name) => {
        numbers += right[k][name].length;
        right[k][name].forEach((v, i) => {
          if (!(Math.abs(v - found[k][name][i]) <= allowed[k][name][i])) wrong.push(`${stage.name}/${name} ${i}`);
        });
      }),
    );
    return { numbers, right: numbers - wrong.length, wrong };
  };

  // A network that learns; `picture(row)` is the input and the label of one for training.
  const begin = ({ stages, arrays, count: pictures, picture, seed = 1 }) => {
    const own = copied(arrays, (numbers) => Float64Array.from(numbers)),
      velocity = zeros(stages),
      random = generator(seed);
    let order = [];
    // As in the program, an epoch ends with its last whole batch.
    const next = () => {
      const size = Math.min(BATCH, pictures);
      if (order.length < size) order = shuffled(pictures, random);
      return order.splice(0, size);
    };
    // One step, picture by picture, so that whoever draws may do so in between. A loss that is not finite ends it.
    function* step(rows, rate, momentum) {
      const sums = zeros(stages);
      let [loss, right] = [0, 0];
      for (const row of rows) {
        const { x, label } = picture(row),
          found = learn(stages, own, x, label, 1 / rows.length, sums);
        loss += found.loss / rows.length;
        right += found.right / rows.length;
        yield;
      }
      const [gradients, moved, weights] = [sums, velocity, own].map((each) => listed(stages, each));
      if (!Number.isFinite(loss) || !gradients.every((each) => each.every(Number.isFinite))) return { loss: NaN, right };
      weights.forEach((each, n) => {
        for (let i = 0; i < each.length; i++) {
          moved[n][i] = momentum * moved[n][i] + gradients[n][i];
          each[i] -= rate * moved[n][i];
        }
      });
      return { loss, right };
    }
    const answer = (x) => most(forward(stages, own, x).at(-1));
    return { stages, arrays: own, next, step, answer, look: (x) => forward(stages, own, x) };
  };
  const finish = (steps) => {
    let found = steps.next();
    while (!found.done) found = steps.next();
    return found.value;
  };

  return { BATCH, agree, begin, chances, drawn, finish, forward, gradient, most, zeros };
})();
if (typeof module !== "undefined") module.exports = training;
