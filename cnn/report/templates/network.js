"use strict";
// Pointing at a layer of the table frames the volume that it makes, and pointing at a volume the layers.
(() => {
  const holder = document.getElementById("volumes");
  const boxes = page.data("network-data");
  const rows = [...document.querySelectorAll("tr[data-layer]")];
  const frame = holder.appendChild(document.createElement("div"));
  frame.className = "lit needs-script";
  frame.hidden = true;
  // A layer inside of another belongs to the volume of the outermost one.
  const of = (layer) => boxes.findIndex(([names]) => names.includes(layer.split("/")[0]));
  const light = (place) => {
    frame.hidden = place < 0;
    rows.forEach((row) => row.classList.toggle("lit", place >= 0 && of(row.dataset.layer) === place));
    if (place < 0) return;
    const [, left, width] = boxes[place];
    frame.style.left = `${100 * left}%`;
    frame.style.width = `${100 * width}%`;
    holder.dataset.lit = place;
  };
  for (const row of rows) {
    row.addEventListener("pointerenter", () => light(of(row.dataset.layer)));
    row.addEventListener("focusin", () => light(of(row.dataset.layer)));
    row.addEventListener("pointerleave", () => light(-1));
    row.addEventListener("focusout", () => light(-1));
  }
  holder.addEventListener("pointermove", (event) => {
    const bounds = holder.getBoundingClientRect();
    const share = (event.clientX - bounds.left) / bounds.width;
    light(boxes.findIndex(([, left, width]) => left <= share && share < left + width));
  });
  holder.addEventListener("pointerleave", () => light(-1));

  page.check("network", () => {
    const lost = rows.filter((row) => of(row.dataset.layer) < 0).map((row) => row.dataset.layer);
    return lost.length ? `no volume for ${lost}` : "";
  });
})();
