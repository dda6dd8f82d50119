"use strict";
// The journey explorer: the stages in a strip, and a bench that takes the pointed number apart.
const explorer =
  journey &&
  (() => {
    const { apportion, decimals, edge, field, fixed, readers, taps, unread, whole } = arithmetic;
    const { above, el, fill, hatch, hit, layout, outline, paint, photograph, stack } = drawing;
    const { at, atlases, classes, host, images, label, last, logitsAt, named, place, shapes, stages, where } = journey;
    const LABELS = 170,
      root = document.documentElement,
      KEYS = [
        ["arrows (Shift: five at a time)", "move the pixel"],
        ["Home, End", "ends of the row; with Ctrl: corners"],
        ["Page Up, Page Down", "previous, next filter"],
        ["[ ]", "previous, next stage"],
        ["Enter", "follow the largest contribution one stage back"],
        ["Backspace", "forward again"],
        ["Esc", "unpin"],
        ["Space", "slide the window: play, pause"],
        ["c", "colours over map, layer or network"],
        ["t", "light or dark"],
        ["?", "these keys"],
      ];
    const s = { i: 0, k: 1, f: 0, r: 0, c: 0, pin: false, scope: "layer", term: undefined };
    let trail = [],
      limits = [],
      timer,
      start = 0,
      announce,
      noted,
      moved = false,
      told = 0,
      parts,
      listed = { top: [] },
      durations = [];
    const anchors = () => journey.anchors[page.theme()];
    const css = (name) => drawing.colour(host, name);
    let colours = {};

    // What stands there, once.
    const picker = el("div", { className: "picker", role: "radiogroup", "aria-label": "images" });
    const verdict = el("p", { className: "verdict" }),
      answer = el("span"),
      agreement = el("span", { textContent: "checking every number ..." });
    verdict.append(answer, agreement);
    const strip = el("div", { className: "strip" });
    const cards = stages.map((stage, k) => {
      const view = stack(),
        from =
          stage.sources.length && (stage.sources.length > 1 || stage.sources[0] !== k - 1)
            ? `reads ${stage.sources.map((source) => stages[source].name).join(" + ")}`
            : "";
      const name = `${stage.name}, ${stage.output.join(" x ")}`;
      const card = el(
        "div",
        {
          className: "stage",
          role: "application",
          "aria-roledescription": "pixel explorer",
          "aria-label": name,
          tabIndex: -1,
        },
        el("b", { textContent: stage.name }),
        el("span", { textContent: stage.output.join("x") }),
        el("p", {
          textContent: [stage.op === "add" || stage.text === stage.op ? "" : stage.text, stage.formula, from]
            .filter(Boolean)
            .join(" · "),
        }),
        view.box,
      );
      if (named(k) && atlases[k].across === 1) view.box.style.paddingRight = `${LABELS}px`;
      strip.append(card);
      return { ...view, card };
    });
    const button = (text, action, title = "") =>
      el("button", { type: "button", textContent: text, onclick: action, title });
    const title = el("h3"),
      status = el("span", { className: "muted" }),
      sees = el("p", { className: "muted" });
    const follow = button("follow back ↵", () => followBack(), "the largest contribution, one stage back (Enter)");
    const forward = button("forward again", () => goForward(), "Backspace"),
      play = button("slide the window", () => slide(), "Space");
    const speed = el("input", {
      type: "range",
      min: 30,
      max: 500,
      value: 120,
      "aria-label": "milliseconds a pixel",
      title: "right: slower",
    });
    const unpin = button(
        "unpin",
        () => {
          s.pin = false;
          update();
        },
        "Esc",
      ),
      copy = button("copy as formula", () => copyFormula());
    const scope = button("colours: layer", () => changeScope(), "c"),
      help = button("keys ?", () => dialog.showModal());
    const rampCanvas = el("canvas", { "aria-hidden": "true" }),
      low = el("span"),
      high = el("span");
    const ramp = el("span", { className: "ramp" }, low, el("span", { className: "middle" }, rampCanvas), high);
    const source = stack(),
      output = stack(),
      figures = el("div", { className: "sum-row" }),
      sourceNote = el("figcaption"),
      outputNote = el("figcaption");
    const sourceFigure = el("figure", {}, source.box, sourceNote),
      outputFigure = el("figure", {}, output.box, outputNote);
    const tables = ["window", "kernel", "products"].map(drawing.grid);
    figures.append(sourceFigure, ...tables.map((each) => each.table), outputFigure);
    const lines = el("p", { className: "line" }),
      sum = el("p", { className: "line" }),
      check = el("p");
    const list = el("ul", {
      className: "terms",
      role: "listbox",
      tabIndex: 0,
      "aria-label": "contributions, largest first",
    });
    const live = el("p", { className: "quiet", "aria-live": "polite" });
    const dialog = el(
      "dialog",
      { "aria-label": "keys" },
      el(
        "table",
        {},
        el(
          "tbody",
          {},
          ...KEYS.map(([key, does]) => el("tr", {}, el("th", { textContent: key }), el("td", { textContent: does }))),
        ),
      ),
      button("close", () => dialog.close()),
    );
    const bench = el(
      "div",
      { className: "bench" },
      el("div", { className: "tools" }, title, status),
      el(
        "div",
        { className: "tools" },
        follow,
        forward,
        unpin,
        play,
        el("label", {}, "pace", speed),
        copy,
        scope,
        ramp,
        help,
      ),
      figures,
      lines,
      sum,
      check,
      list,
      sees,
    );
    const choose = (name) =>
      el(
        "select",
        { "aria-label": name, onchange: () => compare() },
        ...classes.map((text, n) => el("option", { value: n, textContent: text })),
      );
    const [one, two] = ["why this class", "and not that"].map(choose),
      reasons = el("ul", { className: "terms" }),
      difference = el("p", { className: "line" });
    const why = el(
      "div",
      { className: "bench" },
      el("h3", { textContent: "Why this class and not that" }),
      el("div", { className: "tools" }, el("label", {}, "why", one), el("label", {}, "and not", two)),
      difference,
      reasons,
    );
    host.append(picker, verdict, strip, bench, why, live, dialog);
    play.disabled = false;

    // Colours.
    const extreme = (numbers) => numbers.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    const limitOf = (k, f) => {
      const image = journey.image();
      if (s.scope === "layer") return limits[k];
      if (s.scope === "network") return Math.max(...limits.slice(1));
      const channels = shapes[k][2];
      return extreme(image.outs[k].filter((_, i) => i % channels === f));
    };
    const paintAll = () => {
      const image = journey.image();
      limits = image.outs.map(extreme);
      colours = { mark: css("--mark"), see: css("--see"), line: css("--line"), text: css("--text") };
      stages.forEach((stage, k) => {
        const l = atlases[k];
        if (!k) photograph(cards[0].under, l, journey.photographs()[image.number], shapes[0][2]);
        else paint(cards[k].under, l, image.outs[k], s.scope === "map" ? (f) => limitOf(k, f) : limitOf(k), anchors());
      });
      told = 0;
    };
    // Enlarged, for pointing: one channel of a map.
    const single = (shape) => layout([shape[0], shape[1], 1], 176);
    const channelOf = (numbers, channels, f) => numbers.filter((_, i) => i % channels === f);

    const cell = (td, text, value, limit) => drawing.cell(td, text, value, limit, anchors());
    const off = (td, entry) => {
      td.className = entry.inside ? "" : "off";
      if (entry.inside) return false;
      td.textContent = "0 (padding)";
      td.title = "";
      td.style.backgroundColor = "";
      td.style.color = "";
      return true;
    };
    const MOST = 121;
    const showTables = (shown, places) => {
      const cells = parts.cells ? parts.cells(s.term) : parts.window;
      tables.forEach(({ table }, n) => {
        table.hidden = !cells || cells.flat().length > MOST || (n > 0 && !parts.cells);
      });
      if (!cells || cells.flat().length > MOST) return;
      const limit = (pick) => extreme(cells.flat().map(pick));
      const [xs, ws, ps] = [limit((c) => c.x), limit((c) => c.w), limit((c) => c.x * c.w)];
      const digits = (most) => decimals([most]);
      fill(
        tables[0],
        parts.cells ? `window of channel ${parts.terms[s.term].f}` : `window of channel ${s.f}`,
        cells,
        (td, c) => {
          if (!off(td, c)) cell(td, fixed(c.x, digits(xs)), c.x, xs);
          td.classList.toggle("wins", Boolean(parts.wins) && parts.wins.r === c.r && parts.wins.c === c.c);
        },
      );
      if (!parts.cells) return;
      fill(tables[1], "× kernel", cells, (td, c) => cell(td, fixed(c.w, digits(ws)), c.w, ws));
      const products = apportion(
        cells.flat().map((c) => c.x * c.w),
        places,
        shown,
      );
      fill(tables[2], `= products, together ${fixed(shown, places, true)}`, cells, (td, c, n) => {
        if (!off(td, c)) cell(td, fixed(products[n], places), c.x * c.w, ps);
      });
    };

    // The list of contributions: those named, and one for all others; what is shown adds up to what is shown.
    const rows = (into, entries) => {
      while (into.children.length < entries.length)
        into.append(el("li", {}, el("span"), el("span"), el("span", {}, el("i"))));
      while (into.children.length > entries.length) into.lastChild.remove();
      const most = Math.max(...entries.map((entry) => (entry.rest ? 0 : Math.abs(entry.value))), 1e-30);
      entries.forEach((entry, n) => {
        const [name, value, bar] = into.children[n].children,
          i = bar.firstChild;
        name.textContent = entry.label;
        value.textContent = entry.text;
        value.title = whole(entry.value);
        i.hidden = Boolean(entry.rest);
        i.className = entry.value < 0 ? "minus" : "";
        i.style.width = entry.rest ? "0" : `${(Math.abs(entry.value) / most) * 100}%`;
      });
    };
    const ledger = (from) => {
      const { top, rest, other } = journey.largest(from.terms),
        names = top.map((n) => from.terms[n].label);
      const values = [
        ...top.map((n) => from.terms[n].value),
        ...(rest ? [other] : []),
        ...(from.bias === undefined ? [] : [from.bias]),
      ];
      const places = decimals([...values, from.value]),
        shown = apportion(values, places, from.value);
      if (rest) names.push(`other ${rest} ${from.of}`);
      const entries = names.map((name, n) => ({
        label: name,
        value: values[n],
        text: fixed(shown[n], places, true),
        rest: n >= top.length,
      }));
      const bias = from.bias === undefined ? 0 : shown.at(-1),
        total = entries.reduce((sum, _, n) => sum + shown[n], 0);
      const begin = from.bias === undefined ? "" : `bias ${fixed(bias, places, true)} + `;
      return {
        top,
        places,
        shown,
        entries,
        bias,
        line: `${begin}${from.terms.length} ${from.of} ${fixed(total, places, true)} = ${fixed(bias + total, places, true)}`,
      };
    };
    const showTerms = () => {
      listed = { top: [] };
      list.hidden = !(parts.terms && !parts.whole) && !parts.bars;
      sum.textContent = "";
      tables.forEach(({ table }) => {
        table.hidden = true;
      });
      if (parts.bars) {
        rows(
          list,
          parts.bars
            .slice()
            .sort((a, b) => b.value - a.value)
            .slice(0, 13)
            .map((bar) => ({ ...bar, text: fixed(bar.value, 4) })),
        );
      } else if (parts.terms) {
        listed = ledger(parts);
        if (s.term === undefined || s.term >= parts.terms.length) s.term = listed.top[0];
        sum.textContent = parts.whole
          ? `${parts.terms[0].label} ${fixed(parts.bias, listed.places, true)} (bias) = ${whole(parts.value)}`
          : listed.line;
        if (!parts.whole) rows(list, listed.entries);
        [...list.children].forEach((item, n) => {
          item.setAttribute("role", "option");
          item.setAttribute("aria-selected", String(listed.top[n] === s.term));
        });
        const chosen = listed.top.indexOf(s.term),
          value = parts.terms[s.term].value;
        showTables(chosen >= 0 ? listed.shown[chosen] : Number(value.toFixed(listed.places)), listed.places);
      } else showTables();
      lines.textContent = [...(parts.lines || []), parts.note].filter(Boolean).join(" ");
    };

    const showCheck = () => {
      const difference = Math.abs(parts.value - parts.found),
        agrees = parts.missing || difference <= parts.allowed;
      check.className = agrees ? "agree" : "disagree";
      check.textContent = parts.missing
        ? `JAX: ${whole(parts.found)}`
        : parts.allowed
          ? `${agrees ? "✓ agrees" : "✗ DISAGREES"} with JAX: ${whole(parts.found)}, difference ${difference.toExponential(1)} of ${parts.allowed.toExponential(1)} allowed`
          : `${agrees ? "✓ exactly" : "✗ NOT"} what JAX has: ${whole(parts.found)}`;
      bench.dataset.sum = parts.missing ? "" : String(parts.value);
      bench.dataset.found = String(parts.found);
      bench.dataset.at = `${stages[s.k].name} ${s.f} ${s.r} ${s.c}`;
    };

    const showFigures = () => {
      const image = journey.image(),
        stage = stages[s.k],
        from = stage.sources[0],
        map = stage.output.length === 3;
      const fold = parts.fold
        ? stages[from].op === "flatten"
          ? stages[stages[from].sources[0]].output
          : stages[from].output
        : undefined;
      outputFigure.hidden = !map;
      if (map) {
        const l = single(shapes[s.k]),
          key = `o ${image.number} ${s.k} ${s.f} ${s.scope} ${page.theme()}`;
        if (output.key !== key) {
          output.key = key;
          output.l = l;
          paint(output.under, l, channelOf(image.outs[s.k], shapes[s.k][2], s.f), limitOf(s.k, s.f), anchors());
        }
        outputNote.textContent = `${stage.name}, ${s.k ? "filter" : "channel"} ${s.f}: point here`;
      }
      const channel = parts.cells ? parts.terms[s.term].f : s.f,
        shape = fold || (from === undefined ? [] : stages[from].output);
      sourceFigure.hidden = !(fold || parts.curve || (shape.length === 3 && (parts.cells || parts.window)));
      if (sourceFigure.hidden) return;
      if (parts.curve) {
        source.key = "";
        source.l = { columns: 176, rows: 120, zoom: 1 };
        source.under.width = 1;
        source.under.height = 1;
        source.under.style.width = "176px";
        source.under.style.height = "120px";
        drawing.curve(above(source.over, source.l), 176, 120, parts.curve, parts.x, colours);
        sourceNote.textContent = stage.op === "relu" ? "max(0, x)" : stage.op;
        return;
      }
      const key = fold ? "" : `s ${image.number} ${from} ${channel} ${s.scope} ${page.theme()}`;
      source.l = fold ? layout(fold, 208) : single(shape);
      if (fold)
        paint(
          source.under,
          source.l,
          parts.terms.map((term) => term.value),
          extreme(parts.terms.map((term) => term.value)),
          anchors(),
        );
      else if (source.key !== key)
        paint(
          source.under,
          source.l,
          channelOf(image.outs[from], shapes[from][2], channel),
          limitOf(from, channel),
          anchors(),
        );
      source.key = key;
      sourceNote.textContent = fold
        ? `contributions, folded back to ${fold.join("x")}`
        : `${stages[from].name}, channel ${channel}`;
    };

    // Outlines: the pointed pixel, what it sees in every earlier stage, who reads it, what nothing reads.
    const drawMarks = () => {
      const stage = stages[s.k],
        regions = field(stages, s.k, s.r, s.c),
        from = stage.sources[0];
      stages.forEach((_, k) => {
        const l = atlases[k],
          wide = named(k) && l.across === 1,
          context = above(cards[k].over, l, wide ? LABELS : 0),
          region = regions.get(k);
        cards[k].card.classList.toggle("here", k === s.k);
        cards[k].card.tabIndex = k === s.k ? 0 : -1;
        if (k === s.k)
          outline(
            context,
            l,
            k ? s.f : 0,
            [
              [s.r, s.r + 1],
              [s.c, s.c + 1],
            ],
            colours.mark,
            3,
          );
        else if (region && stages[k].output.length === 3) {
          const tiles = k ? Math.min(l.channels, 1024) : 1;
          for (let f = 0; f < tiles; f++) outline(context, l, f, region, colours.see, l.zoom < 3 && tiles > 9 ? 1 : 2);
        } else if (region && k)
          outline(
            context,
            l,
            0,
            [
              [0, l.rows],
              [0, l.columns],
            ],
            colours.see,
            1,
          );
        if (stages[k].sources.includes(s.k) && stages[k].kernel.join() !== "1,1") {
          const [rows, columns] = [readers(stages[k], 0, s.r), readers(stages[k], 1, s.c)];
          if (rows.length && columns.length)
            for (let f = 0; f < Math.min(l.channels, 1024); f++)
              outline(
                context,
                l,
                f,
                [
                  [rows[0], rows.at(-1) + 1],
                  [columns[0], columns.at(-1) + 1],
                ],
                colours.text,
                1,
              );
        }
        if (wide) {
          context.font = "12px system-ui, sans-serif";
          context.fillStyle = colours.text;
          context.textBaseline = "middle";
          for (let f = 0; f < l.channels; f++)
            context.fillText(
              `${fixed(journey.image().outs[k][f], 2)} ${label(f)}`.slice(0, 24),
              l.zoom + 6,
              (f + 0.5) * l.zoom,
            );
        }
      });
      if (!outputFigure.hidden) {
        const context = above(output.over, output.l);
        if (timer) {
          context.fillStyle = css("--card");
          for (let r = s.r; r < output.l.height; r++) {
            const c = r === s.r ? s.c + 1 : 0;
            context.fillRect(c * output.l.zoom, r * output.l.zoom, (output.l.width - c) * output.l.zoom, output.l.zoom);
          }
        }
        outline(
          context,
          output.l,
          0,
          [
            [s.r, s.r + 1],
            [s.c, s.c + 1],
          ],
          colours.mark,
          3,
        );
      }
      if (!sourceFigure.hidden && !parts.curve) {
        const context = above(source.over, source.l);
        if (parts.fold) {
          const p = place(stages[from].op === "flatten" ? stages[from].sources[0] : from, s.term);
          outline(
            context,
            source.l,
            p.f,
            [
              [p.r, p.r + 1],
              [p.c, p.c + 1],
            ],
            colours.mark,
            2,
          );
          return;
        }
        const lost = [0, 1].map((axis) => (stage.kernel.join() === "1,1" ? [] : unread(stage, axis))),
          rim = [0, 1].map((axis) => edge(stage, axis));
        for (let r = 0; r < source.l.height; r++)
          for (let c = 0; c < source.l.width; c++) {
            if (lost[0].includes(r) || lost[1].includes(c)) hatch(context, source.l, 0, r, c, colours.text);
            else if (rim[0].includes(r) || rim[1].includes(c)) hatch(context, source.l, 0, r, c, "#8889");
          }
        if (lost.flat().length) sourceNote.textContent += "; hatched: no window reads it";
        else if (rim.flat().length) sourceNote.textContent += "; hatched: no neighbours here, so never a centre";
        const cells = (parts.cells ? parts.cells(s.term) : parts.window).flat().filter((entry) => entry.inside);
        if (stage.dilation.some((d) => d > 1))
          cells.forEach((entry) =>
            outline(
              context,
              source.l,
              0,
              [
                [entry.r, entry.r + 1],
                [entry.c, entry.c + 1],
              ],
              colours.see,
              2,
            ),
          );
        else outline(context, source.l, 0, regions.get(from), colours.see, 2);
        if (parts.wins)
          outline(
            context,
            source.l,
            0,
            [
              [parts.wins.r, parts.wins.r + 1],
              [parts.wins.c, parts.wins.c + 1],
            ],
            colours.mark,
            3,
          );
      }
    };

    const sentence = () => {
      const begin = `${stages[s.k].name}, ${where(s.k, s)}: ${whole(parts.found)}`;
      const made =
        listed.top.length && !parts.whole
          ? ` = ${listed.line.split(" = ")[0]}; largest, ${parts.terms[listed.top[0]].label}, ${listed.entries[0].text}`
          : "";
      return `${begin}${made}. ${check.className === "agree" ? "Agrees" : "Disagrees"} with JAX.`;
    };
    const update = () => {
      if (!journey.image()) return;
      const begun = performance.now();
      parts = journey.takeApart(s.k, s);
      title.textContent = `${stages[s.k].name}, ${where(s.k, s)}: ${whole(parts.found)}`;
      showTerms();
      showCheck();
      showFigures();
      drawMarks();
      const seen = field(stages, s.k, s.r, s.c).get(0);
      sees.textContent = s.k
        ? `It sees ${seen.map(([a, b]) => b - a).join(" x ")} pixels of the image: rows ${seen[0][0]} to ${seen[0][1] - 1}, columns ${seen[1][0]} to ${seen[1][1] - 1}.`
        : "";
      status.textContent = timer ? "sliding" : s.pin ? "pinned" : "click to pin";
      unpin.hidden = !s.pin;
      forward.hidden = !trail.length;
      follow.hidden = !parts.go;
      copy.hidden = !parts.terms;
      play.textContent = timer ? "pause" : "slide the window";
      showRamp();
      clearTimeout(announce);
      clearTimeout(noted);
      announce = setTimeout(() => {
        live.textContent = sentence();
      }, 300);
      // An address that leads to another section stays as it is until something is pointed at.
      if (moved) noted = setTimeout(note, 300);
      durations.push(performance.now() - begun);
      if (durations.length > 400) durations.shift();
    };
    const showRamp = () => {
      const limit = limitOf(s.k, s.f),
        key = `${limit} ${page.theme()}`;
      if (told === key) return;
      told = key;
      const l = layout([1, 511, 1], 511);
      paint(
        rampCanvas,
        l,
        Float32Array.from({ length: 511 }, (_, i) => (i / 255 - 1) * limit),
        limit,
        anchors(),
      );
      rampCanvas.style.width = "";
      rampCanvas.style.height = "";
      low.textContent = `-${limit.toPrecision(3)}`;
      high.textContent = `+${limit.toPrecision(3)}`;
    };

    // Moving.
    const go = (to, keep = false) => {
      moved = true;
      const k = Math.max(0, Math.min(last, to.k === undefined ? s.k : to.k)),
        [height, width, channels] = shapes[k];
      const clamp = (v, n) => Math.max(0, Math.min(n - 1, v));
      const next = {
        k,
        f: clamp(to.f === undefined ? s.f : to.f, channels),
        r: clamp(to.r === undefined ? s.r : to.r, height),
        c: clamp(to.c === undefined ? s.c : to.c, width),
      };
      if (!keep) trail = [];
      if (next.k !== s.k || next.f !== s.f) s.term = undefined;
      Object.assign(s, next);
      update();
    };
    const followBack = () => {
      if (!parts.go) return;
      const before = { k: s.k, f: s.f, r: s.r, c: s.c, term: s.term },
        to = parts.go(s.term);
      trail.push(before);
      s.pin = true;
      s.term = undefined;
      go(to, true);
      reveal();
    };
    const goForward = () => {
      const to = trail.pop();
      if (!to) return;
      go(to, true);
      s.term = to.term;
      update();
      reveal();
    };
    const reveal = () => {
      const { card } = cards[s.k];
      if (strip.contains(document.activeElement)) card.focus({ preventScroll: true });
      strip.scrollLeft = Math.max(0, card.offsetLeft - strip.offsetLeft - 60);
    };
    const stop = () => {
      clearInterval(timer);
      timer = undefined;
    };
    const slide = () => {
      if (timer) {
        stop();
        update();
        return;
      }
      const [height, width, channels] = shapes[s.k],
        [wide, high] = stages[s.k].output.length === 1 ? [channels, 1] : [width, height];
      const step = () => {
        if (document.hidden) return stop();
        const here = stages[s.k].output.length === 1 ? s.f : s.r * width + s.c,
          next = here + 1;
        if (next >= wide * high) {
          stop();
          update();
          return undefined;
        }
        return stages[s.k].output.length === 1 ? go({ f: next }) : go({ r: Math.floor(next / width), c: next % width });
      };
      s.pin = true;
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
        step();
        return;
      }
      timer = setInterval(step, Number(speed.value));
      if (stages[s.k].output.length === 3 && s.r === height - 1 && s.c === width - 1) go({ r: 0, c: 0 });
      else update();
    };
    speed.addEventListener("input", () => {
      if (timer) {
        stop();
        slide();
      }
    });
    const changeScope = () => {
      s.scope = { layer: "map", map: "network", network: "layer" }[s.scope];
      scope.textContent = `colours: ${s.scope}`;
      redraw();
    };
    const redraw = () => {
      if (journey.image()) {
        source.key = output.key = "";
        paintAll();
        update();
      }
    };
    const copyFormula = () => {
      const { top, rest, other } = journey.largest(parts.terms, parts.terms.length > 200 ? 200 : parts.terms.length);
      const full = (v) => `(${v})`,
        terms = top.map((n) =>
          parts.terms[n].x === undefined ? full(parts.terms[n].value) : `(${parts.terms[n].x} * ${parts.terms[n].w})`,
        );
      const text = [
        ...(parts.bias === undefined ? [] : [full(parts.bias)]),
        ...terms,
        ...(rest ? [full(other)] : []),
      ].join(" + ");
      navigator.clipboard?.writeText(`${text} = ${parts.value}`).then(
        () => {
          status.textContent = "copied";
        },
        () => {
          status.textContent = "the browser refused";
        },
      );
    };
    const KEY = {
      ArrowLeft: (n) => go(stages[s.k].output.length === 1 ? { f: s.f - n } : { c: s.c - n }),
      ArrowRight: (n) => go(stages[s.k].output.length === 1 ? { f: s.f + n } : { c: s.c + n }),
      ArrowUp: (n) => go(stages[s.k].output.length === 1 ? { f: s.f - n * atlases[s.k].across } : { r: s.r - n }),
      ArrowDown: (n) => go(stages[s.k].output.length === 1 ? { f: s.f + n * atlases[s.k].across } : { r: s.r + n }),
      Home: (_, all) => go(all ? { r: 0, c: 0 } : { c: 0 }),
      End: (_, all) => go(all ? { r: 1e9, c: 1e9 } : { c: 1e9 }),
      PageUp: () => go({ f: s.f - 1 }),
      PageDown: () => go({ f: s.f + 1 }),
      "[": () => {
        go({ k: s.k - 1 });
        reveal();
      },
      "]": () => {
        go({ k: s.k + 1 });
        reveal();
      },
      Enter: followBack,
      Backspace: goForward,
      Escape: () => {
        s.pin = false;
        stop();
        update();
      },
      " ": slide,
      c: changeScope,
      t: () => document.getElementById("theme").click(),
      "?": () => dialog.showModal(),
    };
    strip.addEventListener("keydown", (event) => {
      const act = KEY[event.key];
      if (!act || event.altKey || event.metaKey || (event.ctrlKey && !["Home", "End"].includes(event.key))) return;
      event.preventDefault();
      if (timer && event.key !== " ") stop();
      if (event.key !== "Escape" && !"ct?".includes(event.key)) s.pin = true;
      act(event.shiftKey ? 5 : 1, event.ctrlKey);
      status.textContent = timer ? "sliding" : s.pin ? "pinned" : "click to pin";
    });
    list.addEventListener("keydown", (event) => {
      const here = listed.top.indexOf(s.term),
        step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (event.key === "Enter") followBack();
      else if (step && listed.top.length) pickTerm(Math.max(0, Math.min(listed.top.length - 1, here + step)));
      else return;
      event.preventDefault();
    });
    const pickTerm = (n) => {
      if (listed.top[n] !== undefined) {
        s.term = listed.top[n];
        s.pin = true;
        update();
      }
    };
    list.addEventListener("click", (event) => pickTerm([...list.children].indexOf(event.target.closest("li"))));
    list.addEventListener("dblclick", followBack);
    const pointed = (view, l, act) => {
      const read = (event, pin) => {
        const box = view.under.getBoundingClientRect(),
          p = hit(l(), event.clientX - box.left, event.clientY - box.top);
        if (!p || (s.pin && !pin)) return;
        if (timer) stop();
        if (pin) s.pin = !(s.pin && act(p, true));
        act(p);
      };
      view.box.addEventListener("pointermove", (event) => {
        if (event.pointerType !== "touch") read(event, false);
      });
      view.box.addEventListener("click", (event) => read(event, true));
    };
    const same = (p) => ["k", "f", "r", "c"].every((name) => p[name] === s[name]);
    cards.forEach((view, k) => {
      pointed(
        view,
        () => atlases[k],
        (p, ask) => {
          const to = { ...p, k, f: k ? p.f : Math.min(s.f, shapes[0][2] - 1) };
          return ask ? same(to) : go(to);
        },
      );
      view.card.addEventListener("click", () => view.card.focus({ preventScroll: true }));
    });
    pointed(
      output,
      () => output.l,
      (p, ask) => {
        const to = { k: s.k, f: s.f, r: p.r, c: p.c };
        return ask ? same(to) : go(to);
      },
    );
    // Pointing at what is read shows who reads it.
    source.box.addEventListener("pointermove", (event) => {
      const stage = stages[s.k],
        box = source.under.getBoundingClientRect(),
        p = source.l && hit(source.l, event.clientX - box.left, event.clientY - box.top);
      if (!p || outputFigure.hidden || parts.fold || parts.curve) return;
      const context = above(output.over, output.l);
      for (const r of readers(stage, 0, p.r))
        for (const c of readers(stage, 1, p.c))
          outline(
            context,
            output.l,
            0,
            [
              [r, r + 1],
              [c, c + 1],
            ],
            colours.see,
            2,
          );
    });
    source.box.addEventListener("pointerleave", () => {
      if (parts) drawMarks();
    });

    const compare = () => {
      const found = journey.versus(Number(one.value), Number(two.value));
      why.hidden = !found || classes.length < 2;
      if (why.hidden) return;
      const book = ledger(found),
        agrees = Math.abs(found.value - found.found) <= found.allowed;
      rows(reasons, book.entries);
      difference.textContent = `${label(Number(one.value))} over ${label(Number(two.value))}: ${book.line}; JAX's logits differ by ${whole(found.found)} ${agrees ? "✓" : "✗ DISAGREES"}`;
      difference.classList.toggle("disagree", !agrees);
      reasons.dataset.top = String(book.top[0]);
    };
    reasons.addEventListener("click", (event) => {
      const n = [...reasons.children].indexOf(event.target.closest("li")),
        found = journey.versus(Number(one.value), Number(two.value));
      const index = journey.largest(found.terms).top[n];
      if (index === undefined) return;
      s.pin = true;
      go({ ...found.go(index) });
      reveal();
    });

    // The address.
    const note = () =>
      page.setState("j", `img:${s.i};layer:${stages[s.k].name};f:${s.f};r:${s.r};c:${s.c}${s.pin ? ";pin" : ""}`);
    const restore = async () => {
      const text = page.state("j");
      if (!text || text === true) return false;
      const entries = new Map(
        text.split(";").map((entry) => {
          const [key, ...rest] = entry.split(":");
          return [key, rest.join(":")];
        }),
      );
      const number = (key, otherwise) =>
        Number.isInteger(Number(entries.get(key))) ? Number(entries.get(key)) : otherwise;
      const k = stages.findIndex((stage) => stage.name === entries.get("layer"));
      await select(Math.max(0, Math.min(images.length - 1, number("img", 0))), false);
      s.pin = entries.has("pin");
      go({ k: k < 0 ? 1 : k, f: number("f", 0), r: number("r", 0), c: number("c", 0) });
      reveal();
      return true;
    };
    addEventListener("hashchange", restore);

    const say = (found, image) => {
      if (journey.image() !== image) return;
      const bad = found.wrong.length > 0,
        number = (n) => n.toLocaleString("en");
      agreement.className = bad ? "disagree" : "agree";
      agreement.textContent = bad
        ? `✗ ${number(found.numbers - found.right)} numbers DO NOT AGREE with JAX: ${found.wrong.join("; ")}`
        : `✓ ${number(found.right)} of ${number(found.numbers)} numbers agree with JAX`;
      // What disagreed once stays on record, whichever image is looked at next.
      if (root.dataset.agree !== "no") root.dataset.agree = bad ? "no" : `${found.right}/${found.numbers}`;
      if (bad && !document.title.startsWith("✗")) document.title = `✗ ${document.title}`;
    };
    const top = (numbers) => numbers.reduce((best, v, i) => (v > numbers[best] ? i : best), 0);
    const select = async (i, anew = true) => {
      const image = await journey.show(i),
        entry = images[i],
        before = s.i;
      s.i = i;
      [...picker.children].forEach((child, n) => {
        child.setAttribute("aria-checked", String(n === i));
        child.tabIndex = n === i ? 0 : -1;
      });
      const logits = image.outs[logitsAt],
        seen = top(logits),
        sum = logits.reduce((total, z) => total + Math.exp(z - logits[seen]), 0);
      const second =
        entry.label !== null && entry.label !== seen
          ? entry.label
          : top(logits.map((z, n) => (n === seen ? -Infinity : z)));
      answer.textContent = `predicted: ${label(seen)} ${(1 / sum).toFixed(2)}${entry.label === null ? "" : `; true: ${label(entry.label)}`}${entry.recorded === null || entry.recorded === seen ? "" : `; the evaluation said ${label(entry.recorded)}`}`;
      one.value = seen;
      two.value = second;
      agreement.className = "";
      agreement.textContent = "checking every number ...";
      source.key = output.key = "";
      paintAll();
      compare();
      if (anew) {
        if (before === i && s.k === 1 && !s.pin) first(image);
        update();
      }
      journey.checkAll(image, () => new Promise((then) => setTimeout(then, 0))).then((found) => say(found, image));
    };
    // Where a visitor begins: at the strongest number of the first convolution.
    const first = (image) => {
      const k = Math.max(
          1,
          stages.findIndex((stage) => stage.op === "conv"),
        ),
        numbers = image.outs[k];
      const index = numbers.reduce((best, v, i) => (Math.abs(v) > Math.abs(numbers[best]) ? i : best), 0);
      Object.assign(s, place(k, index), { term: undefined });
    };
    const pick = (i) => {
      moved = true;
      return select(i);
    };
    images.forEach((entry, i) => {
      const canvas = el("canvas", { "aria-hidden": "true" });
      picker.append(
        el(
          "button",
          { type: "button", role: "radio", "aria-checked": "false", onclick: () => pick(i), title: entry.why },
          canvas,
          el("span", { textContent: entry.label === null ? entry.name : `${label(entry.label)}` }),
        ),
      );
    });
    picker.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const i = (s.i + step + images.length) % images.length;
      pick(i);
      picker.children[i].focus();
    });
    const opened = (async () => {
      await journey.ready;
      const l = layout([...stages[0].output.slice(0, 2), 1], 56);
      images.forEach((_, i) => photograph(picker.children[i].firstChild, l, journey.photographs()[i], shapes[0][2]));
      host.hidden = false;
      document.getElementById("journey-story").classList.add("story-off");
      if (!(await restore())) await select(0);
    })();
    page.onTheme(redraw);

    // Other sections lead here: a layer of the network's table, an image of the gallery, a filter.
    const leads = (element, words, act) => {
      element.classList.add("leads");
      element.title = words;
      element.addEventListener("click", async () => {
        await act();
        s.pin = true;
        update();
        reveal();
        host.scrollIntoView();
      });
    };
    for (const row of document.querySelectorAll(".journey-table th[scope=row]")) {
      const k = stages.findIndex((stage) => stage.name === (row.textContent === "image" ? "input" : row.textContent));
      if (k >= 0) leads(row, "see it in the journey", () => go({ k }));
    }
    for (const item of document.querySelectorAll(".gallery [data-name]")) {
      const i = images.findIndex((entry) => entry.name === item.dataset.name);
      if (i >= 0) leads(item, "follow this image", () => pick(i));
    }
    for (const group of document.querySelectorAll(".filters[data-stage]")) {
      const k = stages.findIndex((stage) => stage.name === group.dataset.stage);
      if (k >= 0)
        [...group.children].forEach((item, f) => leads(item, "see its map in the journey", () => go({ k, f })));
    }

    return {
      bench,
      cards,
      check,
      follow: followBack,
      goForward,
      go,
      list,
      opened,
      s,
      select,
      restore,
      note,
      source,
      output,
      strip,
      listed: () => listed,
      parts: () => parts,
      trail: () => trail,
      durations: () => durations,
      compare,
      difference,
    };
  })();
