"use strict";
// The gallery: only mistakes, only the images of one cell of the confusion matrix, in another order.
(() => {
  const gallery = document.getElementById("gallery");
  const rest = document.getElementById("gallery-rest");
  const items = [...document.querySelectorAll("#mistakes .gallery > li")];
  const wrong = document.getElementById("gallery-wrong");
  const sort = document.getElementById("gallery-sort");
  const said = document.getElementById("gallery-said");
  let cell = null;
  document.getElementById("gallery-controls").hidden = false;

  const apply = () => {
    let shown = 0;
    // Sorted or filtered, all of them stand in one list.
    if (rest) rest.hidden = true;
    for (const item of items) {
      const { true: label, seen } = item.dataset;
      const fits = (!wrong.checked || label !== seen) && (!cell || (label === cell.true && seen === cell.seen));
      item.hidden = !fits;
      shown += fits;
    }
    const key = sort.value;
    [...items].sort((a, b) => b.dataset[key] - a.dataset[key]).forEach((item) => gallery.append(item));
    gallery.dataset.shown = String(shown);
    said.textContent = shown === items.length ? "" : `${shown} of ${items.length} shown${cell ? ": those of the chosen cell (Esc in the matrix shows all)" : ""}`;
  };
  wrong.addEventListener("change", apply);
  sort.addEventListener("change", apply);
  document.addEventListener("cell", (event) => {
    cell = event.detail;
    apply();
    if (cell) document.getElementById("mistakes").scrollIntoView({ block: "nearest" });
  });

  page.check("gallery", () => {
    const order = items.map((item) => Number(item.dataset.loss));
    return order.every((loss, place) => !place || loss <= order[place - 1]) ? "" : "not in descending order of loss";
  });
})();
