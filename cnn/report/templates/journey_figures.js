"use strict";
// The journey's pictures: the map that is read and the map that is made, enlarged, and the outlines above every map.
Object.assign(
  explorer,
  (() => {
    const { compute, edge, exact, field, fixed, readers, unread } = arithmetic;
    const { above, hatch, layout, outline, paint, spot } = drawing;
    const { atlases, label, named, place, shapes, stages } = journey;
    const { LABELS, anchors, cards, channelOf, extreme, inks, kernels, limitOf, output, s, source } = explorer;
    const CURVE = { columns: 176, rows: 120, zoom: 1 },
      TILES = 1024;
    const slides = (stage) => stage.kernel.join() !== "1,1";
    const single = (shape) => layout([shape[0], shape[1], 1], 176);
    const folded = (from) => (stages[from].op === "flatten" ? stages[from].sources[0] : from);

    // What the stage would have made, had it pooled the other way.
    const swapped = (image, k) => {
      const stage = stages[k],
        x = image.outs[stage.sources[0]];
      return stage.op === "max_pool"
        ? compute({ ...stage, op: "avg_pool" }, [x], {}).right
        : exact({ ...stage, op: "max_pool" }, [x]);
    };
    const showOutput = () => {
      const image = journey.image(),
        stage = stages[s.k],
        other = s.other && explorer.parts.other;
      output.figure.hidden = stage.output.length !== 3;
      if (output.figure.hidden) return;
      const key = [image.number, s.k, s.f, s.scope, page.theme(), Boolean(other)].join();
      if (output.key !== key) {
        output.key = key;
        output.l = single(shapes[s.k]);
        const numbers = other ? swapped(image, s.k) : image.outs[s.k];
        paint(output.under, output.l, channelOf(numbers, shapes[s.k][2], s.f), limitOf(s.k, s.f), anchors());
      }
      const what = `${stage.name}, ${s.k ? "filter" : "channel"} ${s.f}`;
      output.note.textContent = other ? `${what}, pooled the other way: not what this run did` : `${what}: point here`;
    };
    const showCurve = ({ curve, x }, op) => {
      source.key = "";
      source.l = CURVE;
      source.under.width = source.under.height = 1;
      source.under.style.width = `${CURVE.columns}px`;
      source.under.style.height = `${CURVE.rows}px`;
      drawing.curve(above(source.over, CURVE), CURVE.columns, CURVE.rows, curve, x, inks);
      source.note.textContent = op === "relu" ? "max(0, x)" : op;
    };
    const showFold = ({ terms }, shape) => {
      const values = terms.map((term) => term.value);
      source.key = "";
      source.l = layout(shape, 208);
      paint(source.under, source.l, values, extreme(values), anchors());
      source.note.textContent = `contributions, folded back to ${shape.join("x")}`;
    };
    const showChannel = (from, channel) => {
      const image = journey.image(),
        key = `${image.number} ${from} ${channel} ${s.scope} ${page.theme()}`;
      source.l = single(stages[from].output);
      if (source.key !== key) {
        const numbers = channelOf(image.outs[from], shapes[from][2], channel);
        paint(source.under, source.l, numbers, limitOf(from, channel), anchors());
      }
      source.key = key;
      source.note.textContent = `${stages[from].name}, channel ${channel}`;
    };
    const showSource = () => {
      const { parts } = explorer,
        stage = stages[s.k],
        from = stage.sources[0],
        map = from !== undefined && stages[from].output.length === 3;
      source.figure.hidden = !(parts.fold || parts.curve || (map && (parts.cells || parts.window || parts.from)));
      if (source.figure.hidden) return;
      if (parts.curve) showCurve(parts, stage.op);
      else if (parts.fold) showFold(parts, stages[folded(from)].output);
      else if (parts.from) showChannel(from, parts.from.f);
      else showChannel(from, parts.cells ? parts.terms[s.term].f : s.f);
    };
    // The chosen filter whole: its kernel for every channel that it reads, the chosen one framed.
    const ranges = [];
    const showKernels = () => {
      const { parts } = explorer,
        stage = stages[s.k],
        { kernel, kept } = journey.arrays[s.k];
      kernels.figure.hidden = !parts.cells || parts.terms.length < 2;
      if (kernels.figure.hidden) return;
      const key = [s.k, s.f, page.theme()].join(),
        wide = kept ? kept.length : shapes[s.k][2],
        stored = kept ? kept.indexOf(s.f) : s.f;
      if (kernels.key !== key) {
        kernels.key = key;
        kernels.l = layout([...stage.kernel, parts.terms.length], 176);
        ranges[s.k] = ranges[s.k] || extreme(kernel);
        const own = Float32Array.from({ length: kernel.length / wide }, (_, n) => kernel[n * wide + stored]);
        paint(kernels.under, kernels.l, own, ranges[s.k], anchors());
        kernels.note.textContent = `filter ${s.f}: a kernel for each of ${parts.terms.length} channels; click one`;
      }
      const all = stage.kernel.map((side) => [0, side]);
      outline(above(kernels.over, kernels.l), kernels.l, s.term, all, inks.mark);
    };
    kernels.box.addEventListener("click", (event) => {
      const p = drawing.under(kernels, kernels.l, event);
      if (!p) return;
      s.term = p.f;
      s.pin = true;
      explorer.update();
    });
    const showFigures = () => {
      showOutput();
      showSource();
      showKernels();
    };

    // What it sees of earlier stages; a flattened number sees what its own place saw.
    const seen = () => {
      const { k, r, c } = explorer.parts.from || s;
      return field(stages, k, r, c);
    };

    // Outlines: the pointed pixel, what it sees in every earlier stage, who reads it, what nothing reads.
    const everywhere = (context, l, region, colour, thick) => {
      for (let f = 0; f < Math.min(l.channels, TILES); f++) outline(context, l, f, region, colour, thick);
    };
    const writeNames = (context, l, numbers) => {
      context.font = "12px system-ui, sans-serif";
      context.textBaseline = "middle";
      const write = (text, ink, align, x, f) => {
        context.fillStyle = ink;
        context.textAlign = align;
        context.fillText(text, l.zoom + x, (f + 0.5) * l.zoom);
      };
      numbers.forEach((v, f) => {
        write(fixed(v, 2), inks.muted, "right", 44, f);
        write(label(f).slice(0, 18), inks.text, "left", 54, f);
      });
    };
    const markCard = (k, region) => {
      const l = atlases[k],
        { card, over } = cards[k],
        stage = stages[k],
        { from } = explorer.parts,
        wide = named(k) && l.across === 1,
        context = above(over, l, wide ? LABELS : 0);
      card.classList.toggle("here", k === s.k);
      card.tabIndex = k === s.k ? 0 : -1;
      if (k === s.k) spot(context, l, k ? s.f : 0, s.r, s.c, inks.mark);
      else if (from && from.k === k) spot(context, l, k ? from.f : 0, from.r, from.c, inks.mark);
      else if (region && stage.output.length === 3) {
        const one = { ...l, channels: k ? l.channels : 1 };
        everywhere(context, one, region, inks.see, l.zoom < 3 && one.channels > 9 ? 1 : 2);
      } else if (region && k) outline(context, l, 0, [[0, l.rows], [0, l.columns]], inks.see, 1);
      if (stage.sources.includes(s.k) && slides(stage)) {
        const read = [readers(stage, 0, s.r), readers(stage, 1, s.c)];
        const span = read.map((places) => [places[0], places.at(-1) + 1]);
        if (read.every((places) => places.length)) everywhere(context, l, span, inks.text, 1);
      }
      if (wide) writeNames(context, l, journey.image().outs[k]);
    };
    const markOutput = () => {
      const { l } = output,
        context = above(output.over, l);
      if (explorer.timer) {
        // What the window has not come to yet.
        context.fillStyle = inks.card;
        for (let r = s.r; r < l.height; r++) {
          const c = r === s.r ? s.c + 1 : 0;
          context.fillRect(c * l.zoom, r * l.zoom, (l.width - c) * l.zoom, l.zoom);
        }
      }
      spot(context, l, 0, s.r, s.c, inks.mark);
    };
    const hatchUnread = (context, stage, l) => {
      const both = (places) => [0, 1].map((axis) => (slides(stage) ? places(stage, axis) : []));
      const lost = both(unread),
        rim = both(edge);
      for (let r = 0; r < l.height; r++)
        for (let c = 0; c < l.width; c++) {
          if (lost[0].includes(r) || lost[1].includes(c)) hatch(context, l, 0, r, c, inks.text);
          else if (rim[0].includes(r) || rim[1].includes(c)) hatch(context, l, 0, r, c, "#8889");
        }
      if (lost.flat().length) return "; hatched: no window reads it";
      return rim.flat().length ? "; hatched: no neighbours here, so never a centre" : "";
    };
    const markSource = (region) => {
      const { parts } = explorer,
        { l } = source,
        stage = stages[s.k];
      if (parts.curve) return;
      const context = above(source.over, l);
      if (parts.fold || parts.from) {
        const p = parts.from ? { ...parts.from, f: 0 } : place(folded(stage.sources[0]), s.term);
        spot(context, l, p.f, p.r, p.c, inks.mark);
        return;
      }
      source.note.textContent += hatchUnread(context, stage, l);
      const cells = (parts.cells ? parts.cells(s.term) : parts.window).flat();
      if (stage.dilation.every((d) => d === 1)) outline(context, l, 0, region, inks.see);
      else for (const cell of cells) if (cell.inside) spot(context, l, 0, cell.r, cell.c, inks.see, 2);
      if (parts.wins) spot(context, l, 0, parts.wins.r, parts.wins.c, inks.mark);
    };
    const drawMarks = () => {
      const regions = explorer.seen();
      stages.forEach((_, k) => markCard(k, regions.get(k)));
      if (!output.figure.hidden) markOutput();
      if (!source.figure.hidden) markSource(regions.get(stages[s.k].sources[0]));
    };

    // Pointing at what is read shows who reads it.
    source.box.addEventListener("pointermove", (event) => {
      const { parts } = explorer,
        stage = stages[s.k],
        p = !source.figure.hidden && drawing.under(source, source.l, event);
      if (!p || output.figure.hidden || parts.fold || parts.curve) return;
      const context = above(output.over, output.l);
      for (const r of readers(stage, 0, p.r))
        for (const c of readers(stage, 1, p.c)) spot(context, output.l, 0, r, c, inks.see, 2);
    });
    source.box.addEventListener("pointerleave", () => {
      if (explorer.parts) drawMarks();
    });
    return { drawMarks, seen, showFigures };
  })(),
);
