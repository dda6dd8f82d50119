"use strict";
// The filter bench: a picture, nine numbers, the map they make, and the map pooled; point at a number to see its sum.
const bench = (() => {
  const host = document.getElementById("filter-bench");
  if (!host) return undefined;
  const { above, cell, el, fill, grid, layout, outline, paint, photograph, spot, stack } = drawing;
  const { blocks, filtered, weighted, whole } = arithmetic;
  const meta = page.data("bench-meta"),
    SIDE = 3,
    MOST = 128;
  const pictures = new Map(Object.entries(meta.pictures)),
    filters = new Map(Object.entries(meta.filters));
  const s = { picture: [...pictures.keys()][0], kernel: filters.get("lesson").kernel.slice(), pool: "max", r: 0, c: 0 };
  const option = (name) => el("option", { value: name, textContent: name });
  const source = el(
    "select",
    {
      "aria-label": "picture",
      onchange: () => choose(source.value),
    },
    ...[...pictures.keys()].map(option),
  );
  const file = el("input", { type: "file", accept: "image/*", "aria-label": "a picture of your own" });
  const preset = el("select", { "aria-label": "filter" });
  preset.append(...[...filters.keys(), "your own"].map(option));
  preset.onchange = () => {
    if (filters.has(preset.value)) {
      s.kernel = filters.get(preset.value).kernel.slice();
      update(true);
    }
  };
  const numbers = s.kernel.map((_, n) =>
    el("input", {
      type: "number",
      step: "any",
      "aria-label": `filter, row ${Math.floor(n / 3)}, column ${n % 3}`,
      oninput: () => {
        s.kernel = numbers.map((box) => (Number.isFinite(box.valueAsNumber) ? box.valueAsNumber : 0));
        preset.value = "your own";
        update();
      },
    }),
  );
  const own = el("div", { className: "nine", role: "group", "aria-label": "the filter's numbers" }, ...numbers);
  const weight = el("button", {
    type: "button",
    textContent: "weight to 0 or 1",
    title: "divide by the sum, so that the numbers add up to 1, unless they add up to 0",
    onclick: () => {
      s.kernel = weighted(s.kernel);
      preset.value = "your own";
      update(true);
    },
  });
  const pooling = el(
    "select",
    {
      "aria-label": "pooling",
      onchange: () => {
        s.pool = pooling.value;
        update();
      },
    },
    option("max"),
    option("average"),
  );
  const does = el("span", { className: "muted" });
  const views = ["picture", "map", "pooled"].map((name) => ({ ...stack(), name, note: el("figcaption") }));
  const [shown, made, pooled] = views,
    tables = [grid(), grid(), grid()],
    total = el("p", { className: "line" }),
    four = el("p", { className: "muted", id: "bench-pooled" });
  views.forEach((view) => {
    view.figure = el("figure", {}, view.box, view.note);
  });
  Object.entries({ role: "application", "aria-roledescription": "pixel explorer", "aria-label": "the map" }).forEach(
    ([key, value]) => made.box.setAttribute(key, value),
  );
  made.box.tabIndex = 0;
  host.append(
    el(
      "div",
      { className: "tools" },
      el("label", {}, "picture", source),
      el("label", {}, "or your own", file),
      el("label", {}, "filter", preset),
      weight,
      el("label", {}, "then pool by", pooling),
      does,
    ),
    el("div", { className: "sum-row" }, own, ...views.map((view) => view.figure)),
    el("div", { className: "sum-row" }, ...tables.map((each) => each.table)),
    total,
    four,
  );

  const extreme = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-12);
  const short = (v) => String(Number(v.toPrecision(6)));
  let state = {};
  const update = (typed = false) => {
    if (typed)
      numbers.forEach((box, n) => {
        box.value = short(s.kernel[n]);
      });
    const { width, pixels } = pictures.get(s.picture),
      height = pixels.length / width,
      map = filtered(pixels, width, s.kernel, SIDE);
    const wide = width - SIDE + 1,
      high = height - SIDE + 1,
      anchors = meta.anchors[page.theme()];
    const small = wide > 1 && high > 1 ? blocks(map, wide, s.pool) : [];
    const shapes = [
        [height, width, 1],
        [high, wide, 1],
        [high >> 1, wide >> 1, 1],
      ],
      l = shapes.map((shape) => layout(shape, 168));
    // The same size of a pixel in all three, but twice as large where four became one.
    l.forEach((each, n) => {
      each.zoom = n === 2 ? l[0].zoom * 2 : l[0].zoom;
    });
    state = { map, wide, high, small, l };
    photograph(
      shown.under,
      l[0],
      pixels.map((v) => Math.max(0, Math.min(255, v))),
      1,
    );
    const limit = extreme(map);
    paint(made.under, l[1], map, limit, anchors);
    pooled.figure.hidden = !small.length;
    if (small.length) paint(pooled.under, l[2], small, limit, anchors);
    shown.note.textContent = `picture, ${height}x${width}`;
    made.note.textContent = `map, ${high}x${wide}, ${short(Math.min(...map))} to ${short(Math.max(...map))}`;
    pooled.note.textContent = `pooled by ${s.pool}, ${high >> 1}x${wide >> 1}`;
    does.textContent = filters.has(preset.value)
      ? filters.get(preset.value).does
      : `adds up to ${short(s.kernel.reduce((a, b) => a + b, 0))}`;
    point(s.r, s.c);
  };
  const point = (r, c) => {
    const { map, wide, high, l } = state,
      { width, pixels } = pictures.get(s.picture);
    s.r = Math.max(0, Math.min(high - 1, r));
    s.c = Math.max(0, Math.min(wide - 1, c));
    const anchors = meta.anchors[page.theme()],
      rows = [0, 1, 2],
      at = (i, j) => pixels[(s.r + i) * width + s.c + j];
    const values = rows.map((i) => rows.map((j) => ({ x: at(i, j), w: s.kernel[i * 3 + j] }))),
      products = values.flat().map(({ x, w }) => x * w + 0);
    const limit = extreme(products),
      heaviest = extreme(s.kernel),
      sum = map[s.r * wide + s.c];
    fill(tables[0], "window", values, (td, { x }) => cell(td, short(x), x, 255, anchors));
    fill(tables[1], "× filter", values, (td, { w }) => cell(td, short(w), w, heaviest, anchors));
    fill(tables[2], "= products", values, (td, _, n) => cell(td, short(products[n]), products[n], limit, anchors));
    const signed = products.map((v, n) => (n ? (v < 0 ? "- " : "+ ") + short(Math.abs(v)) : short(v)));
    total.textContent = `row ${s.r}, column ${s.c}: ${signed.join(" ")} = ${short(sum)}`;
    host.dataset.sum = whole(sum);
    const mark = drawing.colour(host, "--mark"),
      see = drawing.colour(host, "--see"),
      square = (side, top, left) => [[top, top + side], [left, left + side]];
    outline(above(shown.over, l[0]), l[0], 0, square(SIDE, s.r, s.c), see);
    const [pr, pc] = [s.r >> 1, s.c >> 1],
      read = pr < high >> 1 && pc < wide >> 1,
      [over, small] = [made, pooled].map((view, n) => above(view.over, l[n + 1]));
    if (read) outline(over, l[1], 0, square(2, 2 * pr, 2 * pc), see);
    spot(over, l[1], 0, s.r, s.c, mark);
    if (read) spot(small, l[2], 0, pr, pc, mark, 2);
    four.textContent = read ? poolingOf([0, 1, wide, wide + 1].map((step) => map[2 * pr * wide + 2 * pc + step])) : "";
  };
  const poolingOf = (values) => {
    const sum = values.reduce((a, b) => a + b, 0),
      [most, mean] = [Math.max(...values), sum / values.length].map(short);
    return s.pool === "max"
      ? `Pooled: the largest of ${values.map(short).join(", ")} is ${most}. The average would be ${mean}.`
      : `Pooled: ${values.map(short).join(" + ")} = ${short(sum)}, and ${short(sum)} / 4 = ${mean}. The largest would be ${most}.`;
  };
  const pointed = (view, n, scale, shift) =>
    view.box.addEventListener("pointermove", (event) => {
      const p = drawing.under(view, state.l[n], event);
      if (p) point(p.r * scale - shift, p.c * scale - shift);
    });
  pointed(shown, 0, 1, 1);
  pointed(made, 1, 1, 0);
  pointed(pooled, 2, 2, 0);
  made.box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    point(s.r + step[0], s.c + step[1]);
  });
  // A picture of one's own stays in the browser.
  file.addEventListener("change", async () => {
    if (!file.files.length) return;
    try {
      const bitmap = await createImageBitmap(file.files[0]),
        shrink = Math.min(1, MOST / Math.max(bitmap.width, bitmap.height));
      const width = Math.max(SIDE, Math.round(bitmap.width * shrink)),
        height = Math.max(SIDE, Math.round(bitmap.height * shrink));
      const canvas = el("canvas", { width, height }),
        context = canvas.getContext("2d");
      context.drawImage(bitmap, 0, 0, width, height);
      const { data } = context.getImageData(0, 0, width, height);
      add(
        "your picture",
        width,
        Array.from({ length: width * height }, (_, i) =>
          Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]),
        ),
      );
      choose("your picture");
    } catch {
      does.textContent = "this file is no picture that the browser can read";
    }
  });
  const choose = (name) => {
    source.value = s.picture = name;
    s.r = s.c = 0;
    update();
  };
  const add = (name, width, pixels) => {
    if (!pictures.has(name)) source.append(option(name));
    pictures.set(name, { width, pixels });
  };
  if (typeof journey !== "undefined" && journey)
    journey.ready.then(() => {
      const [height, width, channels] = journey.shapes[0];
      if (Math.min(height, width) < SIDE) return;
      journey.photographs().forEach((pixels, i) => {
        const grey = Array.from({ length: height * width }, (_, p) =>
          channels === 3
            ? Math.round(0.299 * pixels[3 * p] + 0.587 * pixels[3 * p + 1] + 0.114 * pixels[3 * p + 2])
            : pixels[p * channels],
        );
        add(`image ${i + 1} of the journey`, width, grey);
      });
    });

  preset.value = "lesson";
  host.hidden = false;
  document.getElementById("bench-static").classList.add("story-off");
  document.getElementById("bench-formula").classList.add("story-off");
  update(true);
  page.onTheme(() => update());
  page.check("bench: the lesson's window makes 577", () => {
    const [window, { kernel }] = [pictures.get(Object.keys(meta.pictures)[0]), filters.get("lesson")];
    const sum = filtered(window.pixels, window.width, kernel, SIDE)[0];
    return sum === 577 && host.dataset.sum === "577" ? "" : `${sum}, shown ${host.dataset.sum}`;
  });
  page.check("bench: a line pops out under its own filter, and nowhere else", () => {
    const { width, pixels } = pictures.get("a horizontal line");
    const along = filtered(pixels, width, filters.get("horizontal").kernel, SIDE),
      across = filtered(pixels, width, filters.get("vertical").kernel, SIDE);
    return Math.max(...along) === 4 * 255 && across.every((v) => v === 0) ? "" : "it does not";
  });
  return { s, choose, point, update };
})();
