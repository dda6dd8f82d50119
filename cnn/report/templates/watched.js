"use strict";
// Of what was watched one quantity is shown at a time.
(() => {
  const chosen = document.getElementById("watched-quantity");
  const figures = [...document.querySelectorAll("figure.watched")];
  document.getElementById("watched-controls").hidden = false;
  const show = () => {
    for (const figure of figures) figure.hidden = figure.dataset.quantity !== chosen.value;
  };
  const ratio = [...chosen.options].find((option) => option.value === "ratio");
  if (ratio) ratio.selected = true;
  chosen.addEventListener("change", show);
  show();

  page.check("watched", () => {
    const before = chosen.value;
    const wrong = [...chosen.options].find((option) => {
      chosen.value = option.value;
      show();
      return figures.filter((figure) => !figure.hidden).length !== 1;
    });
    chosen.value = before;
    show();
    return wrong ? `${wrong.value} is not shown alone` : "";
  });
})();
