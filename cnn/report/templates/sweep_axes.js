"use strict";
// Parallel coordinates by hand: brushes on axes, axes moved, turned around or made logarithmic, the nearest line read.
(() => {
  const svg = document.getElementById("axes-drawing");
  const { spacing, left, top, bottom, unset, diverged, golden } = page.data("axes-data");
  const { data, brushes } = sweep;
  const { axes, trials } = data;
  const last = axes.length - 1;
  const byId = (name) => document.getElementById(`axes-${name}`);
  const [said, read, help, keys, colour] = ["said", "read", "help", "keys", "colour"].map(byId);
  byId("controls").hidden = false;
  read.hidden = false;
  const NEAR = 24;
  const order = axes.map((_, at) => at);
  const flipped = new Set();
  const groups = axes.map((_, at) => svg.querySelector(`[data-axis="${at}"]`));
  const lines = new Map([...svg.querySelectorAll(".line")].map((line) => [Number(line.dataset.trial), line]));
  const under = svg.querySelector(".under");
  const bounds = axes.map((axis, at) => [
    at === last || trials.some((trial) => trial.at[at] === null) ? unset : 0,
    at === last ? diverged : 1,
  ]);
  let heights = new Map();
  let kept = trials;

  const y = (at, place) => {
    const shown = flipped.has(at) && place >= 0 && place <= 1 ? 1 - place : place;
    return bottom - shown * (bottom - top);
  };
  const placeAt = (at, height) => {
    const shown = (bottom - height) / (bottom - top);
    const [low, high] = bounds[at];
    if (shown < -0.06) return low;
    if (shown > 1.06) return high;
    const inside = Math.max(0, Math.min(1, shown));
    return flipped.has(at) ? 1 - inside : inside;
  };
  const scattered = (trial, at) => {
    const place = sweepRows.place(axes, trial, at);
    if (axes[at].kind !== "choice" || trial.at[at] === null) return place;
    return place + ((((trial.n * golden) % 1) - 0.5) * 0.5) / axes[at].choices.length;
  };
  const place = (text, at) => plot.make("text", { x: at === last ? 7 : -7, y: y(at, text[0]) + 4, "text-anchor": at === last ? "start" : "end" }, text[1]);
  const spoken = (at, share) => {
    const axis = axes[at];
    if (share < 0) return at === last ? "no value" : "not set";
    if (share > 1) return "diverged";
    if (axis.kind === "choice") return axis.choices[Math.min(axis.choices.length - 1, Math.floor(share * axis.choices.length))];
    return plot.written(plot.number({ ...axis, log: axis.kind === "log" }, share));
  };

  // Every axis gets where to drag, what is kept, and two handles.
  const tools = groups.map((group, at) => {
    const label = group.querySelector(".label");
    label.classList.add("needs-hand");
    const caught = plot.make("rect", { class: "catch", x: -16, width: 32, y: top - 40, height: bottom - top + 80 });
    const brush = plot.make("rect", { class: "brush", x: -9, width: 18, visibility: "hidden" });
    const handles = ["low", "high"].map((end) => plot.make("path", { class: "handle", role: "slider", tabindex: -1, "data-end": end, "aria-orientation": "vertical" }));
    group.append(caught, brush, ...handles);
    return { label, caught, brush, handles };
  });
  const rangeOf = (at) => brushes.get(at) || bounds[at];
  const show = (at) => {
    const [low, high] = rangeOf(at);
    const { brush, handles } = tools[at];
    const ends = [low, high].map((share) => y(at, share));
    brush.setAttribute("visibility", brushes.has(at) ? "visible" : "hidden");
    brush.setAttribute("y", Math.min(...ends));
    brush.setAttribute("height", Math.abs(ends[0] - ends[1]));
    handles.forEach((handle, which) => {
      const down = ends[which] > ends[1 - which] || (ends[0] === ends[1] && which === 0) ? 1 : -1;
      handle.setAttribute("d", `M-8 ${ends[which] + 12 * down}H8L0 ${ends[which]}Z`);
      handle.setAttribute("aria-label", `${axes[at].path}, ${which ? "highest" : "lowest"} that is kept`);
      [["valuemin", bounds[at][0]], ["valuemax", bounds[at][1]], ["valuenow", Number([low, high][which].toFixed(3))], ["valuetext", spoken(at, [low, high][which])]]
        .forEach(([name, value]) => handle.setAttribute(`aria-${name}`, value));
    });
  };
  const draw = () => {
    order.forEach((at, position) => groups[at].setAttribute("transform", `translate(${left + spacing * position},0)`));
    const paths = [];
    for (const trial of trials) {
      const own = order.map((at) => Math.round(10 * y(at, scattered(trial, at))) / 10);
      heights.set(trial.n, own);
      const points = own.map((height, position) => `${left + spacing * position},${height}`);
      lines.get(trial.n).setAttribute("points", points.join(" "));
      paths.push(`M${points.join("L")}`);
    }
    under.setAttribute("d", paths.join(""));
    axes.forEach((axis, at) => show(at));
  };
  const ticks = (at) => {
    const axis = axes[at];
    const span = { low: axis.low, high: axis.high, log: axis.kind === "log" };
    const listed = axis.kind === "choice" ? axis.ticks : axis.kind === axis.first ? axis.ticks : plot.ticks(span);
    const titles = new Map(axis.ticks.map((tick) => [tick[1], tick[2]]));
    groups[at].querySelector(".ticks").replaceChildren(...listed.map((tick) => {
      const text = place(tick, at);
      text.append(plot.make("title", {}, titles.get(tick[1]) || tick[1]));
      return text;
    }));
  };
  const set = (at, low, high) => {
    const [first, final] = bounds[at];
    [low, high] = [Math.max(first, Math.min(low, high)), Math.min(final, Math.max(low, high))];
    if (low <= first && high >= final) brushes.delete(at); else brushes.set(at, [low, high]);
    show(at);
    sweep.apply();
  };

  // Keys: the two handles of one axis are the stops for Tab.
  let current = 0;
  const stop = (position, which) => {
    for (const { handles } of tools) handles.forEach((handle) => (handle.tabIndex = -1));
    current = Math.max(0, Math.min(order.length - 1, position));
    const { handles } = tools[order[current]];
    handles.forEach((handle) => (handle.tabIndex = 0));
    if (which !== undefined) handles[which].focus();
  };
  const move = (at, by) => {
    const position = order.indexOf(at);
    const next = Math.max(0, Math.min(last, position + by));
    order.splice(position, 1);
    order.splice(next, 0, at);
    draw();
    return next;
  };
  const further = (at, share, by) => {
    const next = Number((share + by * (flipped.has(at) ? -1 : 1)).toFixed(6));
    if (share < 0 && next > share) return 0;
    if (share > 1 && next < share) return 1;
    return next < -1e-9 ? bounds[at][0] : next > 1 + 1e-9 ? bounds[at][1] : Math.max(0, Math.min(1, next));
  };
  const best = () => {
    const sign = data.maximize ? -1 : 1;
    return kept.filter((trial) => trial.value !== null).sort((a, b) => sign * (a.value - b.value))[0];
  };
  const pressed = (event, at, which) => {
    const range = [...rangeOf(at)];
    const step = event.shiftKey ? 0.1 : 0.02;
    const moves = { ArrowUp: step, ArrowRight: step, ArrowDown: -step, ArrowLeft: -step };
    if (event.altKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      stop(move(at, event.key === "ArrowLeft" ? -1 : 1), which);
    } else if (event.key in moves) {
      range[which] = further(at, range[which], moves[event.key]);
      if (range[0] <= range[1]) set(at, ...range);
    } else if (event.key === "Home" || event.key === "End") {
      range[which] = event.key === "Home" ? (which ? range[0] : bounds[at][0]) : (which ? bounds[at][1] : range[1]);
      set(at, ...range);
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      stop(current + (event.key === "PageUp" ? -1 : 1), which);
    } else if (event.key === "Escape" || event.key === "Backspace") {
      set(at, ...bounds[at]);
    } else if (event.key === "f" || event.key === "l") {
      turn(at, event.key);
    } else if (event.key === "Enter") {
      const trial = best();
      if (trial) [sweep.choose(trial.g), tell(trial)];
    } else {
      return;
    }
    event.preventDefault();
  };
  const turn = (at, key) => {
    const axis = axes[at];
    if (key === "f") {
      if (!flipped.delete(at)) flipped.add(at);
    } else if (axis.kind === "linear" && axis.low > 0) {
      axis.kind = "log";
    } else if (axis.kind === "log") {
      axis.kind = "linear";
    } else {
      said.textContent = axis.kind === "choice" ? "choices have no scale" : "numbers of 0 or less have no logarithm";
      return;
    }
    if (key === "l") brushes.delete(at);
    draw();
    ticks(at);
    sweep.apply();
  };

  // Pointer: along an axis to keep, on a name to move, elsewhere to read.
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const dragged = (element, moved, ended) => {
    element.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      element.setPointerCapture(event.pointerId);
      const from = at(event);
      let far = false;
      const onMove = (next) => {
        const to = at(next);
        far = far || Math.hypot(to[0] - from[0], to[1] - from[1]) > 4;
        if (far) moved(from, to);
      };
      const onEnd = (next) => {
        element.removeEventListener("pointermove", onMove);
        if (ended) ended(far, at(next));
      };
      element.addEventListener("pointermove", onMove);
      element.addEventListener("pointerup", onEnd, { once: true });
    });
  };
  tools.forEach(({ label, caught, handles }, which) => {
    dragged(caught, (from, to) => set(which, placeAt(which, from[1]), placeAt(which, to[1])), (far) => !far && set(which, ...bounds[which]));
    handles.forEach((handle, end) => {
      dragged(handle, (_, to) => {
        const range = [...rangeOf(which)];
        range[end] = placeAt(which, to[1]);
        if (range[0] <= range[1]) set(which, ...range);
      }, () => stop(order.indexOf(which), end));
      handle.addEventListener("keydown", (event) => pressed(event, which, end));
      handle.addEventListener("focus", () => (current = order.indexOf(which)));
    });
    dragged(label, (_, to) => groups[which].setAttribute("transform", `translate(${to[0]},0)`), (far, to) => {
      if (far) move(which, Math.round((to[0] - left) / spacing) - order.indexOf(which));
      stop(order.indexOf(which));
    });
  });
  const nearest = ([x, height]) => {
    const position = Math.max(0, Math.min(last - 1, Math.floor((x - left) / spacing)));
    const part = (x - left) / spacing - position;
    let [found, least] = [null, NEAR];
    for (const trial of kept) {
      const own = heights.get(trial.n);
      const slope = (own[position + 1] - own[position]) / spacing;
      const distance = Math.abs(own[position] + part * slope * spacing - height) / Math.hypot(1, slope);
      if (distance < least) [found, least] = [trial, distance];
    }
    return found;
  };
  const tell = (trial) => {
    const given = axes.slice(0, last).map((axis, which) => {
      const value = trial.at[which];
      return [axis.path, value === null ? "not set" : axis.kind === "choice" ? axis.choices[value] : plot.written(value)];
    });
    const value = trial.value === null ? trial.state : plot.written(trial.value);
    const rest = [["trial", String(trial.n)], [data.objective, value], ["state", trial.state], ...given];
    const list = document.createElement("dl");
    list.className = "all";
    for (const [name, text] of rest) {
      const entry = list.appendChild(document.createElement("div"));
      entry.appendChild(document.createElement("dt")).textContent = name;
      entry.appendChild(document.createElement("dd")).textContent = text;
    }
    read.replaceChildren(list);
    read.dataset.trial = trial.n;
  };
  svg.addEventListener("pointermove", (event) => {
    if (event.buttons) return;
    const trial = nearest(at(event));
    sweep.point(trial ? trial.n : null);
    if (trial) tell(trial);
  });
  svg.addEventListener("pointerleave", () => sweep.point(null));
  svg.addEventListener("click", (event) => {
    if (event.target.closest(".axis")) return;
    const trial = nearest(at(event));
    if (trial) sweep.choose(trial.g);
  });

  colour.addEventListener("change", () => sweep.setColour(colour.value));
  byId("clear").addEventListener("click", () => {
    brushes.clear();
    axes.forEach((_, which) => show(which));
    sweep.apply();
  });
  keys.addEventListener("click", () => {
    help.hidden = !help.hidden;
    keys.setAttribute("aria-expanded", String(!help.hidden));
  });
  sweep.on((left) => {
    kept = left;
    said.textContent = left.length === trials.length ? `${trials.length} trials` : `${left.length} of ${trials.length} trials are left`;
  });
  for (const axis of axes) axis.first = axis.kind;
  const before = [...lines].map(([number, line]) => [number, line.getAttribute("points")]);
  draw();
  stop(0);

  page.check("axes", () => {
    for (const [number, points] of before) {
      const [drawn, again] = [points, lines.get(number).getAttribute("points")].map((text) => text.match(/-?[\d.]+/g).map(Number));
      if (drawn.length !== again.length || drawn.some((one, place) => Math.abs(one - again[place]) > 0.15)) return `trial ${number} is drawn elsewhere`;
    }
    // A brush keeps what it says, and clearing it brings everything back.
    for (let which = 0; which <= last; which++) {
      const [low, high] = bounds[which];
      set(which, low, 0.5);
      const right = trials.filter((trial) => sweepRows.place(axes, trial, which) <= 0.5).map((trial) => trial.n);
      const shown = [...lines].filter(([, line]) => !line.classList.contains("off")).map(([number]) => number);
      if (right.join() !== shown.sort((a, b) => a - b).join()) return `the brush on ${axes[which].path} keeps ${shown}, not ${right}`;
      set(which, low, high);
    }
    const off = svg.querySelectorAll(".line.off").length;
    return off ? `${off} lines are still hidden` : "";
  });
})();
