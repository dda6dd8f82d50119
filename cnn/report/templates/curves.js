"use strict";
// Pointing at the learning curves, or arrow keys on them, reads the recorded numbers of a step; Enter or a click pins it.
(() => {
  const holder = document.getElementById("crosshair");
  const { limits, names, rows, ...drawn } = page.data("curves-data");
  const frame = () => ["left", "right"].map((end) => Number(holder.dataset[end] ?? drawn[end]));
  const read = document.getElementById("crosshair-read");
  const [low, high] = limits;
  if (!rows.length) return;

  const rule = holder.appendChild(document.createElement("div"));
  rule.className = "rule";
  rule.hidden = true;
  const list = read.appendChild(document.createElement("dl"));
  const [help] = read.children;
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
  let pinned = false;
  const pin = (on) => {
    pinned = on;
    rule.classList.toggle("pinned", on);
    help.textContent = on ? "Pinned; Esc or a click lets go:" : "Point at the curves, or use the arrow keys; Enter or a click pins:";
  };
  const show = (next, visible) => {
    index = Math.max(0, Math.min(rows.length - 1, next));
    const row = rows[index];
    const [left, right] = frame();
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
  const follow = (event) => {
    if (pinned) return;
    const box = holder.getBoundingClientRect();
    const [left, right] = frame();
    const share = ((event.clientX - box.left) / box.width - left) / (right - left);
    show(nearest(low + share * (high - low)), true);
  };
  holder.addEventListener("pointermove", follow);
  holder.addEventListener("click", (event) => {
    follow(event);
    pin(!pinned);
  });
  holder.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") {
      pin(event.key === "Enter");
      if (pinned) show(index, true);
      event.preventDefault();
    }
    const moves = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: rows.length - 1, PageUp: index + 10, PageDown: index - 10 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key], true);
  });
  pin(false);
  show(index, false);

  page.check("curves", () => {
    for (let place = 0; place < rows.length; place++) {
      if (nearest(rows[place][0]) !== place) return `step ${rows[place][0]} is not found`;
    }
    return "";
  });
})();
