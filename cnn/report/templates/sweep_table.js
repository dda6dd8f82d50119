"use strict";
// The ranking: sorted by a heading, narrowed by words and by rank, rows ticked to compare, copied as CSV.
(() => {
  const table = document.getElementById("ranking-table");
  const body = table.tBodies[0];
  const original = [...body.rows];
  const byId = (name) => document.getElementById(`table-${name}`);
  const [words, top, all, said] = ["filter", "top", "all", "said"].map(byId);
  byId("controls").hidden = false;
  // Before every row where to tick it.
  for (const row of [table.tHead.rows[0], ...original]) {
    const cell = row.insertCell(0);
    cell.className = "needs-script tick";
    if (row.parentElement === table.tHead) continue;
    const box = cell.appendChild(document.createElement("input"));
    box.type = "checkbox";
    box.setAttribute("aria-label", `compare configuration ${row.cells[1].dataset.value}`);
  }
  const headings = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();

  let open = !all;
  const late = () => {
    // With fewer rows than are seen at first, nothing needs to be opened.
    let seen = 0;
    for (const row of body.rows) {
      if (row.hidden) continue;
      seen += 1;
      row.classList.toggle("late", seen > 20);
      row.classList.toggle("closed", !open && seen > 20);
    }
    restop();
  };
  const buttons = headings.slice(1).map((heading, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const falling = heading.getAttribute("aria-sort") === "descending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", falling ? "ascending" : "descending");
      body.append(...sweepRows.sorted(original, (row) => value(row, place + 1), falling ? 1 : -1));
      late();
    });
    return button;
  });
  page.roving(buttons, page.line);
  const boxes = original.map((row) => row.querySelector("input"));
  boxes.forEach((box, place) => box.addEventListener("change", () => sweep.choose(Number(original[place].dataset.group))));
  const restop = page.roving(boxes, page.line);

  words.addEventListener("input", () => {
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (row) => {
      const text = [...row.cells].map((cell) => `${cell.textContent} ${cell.dataset.value ?? ""}`).join(" ").toLowerCase();
      return asked.every((word) => text.includes(word));
    };
    sweep.filters.groups = asked.length ? new Set(original.filter(fits).map((row) => Number(row.dataset.group))) : null;
    sweep.apply();
  });
  top.addEventListener("input", () => {
    byId("top-said").textContent = top.value;
    sweep.filters.top = Number(top.value);
    sweep.apply();
  });
  if (all) {
    all.addEventListener("click", () => {
      open = !open;
      all.setAttribute("aria-pressed", String(open));
      all.textContent = open ? "show the first 20" : `show all ${original.length} rows`;
      late();
    });
  }
  const lines = () => {
    const shown = [...body.rows].filter((row) => !row.hidden);
    const titles = headings.slice(1).map((heading) => heading.title || heading.textContent);
    return [titles, ...shown.map((row) => titles.map((_, column) => String(value(row, column + 1))))];
  };
  byId("csv").addEventListener("click", async () => {
    const text = sweepRows.csv(lines());
    table.dataset.csv = text;
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "copied";
    } catch {
      said.textContent = "the browser does not let pages copy";
    }
  });
  byId("clear").addEventListener("click", sweep.clear);
  sweep.on((left, groups) => {
    said.textContent = left.length === sweep.data.trials.length ? "" : `${groups.size} of ${original.length} rows, ${left.length} trials`;
    late();
  });
  late();

  page.check("table", () => {
    const ranks = original.map((row) => Number(value(row, 1)));
    return ranks.every((rank, place) => rank === place + 1) ? "" : "ranks are not in order";
  });
})();
