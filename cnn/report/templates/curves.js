"use strict";
// Pointing at the learning curves, or arrow keys on them, reads the recorded numbers of a step.
(() => {
  const holder = document.getElementById("crosshair");
  const { left, right, limits, names, rows } = page.data("curves-data");
  const read = document.getElementById("crosshair-read");
  const [low, high] = limits;
  if (!rows.length) return;

  const rule = holder.appendChild(document.createElement("div"));
  rule.className = "rule";
  rule.hidden = true;
  const list = read.appendChild(document.createElement("dl"));
  const values = names.map((name) => {
    const entry = list.appendChild(document.createElement("div"));
    entry.appendChild(document.createElement("dt")).textContent = name;
    return entry.appendChild(document.createElement("dd"));
  });
  read.hidden = false;
  holder.tabIndex = 0;
  holder.setAttribute("role", "slider");
  holder.setAttribute("aria-label", "step of the learning curves");
  holder.setAttribute("aria-valuemin", rows[0][0]);
  holder.setAttribute("aria-valuemax", rows[rows.length - 1][0]);

  let index = rows.length - 1;
  const show = (next, visible) => {
    index = Math.max(0, Math.min(rows.length - 1, next));
    const row = rows[index];
    const share = left + ((right - left) * (row[0] - low)) / (high - low);
    rule.hidden = !visible;
    rule.style.left = `${100 * share}%`;
    row.forEach((value, column) => {
      values[column].textContent = value === null ? "-" : column ? Number(value.toPrecision(4)) : value.toLocaleString("en");
      values[column].dataset.value = value;
    });
    const spoken = row.map((value, column) => (value === null ? "" : `${names[column]} ${Number(value.toPrecision(4))}`));
    holder.setAttribute("aria-valuenow", row[0]);
    holder.setAttribute("aria-valuetext", spoken.filter(Boolean).join(", "));
  };
  const nearest = (step) => {
    let [start, end] = [0, rows.length - 1];
    while (end - start > 1) {
      const middle = (start + end) >> 1;
      if (rows[middle][0] <= step) start = middle; else end = middle;
    }
    return step - rows[start][0] <= rows[end][0] - step ? start : end;
  };
  holder.addEventListener("pointermove", (event) => {
    const box = holder.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width - left) / (right - left);
    show(nearest(low + share * (high - low)), true);
  });
  holder.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: rows.length - 1, PageUp: index + 10, PageDown: index - 10 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key], true);
  });
  show(index, false);

  page.check("curves", () => {
    for (let place = 0; place < rows.length; place++) {
      if (nearest(rows[place][0]) !== place) return `step ${rows[place][0]} is not found`;
    }
    return "";
  });
})();
