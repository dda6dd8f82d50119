"use strict";
// The page's own proof, run at `#selftest`.
(() => {
  const { apportion, decimals, digest, exact, field, filtered, readers, taps } = arithmetic;
  const { stages, shapes, images, last, logitsAt } = journey,
    root = document.documentElement;
  // A small generator, so that every run points at the same places.
  let seed = 1;
  const random = (n) => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed % n;
  };
  const anywhere = (k) => ({ k, f: random(shapes[k][2]), r: random(shapes[k][0]), c: random(shapes[k][1]) });

  page.check("journey: opens", async () => {
    await explorer.opened;
  });
  page.check("journey: every number of every image agrees", async () => {
    const found = [];
    for (let i = 0; i < images.length; i++) found.push(await journey.checkAll(await journey.load(i)));
    root.dataset.agreeAll = found.map((each) => `${each.right}/${each.numbers}`).join(" ");
    const wrong = found.flatMap((each) => each.wrong);
    root.dataset.agree = wrong.length ? "no" : `${found[explorer.s.i].right}/${found[explorer.s.i].numbers}`;
    return wrong.join("; ");
  });
  page.check("journey: one changed weight is found", async () => {
    const image = await journey.load(0),
      k = stages.findIndex((stage, n) => stage.arrays.includes("kernel") && journey.arrays[n].kernel);
    if (k < 0) return "";
    // Largest first: where all that one multiplies is zero, another is changed.
    const { kernel } = journey.arrays[k],
      order = Array.from(kernel.keys()).sort((a, b) => Math.abs(kernel[b]) - Math.abs(kernel[a]));
    const found = order.slice(0, 256).some((n) => {
      kernel[n] = -kernel[n];
      const { wrong } = journey.checkStage(image, k);
      kernel[n] = -kernel[n];
      return wrong.length;
    });
    return found ? "" : `${stages[k].name} agreed with other kernels`;
  });
  page.check("journey: what is shown adds up", async () => {
    for (let n = 0; n < 200; n++) {
      explorer.go(anywhere(random(last + 1)));
      const parts = explorer.parts;
      if (!parts.missing && !(Math.abs(parts.value - parts.found) <= parts.allowed))
        return `${explorer.bench.dataset.at}: ${parts.value}, JAX ${parts.found}`;
      const { top, entries, line, bias, places } = explorer.listed;
      if (!top.length) continue;
      const unit = 10 ** places,
        sum = entries.reduce(
          (total, entry) => total + Math.round(Number(entry.text) * unit),
          Math.round(bias * unit),
        );
      if (!line.endsWith(` ${arithmetic.fixed(sum / unit, places, true)}`))
        return `${explorer.bench.dataset.at}: ${line}, but ${sum / unit}`;
    }
    return "";
  });
  page.check("journey: following back leads to the image, and forward again", async () => {
    explorer.go({ k: last, f: 0, r: 0, c: 0 });
    for (let n = 0; n <= last && explorer.s.k; n++) explorer.follow();
    if (explorer.s.k) return `ended at ${stages[explorer.s.k].name}`;
    while (explorer.trail.length) explorer.goForward();
    return explorer.s.k === last ? "" : `came back to ${stages[explorer.s.k].name}`;
  });
  page.check("journey: a field is what changes a number", async () => {
    for (let n = 0; n < 50; n++) {
      const p = anywhere(1 + random(last)),
        stage = stages[p.k],
        region = field(stages, p.k, p.r, p.c).get(stage.sources[0]);
      if (stage.kernel.join() === "1,1") continue;
      const rows = taps(stage, 0, p.r).filter((row) => row >= 0);
      if (rows[0] !== region[0][0] || rows.at(-1) !== region[0][1] - 1)
        return `${stage.name}: rows ${rows}, field ${region[0]}`;
      if (!rows.every((row) => readers(stage, 0, row).includes(p.r)))
        return `${stage.name}: row ${p.r} is not among the readers of what it reads`;
    }
    return "";
  });
  page.check("journey: flattened numbers keep their places", async () => {
    const k = stages.findIndex((stage) => stage.op === "flatten");
    if (k < 0) return "";
    const source = stages[k].sources[0],
      image = await journey.load(0);
    for (let n = 0; n < stages[k].output[0]; n++) {
      const p = journey.place(source, n);
      if (journey.at(source, p) !== n || image.outs[source][n] !== image.outs[k][n]) return `number ${n}`;
    }
    return "";
  });
  page.check("journey: probabilities add up to 1", async () => {
    const image = await journey.load(0),
      sum = image.outs[last].reduce((a, b) => a + b, 0);
    return stages[last].op === "softmax" && Math.abs(sum - 1) > 1e-6 ? String(sum) : "";
  });
  page.check("journey: reasons add up to the difference of the logits", async () => {
    for (let a = 0; a < Math.min(5, shapes[logitsAt][2]); a++)
      for (let b = 0; b < a; b++) {
        const found = journey.versus(a, b);
        if (found && !(Math.abs(found.value - found.found) <= found.allowed)) return `${a} and ${b}`;
      }
    return "";
  });
  page.check("journey: the address restores the view", async () => {
    const to = anywhere(last > 3 ? 3 : 1);
    explorer.go(to);
    explorer.note();
    explorer.go({ k: 0, r: 0, c: 0 });
    await explorer.restore();
    return ["k", "f", "r", "c"].every((name) => explorer.s[name] === to[name]) ? "" : location.hash;
  });
  page.check("journey: quick, and small", async () => {
    explorer.durations.length = 0;
    for (let n = 0; n < 200; n++) explorer.go(anywhere(random(last + 1)));
    const times = [...explorer.durations].sort((a, b) => a - b);
    root.dataset.benchMs = times[times.length >> 1].toFixed(2);
    root.dataset.benchMs95 = times[Math.floor(times.length * 0.95)].toFixed(2);
    root.dataset.nodes = String(journey.host.querySelectorAll("*").length);
    return journey.host.querySelectorAll("*").length > 1500 ? `${root.dataset.nodes} elements` : "";
  });
  page.check("journey: after a ReLU nothing is orange", async () => {
    const k = stages.findIndex((stage) => stage.op === "relu");
    if (k < 0) return "";
    const image = await journey.load(explorer.s.i);
    return image.outs[k].every((v) => v >= 0) ? "" : stages[k].name;
  });
  page.check("journey: the paper is zero", () => {
    const colours = arithmetic.ramp(journey.anchors.light)[arithmetic.shade(0, 1)];
    return colours.join() === "245,245,245" ? "" : colours.join();
  });
})();
