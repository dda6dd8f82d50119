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

  const inTable = (trial) => trial.g < filters.top && (!filters.groups || filters.groups.has(trial.g));
  const kept = () => data.trials.filter((trial) => inTable(trial) && sweepRows.passes(data.axes, trial, brushes));
  const apply = () => {
    const left = kept();
    const numbers = new Set(left.map((trial) => trial.n));
    const levels = sweepRows.levels(data.trials.filter(inTable), data.maximize, colour === "value");
    for (const [number, drawn] of elements) {
      for (const element of drawn) {
        const inRow = element.classList.contains("trial") && element.closest("tr");
        element.classList.toggle(inRow ? "dim" : "off", !numbers.has(number));
        if (element.matches(".dot, .axes .line")) {
          const level = levels.get(number);
          for (const name of [...element.classList]) if (/^(s\d+|none)$/.test(name)) element.classList.remove(name);
          element.classList.add(level === undefined ? "none" : `s${level}`);
        }
        const place = chosen.indexOf(byNumber.get(number).g);
        for (let pick = 0; pick < 4; pick++) element.classList.toggle(`p${pick}`, !inRow && pick === place);
      }
    }
    const groups = new Set(left.map((trial) => trial.g));
    for (const [group, row] of rows) {
      const place = chosen.indexOf(group);
      row.hidden = !groups.has(group);
      for (let pick = 0; pick < 4; pick++) row.classList.toggle(`p${pick}`, pick === place);
      const box = row.querySelector("input[type=checkbox]");
      if (box) box.checked = place >= 0;
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
  plot.roving(copies, (key, place) => ({ ArrowUp: place - 1, ArrowDown: place + 1 })[key]);

  page.check("sweep", () => {
    const states = [...document.querySelectorAll(".state[data-count]")].reduce((sum, one) => sum + Number(one.dataset.count), 0);
    const named = document.querySelectorAll("#ranking-table .trial").length;
    if (states !== data.trials.length) return `${states} trials in the states, ${data.trials.length} in all`;
    return named === data.trials.length ? "" : `${named} trials in the table, ${data.trials.length} in all`;
  });
  return { data, byNumber, brushes, filters, chosen, kept, apply, choose, clear, point, setColour, on: (listener) => listeners.push(listener) };
})();
