"use strict";
// What all views of a sweep share: which trials are kept, which configurations are chosen, which trial is pointed at.
const sweep = (() => {
  const data = page.data("sweep-data");
  const byNumber = new Map(data.trials.map((trial) => [trial.n, trial]));
  const brushes = new Map();
  const filters = { top: Infinity, groups: null };
  const chosen = [];
  const listeners = [];
  let colour = "rank";
  let pointed = null;
  const elements = new Map();
  for (const element of document.querySelectorAll("[data-trial]")) {
    const number = Number(element.dataset.trial);
    if (!elements.has(number)) elements.set(number, []);
    elements.get(number).push(element);
  }
  const rows = new Map([...document.querySelectorAll("tr[data-group]")].map((row) => [Number(row.dataset.group), row]));

  // What every element of a trial shows, to change only what is different: thousands of elements, forty times a second.
  const drawn = [];
  for (const [number, those] of elements) {
    for (const element of those) {
      const inRow = element.classList.contains("trial") && Boolean(element.closest("tr"));
      const level = [...element.classList].find((name) => /^(s\d+|none)$/.test(name));
      drawn.push({ element, trial: byNumber.get(number), inRow, coloured: element.matches(".dot, .axes .line"), kept: true, level, pick: -1 });
    }
  }
  const picked = (element, from, to) => {
    if (from >= 0) element.classList.remove(`p${from}`);
    if (to >= 0 && to < 4) element.classList.add(`p${to}`);
  };
  const picks = new Map();
  const inTable = (trial) => trial.g < filters.top && (!filters.groups || filters.groups.has(trial.g));
  const kept = () => data.trials.filter((trial) => inTable(trial) && sweepRows.passes(data.axes, trial, brushes));
  const apply = () => {
    const left = kept();
    const numbers = new Set(left.map((trial) => trial.n));
    const levels = sweepRows.levels(data.trials.filter(inTable), data.maximize, colour === "value");
    for (const one of drawn) {
      const { element, trial, inRow, coloured } = one;
      const keeps = numbers.has(trial.n);
      if (one.kept !== keeps) element.classList.toggle(inRow ? "dim" : "off", !keeps);
      one.kept = keeps;
      if (coloured) {
        const level = levels.has(trial.n) ? `s${levels.get(trial.n)}` : "none";
        if (level !== one.level) {
          element.classList.remove(one.level);
          element.classList.add(level);
          one.level = level;
        }
      }
      const pick = inRow ? -1 : chosen.indexOf(trial.g);
      if (pick !== one.pick) picked(element, one.pick, pick);
      one.pick = pick;
    }
    const groups = new Set(left.map((trial) => trial.g));
    for (const [group, row] of rows) {
      const place = chosen.indexOf(group);
      if (row.hidden === groups.has(group)) row.hidden = !row.hidden;
      const before = picks.has(group) ? picks.get(group) : -1;
      if (place === before) continue;
      picks.set(group, place);
      picked(row, before, place);
      row.querySelector("input[type=checkbox]").checked = place >= 0;
    }
    listeners.forEach((listener) => listener(left, groups));
  };
  const choose = (group) => {
    const place = chosen.indexOf(group);
    if (place >= 0) chosen.splice(place, 1); else chosen.push(group);
    if (chosen.length > 4) chosen.shift();
    apply();
  };
  const clear = () => {
    chosen.length = 0;
    apply();
  };
  const point = (number) => {
    if (number === pointed) return;
    const mark = (which, on) => {
      for (const element of elements.get(which) || []) element.classList.toggle("pointed", on);
      const trial = byNumber.get(which);
      if (trial) rows.get(trial.g).classList.toggle("pointed", on);
    };
    if (pointed !== null) mark(pointed, false);
    pointed = number;
    if (pointed !== null) mark(pointed, true);
  };
  for (const [group, row] of rows) {
    const first = data.trials.find((trial) => trial.g === group);
    row.addEventListener("pointerenter", () => first && point(first.n));
    row.addEventListener("pointerleave", () => point(null));
  }
  const setColour = (chosenColour) => {
    colour = chosenColour;
    apply();
  };
  const copies = [...document.querySelectorAll(".failures button")];
  page.roving(copies, page.line);

  page.check("sweep", () => {
    const states = [...document.querySelectorAll(".state[data-count]")].reduce((sum, one) => sum + Number(one.dataset.count), 0);
    const named = document.querySelectorAll("#ranking-table .trial").length;
    if (states !== data.trials.length) return `${states} trials in the states, ${data.trials.length} in all`;
    return named === data.trials.length ? "" : `${named} trials in the table, ${data.trials.length} in all`;
  });
  return { data, byNumber, brushes, filters, chosen, kept, apply, choose, clear, point, setColour, on: (listener) => listeners.push(listener) };
})();
