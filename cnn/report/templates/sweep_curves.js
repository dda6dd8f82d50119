"use strict";
// All curves again, by another metric, over epochs or seconds, on a logarithmic axis, without the worst.
(() => {
  const svg = document.getElementById("curves-drawing");
  const { frame: [left, top, width, height], points } = page.data("curves-data");
  const byId = (name) => document.getElementById(`curves-${name}`);
  const [metric, across, log, clip, said] = ["metric", "x", "log", "clip", "said"].map(byId);
  const [ticks, lines, labels] = ["ticks", "lines", "labels"].map((name) => svg.querySelector(`.${name}`));
  byId("controls").hidden = false;
  const { trials } = sweep.data;
  const best = Number(svg.querySelector(".line.best")?.dataset.trial ?? -1);
  // Steps are exact; epochs and seconds follow from them at each trial's own pace.
  const scaled = {
    step: () => 1,
    epoch: (trial) => (trial.epochs && trial.step ? trial.epochs / trial.step : null),
    seconds: (trial) => (trial.seconds && trial.step ? trial.seconds / trial.step : null),
  };
  const names = { step: "step", epoch: "epoch", seconds: "seconds of training, at each trial's mean pace" };
  let ends = new Map();

  const curvesOf = () => {
    const found = new Map();
    trials.forEach((trial, place) => {
      const pace = scaled[across.value](trial);
      const curve = points[metric.value][place];
      const own = pace === null ? [] : curve.map(([step, value]) => [step * pace, value]).filter(([, value]) => !log.checked || value > 0);
      if (own.length) found.set(trial.n, own);
    });
    return found;
  };
  const limits = (curves) => {
    let values = [...curves.values()].flat().map(([, value]) => value);
    if (clip.checked) {
      values.sort((a, b) => a - b);
      const part = Math.floor(values.length * 0.05);
      const higher = metric.value === sweep.data.objective ? sweep.data.maximize : !/loss$/.test(metric.value);
      values = higher ? values.slice(part) : values.slice(0, values.length - part);
    }
    return plot.over(values, { log: log.checked, room: 0.04 });
  };
  const draw = () => {
    const curves = curvesOf();
    const x = { low: 0, high: Math.max(...[...curves.values()].map((curve) => curve[curve.length - 1][0]), 1e-9), log: false };
    const y = limits(curves);
    const down = (value) => top + height * (1 - Math.max(-0.02, Math.min(1.02, plot.share(y, value))));
    ends = new Map();
    for (const line of lines.querySelectorAll(".line")) {
      const number = Number(line.dataset.trial);
      const own = (curves.get(number) || []).map(([at, value]) => [left + width * plot.share(x, at), down(value)]);
      line.setAttribute("d", own.length ? plot.path(own) : "");
      if (own.length) ends.set(number, own[own.length - 1]);
    }
    for (const stop of lines.querySelectorAll(".stop")) {
      const end = ends.get(Number(stop.dataset.trial));
      stop.setAttribute("visibility", end ? "visible" : "hidden");
      if (end) [stop.setAttribute("x", end[0].toFixed(1)), stop.setAttribute("y", (end[1] + 4).toFixed(1))];
    }
    ticks.replaceChildren();
    for (const [share, text] of plot.ticks(y)) {
      const at = (top + height * (1 - share)).toFixed(1);
      ticks.append(plot.make("line", { class: "grid", x1: left, x2: left + width, y1: at, y2: at }));
      ticks.append(plot.make("text", { x: left - 6, y: Number(at) + 4, "text-anchor": "end" }, text));
    }
    for (const [share, text] of plot.ticks(x)) {
      ticks.append(plot.make("text", { x: left + width * share, y: top + height + 18, "text-anchor": "middle" }, text));
    }
    svg.querySelector(".x-name").textContent = names[across.value];
    svg.querySelector(".y-name").textContent = metric.value;
    const without = trials.length - curves.size;
    said.textContent = [
      without ? `${without} trials have no such curve` : "",
      clip.checked ? "the worst 5 % of the numbers lie beyond the edge" : "",
    ].filter(Boolean).join("; ");
    label();
  };
  // Whoever is coloured has its number at its end, numbers apart from one another.
  const label = () => {
    const marked = trials.filter((trial) => ends.has(trial.n) && (sweep.chosen.length ? sweep.chosen.includes(trial.g) : trial.n === best));
    const places = marked.map((trial) => [ends.get(trial.n)[1], trial]).sort((a, b) => a[0] - b[0]).slice(0, 18);
    labels.replaceChildren();
    let last = -Infinity;
    for (const [at, trial] of places) {
      last = Math.max(at, last + 14);
      labels.append(plot.make("text", { x: left + width + 6, y: (last + 4).toFixed(1) }, `trial ${trial.n}`));
    }
  };
  for (const control of [metric, across, log, clip]) control.addEventListener("change", draw);
  sweep.on(label);

  page.check("curves", () => {
    const before = new Map([...lines.querySelectorAll(".line")].map((line) => [line, line.getAttribute("d")]));
    draw();
    const numbers = (text) => text.match(/-?[\d.]+/g).map(Number);
    for (const [line, drawn] of before) {
      const again = numbers(line.getAttribute("d"));
      if (numbers(drawn).some((number, place) => Math.abs(number - again[place]) > 0.15)) return `trial ${line.dataset.trial} is drawn elsewhere`;
    }
    return "";
  });
})();
