"use strict";
// Which trials are kept, and in which order: without the page, so that Node.js can try it.
const sweepRows = (() => {
  const [UNSET, DIVERGED] = [-0.12, 1.12];
  const share = (axis, value) =>
    axis.kind === "log" ? Math.log(value / axis.low) / Math.log(axis.high / axis.low) : (value - axis.low) / (axis.high - axis.low);
  // From 0 to 1 on the axis, below it where nothing is set, above it where the trial diverged.
  const place = (axes, trial, at) => {
    const axis = axes[at];
    if (at === axes.length - 1) {
      return trial.value !== null ? share(axis, trial.value) : trial.state === "diverged" ? DIVERGED : UNSET;
    }
    const value = trial.at[at];
    if (value === null) return UNSET;
    return axis.kind === "choice" ? (value + 0.5) / axis.choices.length : share(axis, value);
  };
  const passes = (axes, trial, brushes) => {
    for (const [at, [low, high]] of brushes) {
      const found = place(axes, trial, at);
      if (!(low <= found && found <= high)) return false;
    }
    return true;
  };
  // Numbers as numbers, what is missing last both ways.
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [first, second] = [Number(a), Number(b)];
    return sign * (Number.isNaN(first) || Number.isNaN(second) ? String(a).localeCompare(String(b)) : first - second);
  };
  const sorted = (entries, key, sign) => [...entries].sort((a, b) => compare(key(a), key(b), sign));
  const cell = (text) => {
    const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const csv = (lines) => lines.map((line) => line.map(cell).join(",")).join("\n");
  // The level of colour of each trial with a value, 15 the best: by rank equal parts, by value equal steps.
  const levels = (trials, maximize, byValue) => {
    const sign = maximize ? -1 : 1;
    const ranked = trials.filter((trial) => trial.value !== null).sort((a, b) => sign * (a.value - b.value) || a.n - b.n);
    const found = new Map();
    if (!ranked.length) return found;
    const [best, worst] = [ranked[0].value, ranked[ranked.length - 1].value];
    ranked.forEach((trial, rank) => {
      const byRank = ranked.length > 1 ? rank / (ranked.length - 1) : 0;
      const worse = byValue ? (best === worst ? 0 : (best - trial.value) / (best - worst)) : byRank;
      found.set(trial.n, 15 - Math.min(15, Math.floor(worse * 16)));
    });
    return found;
  };
  return { UNSET, DIVERGED, place, passes, compare, sorted, csv, levels };
})();
if (typeof module !== "undefined") module.exports = sweepRows;
