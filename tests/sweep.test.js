"use strict";
// Which trials the sweep's page keeps, and where its axes write numbers; FIXTURES names the file with what is right.
const assert = require("node:assert");
const fs = require("node:fs");
const test = require("node:test");
const plot = require("../cnn/report/templates/plot.js");
const rows = require("../cnn/report/templates/sweep_rows.js");

const fixtures = JSON.parse(fs.readFileSync(process.env.FIXTURES, "utf8"));

test("a brush keeps the trials that Python's filter keeps", () => {
  for (const { brushes, kept } of fixtures.brushes) {
    const found = fixtures.trials.filter((trial) => rows.passes(fixtures.axes, trial, new Map(brushes)));
    assert.deepStrictEqual(found.map((trial) => trial.n), kept);
  }
});
test("axes write the numbers that Python writes, where it writes them", () => {
  for (const { span, ticks } of fixtures.spans) {
    const found = plot.ticks(span);
    assert.deepStrictEqual(found.map(([, text]) => text), ticks.map(([, text]) => text));
    found.forEach(([share], place) => assert.ok(Math.abs(share - ticks[place][0]) < 1e-9));
  }
  for (const [number, text] of fixtures.written) assert.strictEqual(plot.written(number), text);
});
test("sorting is of numbers, stable, and puts last what is missing, both ways", () => {
  const entries = [["b", "10"], ["a", "9"], ["none", ""], ["c", "9"], ["d", "-1"], ["e", "1e-3"]];
  const names = (sign) => rows.sorted(entries, ([, value]) => value, sign).map(([name]) => name).join("");
  assert.strictEqual(names(1), "deacbnone");
  assert.strictEqual(names(-1), "bacednone");
  const texts = rows.sorted([["x", "relu"], ["y", "gelu"], ["z", ""]], ([, value]) => value, 1);
  assert.strictEqual(texts.map(([name]) => name).join(""), "yxz");
});
test("a table for spreadsheets holds no formula", () => {
  assert.strictEqual(rows.csv([["a", "=1+1", "-0.5", '@x,"y"']]), `a,'=1+1,-0.5,"'@x,""y"""`);
});
test("three values far off leave the others their colours, and what is shown alone is coloured anew", () => {
  const trials = Array.from({ length: 1003 }, (_, n) => ({ n, value: n < 1000 ? n / 1000 : 5000 + n }));
  const levels = rows.levels(trials, true, false);
  const inner = new Set(trials.slice(0, 1000).map((trial) => levels.get(trial.n)));
  assert.strictEqual(inner.size, 16);
  const byValue = rows.levels(trials, true, true);
  assert.strictEqual(new Set(trials.slice(0, 1000).map((trial) => byValue.get(trial.n))).size, 1);
  const best = rows.levels(trials.slice(900, 1000), true, true);
  assert.strictEqual(new Set(best.values()).size, 16);
});
