"use strict";
// The learning curves in another way: over epochs or seconds, the loss on a logarithmic axis, medians over the raw lines,
// or as wide as a narrow page is.
(() => {
  const holder = document.getElementById("crosshair");
  const { limits, names, rows, redrawn, ...drawn } = page.data("curves-data");
  const { size: [most, height], panels, best, bad, last, pace } = redrawn;
  let [width, left, right] = [most, drawn.left, drawn.right];
  const byId = (name) => document.getElementById(`curves-${name}`);
  const [across, log, median, said, svg] = ["x", "log", "median", "said", "drawn"].map(byId);
  const images = [...holder.querySelectorAll("img")];
  if (!rows.length) return;
  byId("controls").hidden = false;
  // Where the curves lie is read by who points at them.
  const fit = () => {
    const room = Math.max(280, holder.closest(".with-read").clientWidth);
    const narrow = room < most;
    [width, left, right] = narrow ? [room, 54 / room, 1 - 42 / room] : [most, drawn.left, drawn.right];
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    [holder.dataset.left, holder.dataset.right] = [left, right];
    return narrow;
  };
  for (const option of across.options) option.disabled = option.value !== "step" && !pace[option.value];

  const curveOf = (name) => {
    const column = names.indexOf(name);
    return column < 0 ? [] : rows.filter((row) => row[column] !== null).map((row) => [row[0], row[column]]);
  };
  // Of so many points around each, on both sides the same; never of the past alone, which would lag.
  const medians = (curve) => {
    const half = Math.max(1, Math.round(curve.length / 40));
    return curve.map(([step], place) => {
      const reach = Math.min(half, place, curve.length - 1 - place);
      const near = curve.slice(place - reach, place + reach + 1).map(([, value]) => value).sort((a, b) => a - b);
      return [step, near[near.length >> 1]];
    });
  };
  const panel = (name, kinds, scale, logarithmic) => {
    const [low, high] = panels[name];
    const [from, to] = [height * (1 - low - high), height * (1 - low)];
    const curves = kinds.map((kind) => [kind, curveOf(kind === "rate" ? "learning rate" : `${kind} ${name}`)]);
    const values = curves.flatMap(([, curve]) => curve.map(([, value]) => value));
    const span = plot.over(name === "accuracy" || logarithmic ? values : [0, ...values], { log: logarithmic, room: 0.03 });
    if (!logarithmic && name !== "accuracy") span.low = 0;
    const x = (step) => width * (left + ((right - left) * (step - limits[0])) / (limits[1] - limits[0]));
    const y = (value) => to - (to - from) * plot.share(span, value);
    const add = (...made) => svg.append(...made);
    const most = Math.max(...values, 0);
    const listed = name === "rate" ? [[plot.share(span, most), plot.written(Number(most.toPrecision(2)))]] : plot.ticks(span);
    for (const [share, text] of listed) {
      const at = (to - (to - from) * share).toFixed(1);
      add(plot.make("line", { class: "grid", x1: width * left, x2: width * right, y1: at, y2: at }));
      add(plot.make("text", { x: width * left - 6, y: Number(at) + 4, "text-anchor": "end" }, text));
    }
    if (bad !== null) add(plot.make("rect", { class: "bad", x: x(bad), y: from, width: width * right - x(bad), height: to - from }));
    if (best) add(plot.make("path", { class: "best", d: `M${x(best[0])} ${from}V${to}` }));
    const ends = [];
    for (const [kind, curve] of curves) {
      const drawn = curve.filter(([, value]) => !logarithmic || value > 0);
      if (!drawn.length) continue;
      const points = (some) => some.map(([step, value]) => [x(step), y(value)]);
      const smooth = median.checked && kind !== "rate" && drawn.length > 20;
      add(plot.make("path", { class: `${kind}${smooth ? " raw" : ""}`, d: plot.path(points(drawn)), "data-curve": `${kind} ${name}` }));
      if (smooth) add(plot.make("path", { class: `${kind} median`, d: plot.path(points(medians(drawn))) }));
      if (kind === "valid" && drawn.length <= 60) for (const [cx, cy] of points(drawn)) add(plot.make("circle", { class: kind, cx, cy, r: 2.5 }));
      if (kind !== "rate") ends.push([y(drawn[drawn.length - 1][1]), kind]);
    }
    ends.sort((a, b) => a[0] - b[0]).forEach(([at, kind], place) => {
      const apart = place && at - ends[0][0] < 14 ? ends[0][0] + 14 : at;
      add(plot.make("text", { class: kind, x: width * right + 6, y: apart + 4 }, kind));
    });
    const middle = (from + to) / 2;
    const title = name === "loss" ? `loss (nats${logarithmic ? ", log" : ""})` : name;
    add(plot.make("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, title));
    if (name === "rate") {
      const end = last * scale;
      const all = plot.ticks({ low: 0, high: Math.max(end, 1e-9), log: false });
      const every = Math.ceil((all.length * 48) / (width * (right - left)));
      const ticks = all.filter((_, place) => place % every === 0);
      for (const [, text, number = Number(text.replaceAll(",", ""))] of ticks) {
        add(plot.make("text", { x: x(number / scale), y: to + 16, "text-anchor": "middle", class: "x-tick", "data-step": number / scale }, text));
      }
      const titles = { step: "step", epoch: "epoch", seconds: "seconds of training, at the mean pace" };
      add(plot.make("text", { x: (width * (left + right)) / 2, y: to + 34, "text-anchor": "middle" }, titles[across.value]));
    }
  };
  const draw = () => {
    const plain = !fit() && across.value === "step" && !log.checked && !median.checked;
    images.forEach((image) => (image.hidden = !plain));
    svg.toggleAttribute("hidden", plain);
    svg.replaceChildren();
    if (plain) return void (said.textContent = "");
    panel("loss", ["train", "valid"], 1, log.checked);
    panel("accuracy", ["train", "valid"], 1, false);
    panel("rate", ["rate"], across.value === "step" ? 1 : pace[across.value], false);
    const zero = log.checked && [...curveOf("train loss"), ...curveOf("valid loss")].filter(([, value]) => value <= 0).length;
    said.textContent = zero ? `${zero} losses of 0 have no logarithm` : median.checked ? "raw lines pale, centred medians over them" : "";
  };
  for (const control of [across, log, median]) control.addEventListener("change", draw);
  addEventListener("resize", draw);
  draw();

  page.check("curves drawn", () => {
    const before = [across.value, log.checked, median.checked];
    [across.value, log.checked, median.checked] = [pace.epoch ? "epoch" : "step", true, true];
    draw();
    const loss = curveOf("train loss").filter(([, value]) => value > 0).length;
    const path = svg.querySelector('[data-curve="train loss"]');
    const drawn = path ? path.getAttribute("d").match(/[ML]/g).length : 0;
    [across.value, log.checked, median.checked] = before;
    draw();
    return drawn === loss ? "" : `${drawn} of ${loss} losses are drawn`;
  });
})();
