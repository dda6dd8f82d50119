"use strict";
// The filters in another order: as numbered, the likest to a named one first, or the strongest.
(() => {
  const order = document.getElementById("filters-order");
  const list = document.querySelector("ul.filters");
  document.getElementById("filters-controls").hidden = false;
  const items = [...list.children];
  order.addEventListener("change", () => {
    const key = order.value;
    const sign = key === "index" ? 1 : -1;
    list.append(...[...items].sort((a, b) => sign * (a.dataset[key] - b.dataset[key])));
  });
})();
