"use strict";
// The page's arithmetic against numbers that Python worked out; FIXTURES names the file with them.
const assert = require("node:assert");
const fs = require("node:fs");
const test = require("node:test");
const a = require("../cnn/report/templates/arithmetic.js");

const fixtures = JSON.parse(fs.readFileSync(process.env.FIXTURES, "utf8"));
const near = (found, right, allowed, what) =>
  assert.ok(Math.abs(found - right) <= allowed, `${what}: ${found}, not ${right}`);

for (const { name, stage, sources, arrays, right, allowed, float32 } of fixtures.stages) {
  const typed = sources.map((source) => Float32Array.from(source));
  const own = Object.fromEntries(Object.entries(arrays).map(([key, value]) => [key, Float32Array.from(value)]));
  if (a.EXACT.has(stage.op)) {
    test(`${name} is exact`, () => assert.deepStrictEqual([...a.exact(stage, typed)], right));
    continue;
  }
  test(`${name} is what Python says, and so is what may differ`, () => {
    const found = a.compute(stage, typed, own);
    right.forEach((value, i) => {
      near(found.right[i], value, 1e-12 * (1 + Math.abs(value)) + (stage.op === "gelu" ? 1e-14 : 0), `number ${i}`);
      near(found.allowed[i], allowed[i], 1e-9 * allowed[i] + 1e-14, `allowed of ${i}`);
    });
  });
  test(`${name} agrees with float32, and with nothing else`, () => {
    const output = Float32Array.from(float32);
    assert.deepStrictEqual(a.agree(stage, typed, own, output), {
      numbers: right.length,
      right: right.length,
      wrong: [],
    });
    const most = output.reduce((best, v, i) => (Math.abs(v) > Math.abs(output[best]) ? i : best), 0);
    output[most] *= 1.01;
    assert.deepStrictEqual(a.agree(stage, typed, own, output).wrong, [most]);
  });
  if (stage.op === "conv")
    test(`${name} reads as Python says`, () => {
      for (let r = 0; r < stage.output[0]; r++) assert.deepStrictEqual(a.taps(stage, 0, r), fixtures.taps[name][r]);
    });
}

test("a kernel of which few filters are kept is compared where it is", () => {
  const { stage, sources, arrays, float32 } = fixtures.stages.find(
    (each) => each.stage.op === "conv" && each.stage.groups === 1,
  );
  const features = stage.output[2],
    kept = [1, 3],
    whole = arrays.kernel;
  const kernel = Float32Array.from(whole.filter((_, i) => kept.includes(i % features)));
  const bias = Float32Array.from(kept, (f) => arrays.bias[f]);
  const { numbers, right } = a.agree(
    stage,
    [Float32Array.from(sources[0])],
    { kernel, bias, kept },
    Float32Array.from(float32),
  );
  assert.strictEqual(numbers, 2 * stage.output[0] * stage.output[1]);
  assert.strictEqual(right, numbers);
});

test("fields are Python's", () => {
  for (const { stages, number, row, column, regions } of fixtures.fields) {
    assert.deepStrictEqual(
      [...a.field(stages, number, row, column)].sort((x, y) => x[0] - y[0]),
      regions,
    );
  }
});

test("the lesson's window makes 577, and neither 732 nor 249", () => {
  const { picture, kernel } = fixtures.lesson;
  assert.deepStrictEqual(a.filtered(picture, 3, kernel, 3), [577]);
  assert.strictEqual(a.filtered(picture, 3, kernel.slice().reverse(), 3)[0], 732);
});

test("the bench filters, pools and weights as the command does", () => {
  for (const { picture, width, kernel, map, max, average, weighted } of fixtures.bench) {
    a.filtered(picture, width, kernel, 3).forEach((v, i) => near(v, map[i], 1e-9, `map ${i}`));
    a.blocks(map, width - 2, "max").forEach((v, i) => near(v, max[i], 1e-9, `max ${i}`));
    a.blocks(map, width - 2, "average").forEach((v, i) => near(v, average[i], 1e-9, `average ${i}`));
    a.weighted(kernel).forEach((v, i) => near(v, weighted[i], 1e-12, `weight ${i}`));
  }
});

test("rounded parts add up to the rounded whole, each off by less than one unit", () => {
  for (const { numbers, places, shown } of fixtures.apportioned) {
    const found = a.apportion(numbers, places),
      unit = 10 ** places;
    assert.deepStrictEqual(
      found.map((v) => Math.round(v * unit)),
      shown,
    );
    found.forEach((v, i) => assert.ok(Math.abs(v - numbers[i]) * unit < 1 + 1e-6));
  }
});

test("a digest is CRC-32, and minus zero is zero", () => {
  assert.strictEqual(a.digest(Float32Array.from(fixtures.digest.numbers)), fixtures.digest.crc);
  assert.strictEqual(a.digest(new Float32Array([-0])), a.digest(new Float32Array([0])));
});

test("colours are Python's, and zero is the paper", () => {
  const ramp = a.ramp(fixtures.colours.anchors);
  fixtures.colours.table.forEach((colour, i) => colour.forEach((part, k) => near(ramp[i][k], part, 1, `colour ${i}`)));
  assert.deepStrictEqual(ramp[a.shade(0, 7)], fixtures.colours.paper);
  assert.strictEqual(a.shade(3, 3), 510);
  assert.strictEqual(a.shade(-9, 3), 0);
});

test("rows that no window reads, and pixels that are never a centre", () => {
  const [pool, conv] = [fixtures.odd.pool, fixtures.odd.conv];
  assert.deepStrictEqual([a.unread(pool, 0), a.unread(pool, 1)], [[10], [10]]);
  assert.deepStrictEqual(
    [a.edge(conv, 0), a.edge(conv, 1)],
    [
      [0, 27],
      [0, 27],
    ],
  );
  assert.deepStrictEqual(a.readers(conv, 0, 0), [0]);
  assert.deepStrictEqual(a.readers(conv, 0, 5), [3, 4, 5]);
});

test("numbers are written in as few digits as tell them apart", () => {
  for (const x of [0.1, 1 / 3, -2.5, 1e-30, 123456.7].map(Math.fround))
    assert.strictEqual(Math.fround(Number(a.whole(x))), x);
  assert.strictEqual(a.whole(Math.fround(0.1)), "0.1");
  assert.strictEqual(a.fixed(-0.00001, 3), "0.000");
  assert.strictEqual(a.fixed(2, 2, true), "+2.00");
});
