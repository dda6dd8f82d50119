"use strict";
// Training in the page against JAX, and against differences; FIXTURES names the file with what Python worked out.
const assert = require("node:assert");
const fs = require("node:fs");
const test = require("node:test");
const t = require("../cnn/report/templates/training.js");

const { gradients, steps, learning } = JSON.parse(fs.readFileSync(process.env.FIXTURES, "utf8"));
const grouped = (stages, flat, Kind) =>
  stages.map((stage) => Object.fromEntries(stage.arrays.map((name) => [name, Kind.from(flat[`${stage.name}/${name}`])])));
const pictures = ({ table, images, labels, size }) => (row) => ({
  x: Float64Array.from({ length: size }, (_, i) => table[i % table.length][images[row * size + i]]),
  label: labels[row],
});

for (const { name, stages, arrays, inputs, labels, found } of gradients) {
  const weights = grouped(stages, arrays, Float64Array),
    batch = inputs.map((x, n) => ({ x: Float64Array.from(x), label: labels[n] })),
    jax = grouped(stages, found, Float32Array);
  test(`${name}: the gradient is JAX's, within what roundings may make`, () => {
    const own = t.gradient(stages, weights, batch),
      { numbers, right, wrong } = t.agree(stages, own, jax);
    assert.deepStrictEqual([wrong, right], [[], numbers]);
    // What is allowed says something: as a whole it is far less than the gradient.
    const sum = (of, value) => of.flatMap(Object.values).reduce((all, each) => each.reduce((a, v) => a + value(v), all), 0);
    const share = sum(own.allowed, (v) => v) / sum(own.right, Math.abs);
    assert.ok(share < 0.02, `${share} of it may differ`);
  });
  test(`${name}: another weight has another gradient`, () => {
    const k = weights.findLastIndex((own) => own.kernel),
      { kernel } = weights[k],
      n = t.most(jax[k].kernel.map(Math.abs)),
      kept = kernel[n];
    kernel[n] = -kept;
    assert.notDeepStrictEqual(t.agree(stages, t.gradient(stages, weights, batch), jax).wrong, []);
    kernel[n] = kept;
  });
  test(`${name}: the gradient is what a small change makes of the loss`, () => {
    const loss = () =>
      batch.reduce((sum, { x, label }) => sum - Math.log(t.chances(t.forward(stages, weights, x).at(-1))[label]), 0) / batch.length;
    const { right } = t.gradient(stages, weights, batch);
    weights.forEach((own, k) => {
      for (const [array, numbers] of Object.entries(own))
        for (let n = 0; n < numbers.length; n += Math.ceil(numbers.length / 7)) {
          const kept = numbers[n],
            change = 1e-6;
          const [high, low] = [kept + change, kept - change].map((v) => {
            numbers[n] = v;
            return loss();
          });
          numbers[n] = kept;
          const slope = (high - low) / (2 * change);
          assert.ok(Math.abs(slope - right[k][array][n]) < 1e-7, `${stages[k].name}/${array} ${n}: ${right[k][array][n]}, not ${slope}`);
        }
    });
  });
}

test("a hundred steps with JAX's batches lead to JAX's weights", () => {
  const { stages, arrays, batches, rate, momentum, after, losses, tolerance } = steps;
  const net = t.begin({ stages, arrays: grouped(stages, arrays, Float32Array), count: 1, picture: pictures(steps) });
  batches.forEach((rows, n) => {
    const { loss } = t.finish(net.step(rows, rate, momentum));
    assert.ok(Math.abs(loss - losses[n]) <= tolerance * Math.max(1, losses[n]), `step ${n}: loss ${loss}, not ${losses[n]}`);
  });
  grouped(stages, after, Float32Array).forEach((own, k) => {
    for (const [array, numbers] of Object.entries(own)) {
      const largest = numbers.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      const worst = numbers.reduce((most, v, n) => Math.max(most, Math.abs(v - net.arrays[k][array][n])), 0) / largest;
      if (process.env.TELL) console.log(stages[k].name, array, worst);
      assert.ok(worst <= tolerance, `${stages[k].name}/${array}: ${worst} of the largest`);
    }
  });
});

test("a step is cut into pieces, and one that is not finite changes nothing", () => {
  const { stages, arrays, batches } = steps;
  const net = t.begin({ stages, arrays: grouped(stages, arrays, Float32Array), count: 1, picture: pictures(steps) });
  const cut = net.step(batches[0], 0.1, 0);
  assert.strictEqual([...Array(batches[0].length)].filter(() => !cut.next().done).length, batches[0].length);
  t.finish(cut);
  const kernel = net.arrays.find((own) => own.kernel).kernel;
  kernel[0] = Infinity;
  const before = kernel.slice();
  assert.ok(Number.isNaN(t.finish(net.step(batches[1], 0.1, 0)).loss));
  assert.deepStrictEqual(kernel, before);
});

test("an epoch takes every picture once, in an order of its seed", () => {
  const stages = [{ op: "input", arrays: [] }];
  const orders = [1, 1, 2].map((seed) => {
    const net = t.begin({ stages, arrays: [{}], count: 100, picture: () => undefined, seed });
    return [net.next(), net.next(), net.next(), net.next()];
  });
  const epoch = orders[0].slice(0, 3).flat();
  assert.strictEqual(new Set(epoch).size, 96, "what is left over is not trained on");
  assert.ok(epoch.every((row) => row >= 0 && row < 100));
  assert.deepStrictEqual(orders[0], orders[1]);
  assert.notDeepStrictEqual(orders[0], orders[2]);
});

test("weights are drawn as Glorot and Bengio say", () => {
  const [kernel] = t.drawn(steps.stages, 3).map((own) => own.kernel).filter(Boolean),
    limit = Math.sqrt(6 / (9 + 9 * 8));
  assert.strictEqual(kernel.length, 72);
  assert.ok(kernel.every((v) => Math.abs(v) <= limit) && Math.max(...kernel.map(Math.abs)) > 0.9 * limit);
  assert.ok(t.drawn(steps.stages, 3).every((own) => !own.bias || own.bias.every((v) => v === 0)));
});

for (const each of learning)
  test(`${each.name} learns by itself`, () => {
    const { stages, arrays, train, labels, count, rate, momentum, accuracy, pattern, cosine } = each,
      picture = pictures(each);
    const net = t.begin({ stages, arrays: grouped(stages, arrays, Float32Array), count: train, picture, seed: 1 });
    for (let n = 0; n < count; n++) t.finish(net.step(net.next(), rate, momentum));
    let right = 0;
    for (let row = train; row < labels.length; row++) right += net.answer(picture(row).x) === labels[row];
    const found = right / (labels.length - train);
    if (process.env.TELL) console.log(each.name, found);
    assert.ok(found >= accuracy, `${found} of the pictures held out`);
    if (!pattern) return;
    const { kernel } = net.arrays.find((own) => own.kernel);
    const alike = kernel.reduce((sum, v, n) => sum + v * pattern[n], 0) / (Math.hypot(...kernel) * Math.hypot(...pattern));
    if (process.env.TELL) console.log(each.name, alike);
    assert.ok(Math.abs(alike) >= cosine, `cosine ${alike}`);
  });
