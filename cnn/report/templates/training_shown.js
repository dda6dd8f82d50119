"use strict";
// Training as it is watched: buttons and sliders, the curves, the filters, and the maps of a picture that was held out.
const trainer = (() => {
  const host = document.getElementById("trainer");
  const { el, layout, paint, photograph } = drawing;
  const { asMap, count, fixed } = arithmetic;
  const { BATCH, agree, begin, chances, drawn, finish, gradient, most, zeros } = training;
  const meta = page.data("training-meta"),
    { classes, labels, size, train } = meta,
    kernels = Object.keys(meta.networks);
  // Milliseconds of a frame for training, between two pictures of it, and between two sentences for a screen reader; steps
  // between two measurements, points of a curve, and the least cosine that is worth a name.
  const BUDGET = 24,
    DRAWN = 80,
    SAID = 4000,
    EVERY = 20,
    POINTS = 400,
    ALIKE = 0.8;
  const s = { kernel: meta.own, draw: 0, step: 0, loss: NaN, learnt: NaN, accuracy: NaN, playing: false, diverged: false };

  // Controls.
  const button = (textContent, onclick) => el("button", { type: "button", textContent, onclick });
  const slider = (name, min, max, step, value, written, act) => {
    const shown = el("output"),
      input = el("input", { type: "range", min, max, step, "aria-label": name });
    input.value = value;
    const tell = () => {
      shown.textContent = written(Number(input.value));
      input.setAttribute("aria-valuetext", shown.textContent);
    };
    input.addEventListener("input", () => {
      tell();
      if (act) act(Number(input.value));
    });
    tell();
    return { input, value: () => Number(input.value), label: el("label", {}, name, input, shown) };
  };
  const power = (v) => String(Number((10 ** v).toPrecision(2)));
  const play = button("play", () => (s.playing ? pause() : start()));
  const tools = [
    play,
    button("one step", () => {
      pause();
      run(1);
    }),
    button("reset", () => reset()),
    button("other weights", () => reset({ draw: s.draw + 1 })),
  ];
  const rate = slider("learning rate", -3, 0, 0.05, Math.log10(0.05), power),
    momentum = slider("momentum", 0, 0.95, 0.05, 0.9, (v) => v.toFixed(2)),
    pace = slider("steps a second", 0, 3, 0.1, 1.7, power),
    side = slider("kernel size", 0, kernels.length - 1, 1, kernels.indexOf(meta.own), (v) => kernels[v] || "none", (v) =>
      reset({ kernel: kernels[v] }),
    ),
    seen = slider("picture", 0, Math.max(0, labels.length - train - 1), 1, 0, (v) => classes[labels[train + v]] || "", () => show());
  side.label.hidden = kernels.length < 2;
  const said = el("p", { className: "line" }),
    proof = el("p"),
    live = el("p", { className: "quiet", "aria-live": "polite" });
  const chart = plot.make("svg", { class: "learning", role: "img", viewBox: "0 0 320 190", width: 320, height: 190 });
  const figure = (...parts) => {
    const view = { canvas: el("canvas", { role: "img" }), note: el("figcaption") };
    view.figure = el("figure", {}, ...parts, view.canvas, view.note);
    return view;
  };
  const filters = figure(),
    photo = figure(),
    maps = el("div", { className: "sum-row" });
  const curves = el("figure", {}, chart, el("figcaption", { textContent: "loss of a batch (blue), accuracy on pictures held out (orange)" }));
  host.append(
    el("div", { className: "tools" }, ...tools, rate.label, momentum.label, side.label, pace.label),
    said,
    proof,
    el("div", { className: "sum-row" }, curves, filters.figure, photo.figure),
    el("div", { className: "tools" }, seen.label),
    maps,
    live,
  );

  // The network and the pictures.
  let table, pictures, given, net, course, views, history;
  const channels = meta.networks[meta.own][0].output[2];
  const picture = (row) => {
    const x = new Float64Array(size);
    for (let i = 0; i < size; i++) x[i] = table[(i % channels) * 256 + pictures[row * size + i]];
    return { x, label: labels[row] };
  };
  const stagesOf = (kernel) => meta.networks[kernel];
  const reset = (to = {}) => {
    pause();
    Object.assign(s, { step: 0, loss: NaN, learnt: NaN, accuracy: NaN, diverged: false }, to);
    const stages = stagesOf(s.kernel),
      stored = s.kernel === meta.own && !s.draw;
    net = begin({ stages, arrays: stored ? given.arrays : drawn(stages, s.draw), count: train, picture, seed: s.draw + 1 });
    history = { loss: [], accuracy: [] };
    course = lessons();
    views = stages.slice(1).filter((stage) => stage.output.length === 3).map((stage) => ({ ...figure(), stage }));
    maps.replaceChildren(...views.map((view) => view.figure));
    finish(measure());
    show();
    compared();
    tell(true);
  };
  // Of a curve that has grown long, every other point is forgotten.
  const note = (curve, value) => {
    curve.push([s.step, value]);
    if (curve.length > POINTS) history[curve === history.loss ? "loss" : "accuracy"] = curve.filter((_, i) => i % 2 === 0);
  };
  function* measure() {
    let right = 0;
    for (let row = train; row < labels.length; row++) {
      const { x, label } = picture(row);
      right += net.answer(x) === label;
      yield;
    }
    s.accuracy = right / (labels.length - train);
    note(history.accuracy, s.accuracy);
  }
  // Yields true where a step ends.
  function* lessons() {
    for (;;) {
      const steps = net.step(net.next(), 10 ** rate.value(), momentum.value());
      let part = steps.next();
      for (; !part.done; part = steps.next()) yield false;
      if (!Number.isFinite(part.value.loss)) {
        s.diverged = true;
        yield true;
        return;
      }
      s.step++;
      s.loss = part.value.loss;
      s.learnt = part.value.right;
      note(history.loss, s.loss);
      if (s.step % EVERY === 0) yield* measure();
      yield true;
    }
  }
  const run = (steps) => {
    for (let n = 0; n < steps && !s.diverged; ) if (course.next().value) n++;
    show();
    tell(true);
  };

  // Playing: as many steps of a frame as the pace asks for and its time allows.
  let frame, before, pictured, due;
  const turn = (now) => {
    if (!s.playing) return;
    due = Math.min(due + ((now - before) / 1000) * 10 ** pace.value(), 1000);
    before = now;
    for (const begun = performance.now(); due >= 1 && !s.diverged && performance.now() - begun < BUDGET; )
      if (course.next().value) due--;
    if (now - pictured >= DRAWN) {
      show();
      tell(false);
      pictured = now;
    }
    if (s.diverged) pause();
    else frame = requestAnimationFrame(turn);
  };
  const start = () => {
    if (s.diverged) reset();
    s.playing = true;
    play.textContent = "pause";
    before = pictured = performance.now();
    due = 1;
    frame = requestAnimationFrame(turn);
  };
  const pause = () => {
    cancelAnimationFrame(frame);
    play.textContent = "play";
    if (!s.playing) return;
    s.playing = false;
    show();
    tell(true);
  };

  // What is shown.
  const anchors = () => meta.anchors[page.theme()];
  const extreme = (numbers) => numbers.reduce((largest, v) => Math.max(largest, Math.abs(v)), 0);
  const written = (limit) => (limit ? limit.toPrecision(3) : "0");
  const likeness = (kernel, f, wide) => {
    const own = Array.from({ length: kernel.length / wide }, (_, n) => kernel[n * wide + f]),
      inputs = own.length / 9,
      norm = (numbers) => Math.hypot(...numbers) || 1;
    const found = Object.entries(meta.named).map(([name, pattern]) => {
      const alike = own.reduce((sum, v, n) => sum + v * pattern[Math.floor(n / inputs)], 0);
      return [name, alike / (norm(own) * norm(pattern) * Math.sqrt(inputs))];
    });
    return found.reduce((a, b) => (Math.abs(b[1]) > Math.abs(a[1]) ? b : a));
  };
  const showFilters = () => {
    const k = net.stages.findIndex((stage) => stage.arrays.includes("kernel")),
      stage = net.stages[k],
      { kernel } = net.arrays[k],
      wide = stage.output.at(-1),
      whole = kernel.length / wide === size;
    // A dense layer that reads the picture itself has a map for each class.
    const shape = stage.op === "conv" ? stage.kernel : whole ? net.stages[0].output.slice(0, 2) : [1, kernel.length / wide / channels];
    const l = layout([...shape, kernel.length / count(shape)], 208),
      limit = extreme(kernel);
    paint(filters.canvas, l, kernel, limit || 1, anchors());
    const three = stage.op === "conv" && stage.kernel.join() === "3,3";
    s.alike = three ? Array.from({ length: wide }, (_, f) => likeness(kernel, f, wide)) : [];
    const named = s.alike.map(([name, cosine], f) => (Math.abs(cosine) < ALIKE ? "" : `; ${f} looks like ${name} ${fixed(cosine, 2)}`));
    filters.note.textContent = `${stage.name}: ${wide} filter${wide > 1 ? "s" : ""}, up to ${written(limit)}${named.join("")}`;
    filters.canvas.setAttribute("aria-label", filters.note.textContent);
  };
  const showMaps = () => {
    const row = train + seen.value(),
      { x, label } = picture(row),
      outs = net.look(x),
      chance = chances(outs.at(-1)),
      best = most(chance),
      [height, width] = net.stages[0].output;
    photograph(photo.canvas, layout([height, width, 1], 112), pictures.subarray(row * size, (row + 1) * size), channels);
    photo.note.textContent = `truly ${classes[label]}; seen as ${classes[best]} (${fixed(chance[best], 2)})`;
    photo.canvas.setAttribute("aria-label", photo.note.textContent);
    for (const view of views) {
      const k = net.stages.indexOf(view.stage),
        limit = extreme(outs[k]);
      paint(view.canvas, layout(view.stage.output, 144), outs[k], limit || 1, anchors());
      view.note.textContent = `${view.stage.name} ${asMap(view.stage.output).join("x")}, up to ${written(limit)}`;
      view.canvas.setAttribute("aria-label", view.note.textContent);
    }
  };
  const showCurves = () => {
    const [left, right, top, bottom] = [34, 284, 8, 166],
      steps = plot.over([0, Math.max(s.step, 10)]),
      losses = plot.over([0, ...history.loss.map(([, loss]) => loss), Math.log(classes.length)]),
      x = (step) => left + (right - left) * plot.share(steps, step),
      y = (span, value) => bottom - (bottom - top) * plot.share(span, value);
    const text = (where, at, words, anchor) => plot.make("text", { x: where, y: at, "text-anchor": anchor }, words);
    const shares = { low: 0, high: 1 };
    const line = (curve, span, name) =>
      curve.length ? [plot.make("path", { class: name, d: plot.path(curve.map(([step, value]) => [x(step), y(span, value)])) })] : [];
    const thinned = (ticks) => ticks.filter((_, n) => n % Math.ceil(ticks.length / 4) === 0);
    chart.replaceChildren(
      ...plot.ticks(losses).map(([share, words]) => text(left - 4, bottom - (bottom - top) * share + 4, words, "end")),
      ...[0, 0.5, 1].map((share) => text(right + 4, y(shares, share) + 4, String(share), "start")),
      ...thinned(plot.ticks(steps)).map(([share, words]) => text(left + (right - left) * share, bottom + 16, words, "middle")),
      plot.make("rect", { x: left, y: top, width: right - left, height: bottom - top }),
      ...line(history.loss, losses, "loss"),
      ...line(history.accuracy, shares, "accuracy"),
    );
    chart.setAttribute("aria-label", sentence());
  };
  const sentence = () => {
    if (s.diverged) return `The loss is not a number any more after step ${s.step}: the learning rate is too high. Play begins anew.`;
    const epoch = (s.step / Math.max(1, Math.floor(train / BATCH))).toFixed(1), // of whole batches, as training.js cuts it
      loss = s.step ? `loss ${s.loss.toFixed(3)}, ${fixed(100 * s.learnt, 0)} % of its batch right, ` : "";
    return `Step ${s.step} (epoch ${epoch}): ${loss}${fixed(100 * s.accuracy, 1)} % of the pictures held out right.`;
  };
  let spoken = 0;
  const tell = (now) => {
    if (!now && performance.now() - spoken < SAID) return;
    spoken = performance.now();
    live.textContent = sentence();
  };
  const show = () => {
    said.textContent = sentence();
    said.classList.toggle("disagree", s.diverged);
    Object.assign(host.dataset, { step: s.step, loss: s.loss, accuracy: s.accuracy });
    showFilters();
    showMaps();
    showCurves();
  };

  // What was proven is of the run's own network and its first weights: of another it says nothing.
  let proven = {};
  const compared = () => {
    const own = s.kernel === meta.own && !s.draw;
    document.getElementById("practised").textContent = meta.written[s.kernel];
    Object.assign(proof, own ? proven : { className: "", textContent: "Other first weights than JAX's: drawn in this report, and compared with nothing." });
  };
  // The gradient of the first pictures at the first weights, against JAX's.
  const check = (arrays = given.arrays) => {
    const stages = stagesOf(meta.own),
      batch = Array.from({ length: Math.min(given.checked, train) }, (_, row) => picture(row));
    return agree(stages, gradient(stages, arrays, batch), given.gradients);
  };
  const ready = (async () => {
    const [numbers, bytes] = await Promise.all(["training-numbers", "training-pictures"].map(page.blob));
    const all = new Map(meta.places.map(([name, at, n]) => [name, new Float32Array(numbers, 4 * at, n)]));
    const grouped = (kind) =>
      stagesOf(meta.own).map((stage) => Object.fromEntries(stage.arrays.map((name) => [name, all.get(`${kind}/${stage.name}/${name}`)])));
    pictures = new Uint8Array(bytes);
    table = all.get("table");
    given = { arrays: grouped("arrays"), gradients: grouped("gradients"), checked: meta.checked };
    host.hidden = false;
    reset();
    const found = check(),
      right = !found.wrong.length;
    proven = {
      className: right ? "agree" : "disagree",
      textContent: right
        ? `✓ ${found.right.toLocaleString("en")} of ${found.numbers.toLocaleString("en")} numbers of the first gradient agree with JAX`
        : `✗ ${found.wrong.length} numbers of the gradient DO NOT AGREE with JAX, first ${found.wrong[0]}`,
    };
    compared();
    host.dataset.gradient = right ? `${found.right}/${found.numbers}` : "no";
  })();
  page.onTheme(() => net && show());

  page.check("training: every number of the gradient agrees", async () => {
    await ready;
    return check().wrong.slice(0, 3).join("; ");
  });
  page.check("training: one changed weight is found", () => {
    const arrays = given.arrays.map((own) => Object.fromEntries(Object.entries(own).map(([name, v]) => [name, v.slice()])));
    const k = arrays.findLastIndex((own) => own.kernel),
      { kernel } = arrays[k],
      n = most(given.gradients[k].kernel.map(Math.abs));
    kernel[n] = -kernel[n];
    return check(arrays).wrong.length ? "" : "the gradient agreed with another kernel";
  });
  page.check("training: the same start makes the same steps, and the loss falls", () => {
    const course = () => {
      reset({ draw: 0, kernel: meta.own });
      run(EVERY);
      return history.loss.map(([, loss]) => loss);
    };
    const [one, two] = [course(), course()],
      mean = (part) => part.reduce((a, b) => a + b, 0) / part.length;
    reset();
    if (one.some((loss, n) => loss !== two[n])) return "two courses differ";
    return mean(one.slice(-5)) < mean(one.slice(0, 5)) ? "" : `from ${one[0]} to ${one.at(-1)}`;
  });
  return { check, pause, rate, ready, reset, run, s, seen, side, start };
})();
