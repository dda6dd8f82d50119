"use strict";
// Maps as pictures: one canvas pixel a number, enlarged by the browser without smoothing; outlines on a canvas above.
const drawing = (() => {
  const { asMap, ramp, shade } = arithmetic;
  const palettes = new Map();
  const palette = (anchors) => {
    const key = anchors.join();
    if (!palettes.has(key)) {
      palettes.set(
        key,
        Uint32Array.from(ramp(anchors), ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0),
      );
    }
    return palettes.get(key);
  };

  // How the channels of a map lie beside one another, or the numbers of a vector.
  const layout = (shape, target) => {
    const [height, width, channels] = asMap(shape);
    const vector = shape.length === 1,
      across = vector
        ? channels <= 20
          ? 1
          : Math.ceil(Math.sqrt(channels))
        : Math.max(1, Math.round(Math.sqrt((channels * height) / width)));
    const gap = vector || channels === 1 ? 0 : 1,
      down = Math.ceil(channels / across);
    const columns = across * (width + gap) - gap,
      rows = down * (height + gap) - gap;
    const fit = target / Math.max(columns, vector ? rows : 1),
      zoom = fit >= 1 ? Math.min(Math.floor(fit), 24) : fit;
    return {
      height,
      width,
      channels,
      across,
      gap,
      columns,
      rows,
      zoom: vector && across === 1 ? Math.min(zoom, 18) : zoom,
    };
  };
  const tile = (l, f) => [(f % l.across) * (l.width + l.gap), Math.floor(f / l.across) * (l.height + l.gap)];
  const hit = (l, x, y) => {
    const column = Math.floor(x / l.zoom),
      row = Math.floor(y / l.zoom);
    const across = Math.floor(column / (l.width + l.gap)),
      down = Math.floor(row / (l.height + l.gap));
    const at = {
      f: down * l.across + across,
      r: row - down * (l.height + l.gap),
      c: column - across * (l.width + l.gap),
    };
    const inside = at.r >= 0 && at.c >= 0 && at.r < l.height && at.c < l.width && across < l.across;
    return inside && at.f >= 0 && at.f < l.channels ? at : undefined;
  };

  // What of a stack an event points at.
  const under = (view, l, event) => {
    const box = view.under.getBoundingClientRect();
    return hit(l, event.clientX - box.left, event.clientY - box.top);
  };

  const paint = (canvas, l, numbers, limit, anchors) => {
    const colours = palette(anchors);
    canvas.width = l.columns;
    canvas.height = l.rows;
    const context = canvas.getContext("2d"),
      image = context.createImageData(l.columns, l.rows);
    const pixels = new Uint32Array(image.data.buffer);
    for (let f = 0; f < l.channels; f++) {
      const [left, top] = tile(l, f),
        range = typeof limit === "function" ? limit(f) : limit;
      for (let r = 0; r < l.height; r++)
        for (let c = 0; c < l.width; c++) {
          pixels[(top + r) * l.columns + left + c] = colours[shade(numbers[(r * l.width + c) * l.channels + f], range)];
        }
    }
    context.putImageData(image, 0, 0);
    sized(canvas, l);
  };
  const photograph = (canvas, l, pixels, channels) => {
    canvas.width = l.columns;
    canvas.height = l.rows;
    const context = canvas.getContext("2d"),
      image = context.createImageData(l.columns, l.rows);
    for (let i = 0; i < l.columns * l.rows; i++) {
      let grey = 0;
      for (let k = 0; k < channels; k++) grey += pixels[i * channels + k] / channels;
      for (let k = 0; k < 3; k++) image.data[4 * i + k] = channels === 3 ? pixels[i * channels + k] : Math.round(grey);
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    sized(canvas, l);
  };
  const sized = (canvas, l) => {
    canvas.style.width = `${l.columns * l.zoom}px`;
    canvas.style.height = `${l.rows * l.zoom}px`;
  };

  // An empty canvas in CSS pixels above another; its context.
  const above = (canvas, l, extra = 0) => {
    const width = l.columns * l.zoom + extra,
      height = l.rows * l.zoom,
      ratio = devicePixelRatio || 1;
    const [wide, high] = [Math.ceil(width * ratio), Math.ceil(height * ratio)];
    const context = canvas.getContext("2d");
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  };
  // Around large pixels with a rim of the other brightness, so that it is seen on any colour.
  const rim = (colour) => (colour.match(/\d+/g).reduce((sum, level) => sum + Number(level), 0) < 384 ? "#fffc" : "#000c");
  const outline = (context, l, f, [rows, columns], colour, thick = 2) => {
    const [left, top] = tile(l, f);
    const stroke = (ink, width) => {
      context.strokeStyle = ink;
      context.lineWidth = width;
      context.strokeRect(
        (left + columns[0]) * l.zoom,
        (top + rows[0]) * l.zoom,
        (columns[1] - columns[0]) * l.zoom,
        (rows[1] - rows[0]) * l.zoom,
      );
    };
    if (l.zoom >= 5) stroke(rim(colour), thick + 2);
    stroke(colour, thick);
  };
  const spot = (context, l, f, r, c, colour, thick = 3) => outline(context, l, f, [[r, r + 1], [c, c + 1]], colour, thick);
  const hatch = (context, l, f, r, c, colour) => {
    const [left, top] = tile(l, f),
      x = (left + c) * l.zoom,
      y = (top + r) * l.zoom;
    context.strokeStyle = colour;
    context.lineWidth = 1;
    context.beginPath();
    for (let d = 0; d < 2 * l.zoom; d += 4) {
      context.moveTo(x + Math.max(0, d - l.zoom), y + Math.min(d, l.zoom));
      context.lineTo(x + Math.min(d, l.zoom), y + Math.max(0, d - l.zoom));
    }
    context.stroke();
  };
  const curve = (context, width, height, f, x, colours) => {
    const reach = Math.max(2, Math.abs(x) * 1.25),
      [low, high] = [Math.min(-0.6, f(-reach)), Math.max(f(reach), 0.6)];
    const px = (v) => ((v + reach) / (2 * reach)) * width,
      py = (v) => height - 6 - ((v - low) / (high - low)) * (height - 12);
    const line = (colour, points) => {
      context.strokeStyle = colour;
      context.lineWidth = 1.5;
      context.beginPath();
      points.forEach(([a, b], i) => (i ? context.lineTo(px(a), py(b)) : context.moveTo(px(a), py(b))));
      context.stroke();
    };
    line(colours.line, [
      [-reach, 0],
      [reach, 0],
    ]);
    line(colours.line, [
      [0, low],
      [0, high],
    ]);
    line(
      colours.text,
      Array.from({ length: 81 }, (_, i) => reach * (i / 40 - 1)).map((v) => [v, f(v)]),
    );
    context.fillStyle = colours.mark;
    context.beginPath();
    context.arc(px(x), py(f(x)), 5, 0, 7);
    context.fill();
  };
  // Elements, without markup from text; tables whose cells have the colours of their numbers.
  const el = (tag, options = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name.includes("-") || name === "role") made.setAttribute(name, value);
      else made[name] = value;
    }
    made.append(...children);
    return made;
  };
  const stack = () => {
    const under = el("canvas", { "aria-hidden": "true" }),
      over = el("canvas", { "aria-hidden": "true" });
    return { under, over, box: el("div", { className: "stack" }, under, over) };
  };
  const grid = () => {
    const caption = el("caption"),
      body = el("tbody");
    return { caption, body, table: el("table", { className: "grid" }, caption, body), cells: [], key: "" };
  };
  const fill = (table, caption, rows, show) => {
    table.caption.textContent = caption;
    const key = `${rows.length}x${rows[0].length}`;
    if (table.key !== key) {
      table.key = key;
      table.cells = rows.map((row) => row.map(() => el("td")));
      table.body.replaceChildren(...table.cells.map((row) => el("tr", {}, ...row)));
    }
    rows.forEach((row, i) => row.forEach((entry, j) => show(table.cells[i][j], entry, i * row.length + j)));
  };
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const cell = (td, text, value, limit, anchors) => {
    const [r, g, b] = ramp(anchors)[shade(value, limit)];
    td.textContent = text;
    td.title = arithmetic.whole(value);
    td.style.backgroundColor = `rgb(${r} ${g} ${b})`;
    td.style.color = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.179 ? "#000" : "#fff";
  };
  // A custom colour as the canvas understands it, in the theme of now.
  const probe = el("span", { hidden: true });
  const colour = (host, name) => {
    host.append(probe);
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  return {
    above,
    cell,
    colour,
    curve,
    el,
    fill,
    grid,
    hatch,
    hit,
    layout,
    outline,
    paint,
    palette,
    photograph,
    spot,
    stack,
    tile,
    under,
  };
})();
