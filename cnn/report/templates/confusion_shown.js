"use strict";
// What a cell of the confusion matrix shows, and in which order the classes stand.
(() => {
  const matrix = document.getElementById("confusion-matrix");
  const { counts, grouped, levels } = page.data("confusion-data");
  const byId = (name) => document.getElementById(`confusion-${name}`);
  const [of, order, said, legend] = ["of", "order", "said", "legend"].map(byId);
  byId("controls").hidden = false;
  const rows = [...matrix.tBodies[0].rows];
  const heads = [...matrix.tHead.rows[0].cells];
  const columns = [...rows, matrix.tHead.rows[0]].map((row) => [...row.cells]);
  const sum = (numbers) => numbers.reduce((total, one) => total + one, 0);
  const rowSums = counts.map(sum);
  const columnSums = counts.map((_, seen) => sum(counts.map((row) => row[seen])));
  const most = Math.max(0, ...counts.flatMap((row, label) => row.filter((_, seen) => seen !== label)));
  // What Python wrote: shares of rows come back as they were, whatever the two round differently.
  const first = new Map([...matrix.querySelectorAll("td[data-true]")].map((cell) => [cell, [cell.className, cell.firstChild.data, cell.children[0]?.textContent ?? ""]]));
  const words = {
    row: ["In each cell the share of its row, and below it the count", "error, share of its row:"],
    column: ["In each cell the share of its column, and below it the count", "error, share of its column:"],
    count: ["In each cell the count, and below it the share of its row", "error, share of the greatest:"],
  };
  // Never rounded to nothing or to all, as Python writes it.
  const percent = (share) => {
    const shown = (100 * share).toFixed(1);
    if (share < 1 && shown === "100.0") return "> 99.9 %";
    return `${share > 0 && shown === "0.0" ? "< 0.1" : shown.replace(/\.0$/, "")} %`;
  };
  const show = () => {
    for (const cell of matrix.querySelectorAll("td[data-true]")) {
      const [label, seen] = [Number(cell.dataset.true), Number(cell.dataset.seen)];
      const count = counts[label][seen];
      const total = of.value === "column" ? columnSums[seen] : rowSums[label];
      const right = label === seen;
      let [shade, ...texts] = first.get(cell);
      if (of.value !== "row") [shade, texts] = ["none", [total ? "0" : "-", ""]];
      if (of.value === "count" && count) {
        texts = [count.toLocaleString("en"), first.get(cell)[1]];
        shade = right ? "hit" : `e${Math.max(1, Math.round(levels * Math.sqrt(count / most)))}`;
      } else if (of.value === "column" && total && count) {
        const share = count / total;
        texts = [percent(share), count.toLocaleString("en")];
        shade = right ? "hit" : `e${Math.max(1, Math.round(levels * Math.sqrt(share)))}`;
      }
      cell.className = shade;
      cell.replaceChildren(texts[0]);
      if (texts[1]) cell.appendChild(document.createElement("small")).textContent = texts[1];
    }
    [said.textContent, legend.textContent] = words[of.value];
  };
  const arrange = () => {
    const labels = order.value === "grouped" ? grouped : counts.map((_, label) => label);
    const moved = (row, cells) => row.replaceChildren(cells[0], ...labels.map((label) => cells[label + 1]), ...cells.slice(labels.length + 1));
    [...rows, matrix.tHead.rows[0]].forEach((row, place) => moved(row, columns[place]));
    matrix.tBodies[0].replaceChildren(...labels.map((label) => rows[label]), ...rows.slice(labels.length));
    document.dispatchEvent(new CustomEvent("cells-moved"));
  };
  of.addEventListener("change", show);
  order.addEventListener("change", arrange);

  page.check("confusion", () => {
    const state = () => [...matrix.querySelectorAll("td[data-true]")].map((cell) => `${cell.dataset.true},${cell.dataset.seen},${cell.className},${cell.textContent}`).join();
    const before = state();
    show();
    if (state() !== before) return "a cell that was not changed shows something else";
    of.value = "column";
    order.value = "grouped";
    show();
    arrange();
    const there = [...matrix.querySelectorAll("thead th")].length === heads.length - 1;
    of.value = "row";
    order.value = "given";
    show();
    arrange();
    return state() === before && there ? "" : "the matrix does not come back as it was";
  });
})();
