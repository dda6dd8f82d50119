"use strict";
// A cell of the confusion matrix chooses the images of the gallery; arrow keys walk, one stop for Tab.
(() => {
  const matrix = document.getElementById("confusion-matrix");
  const help = document.getElementById("confusion-help");
  let cells = [...matrix.querySelectorAll("td[data-true]")];
  const size = Math.sqrt(cells.length);
  let current = 0;
  help.hidden = !document.getElementById("gallery");
  if (help.hidden) return;

  const focus = (next) => {
    cells[current].tabIndex = -1;
    current = next;
    cells[current].tabIndex = 0;
    cells[current].focus();
  };
  const choose = (cell) => {
    const chosen = cell.getAttribute("aria-selected") === "true";
    cells.forEach((each) => each.removeAttribute("aria-selected"));
    if (!chosen) cell.setAttribute("aria-selected", "true");
    document.dispatchEvent(new CustomEvent("cell", { detail: chosen ? null : { ...cell.dataset } }));
  };
  matrix.setAttribute("role", "grid");
  cells.forEach((cell, index) => {
    cell.tabIndex = index ? -1 : 0;
    cell.setAttribute("role", "gridcell");
    cell.addEventListener("click", () => {
      focus(cells.indexOf(cell));
      choose(cell);
    });
  });
  document.addEventListener("cells-moved", () => {
    const cell = cells[current];
    cells = [...matrix.querySelectorAll("td[data-true]")];
    current = cells.indexOf(cell);
  });
  matrix.addEventListener("keydown", (event) => {
    const [row, column] = [Math.floor(current / size), current % size];
    const moves = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      Home: event.ctrlKey ? [0, 0] : [row, 0], End: event.ctrlKey ? [size - 1, size - 1] : [row, size - 1],
    };
    if (event.key in moves) {
      const [down, across] = moves[event.key].map((place) => Math.max(0, Math.min(size - 1, place)));
      focus(down * size + across);
    } else if (event.key === "Enter" || event.key === " ") {
      choose(cells[current]);
    } else if (event.key === "Escape") {
      cells.forEach((each) => each.removeAttribute("aria-selected"));
      document.dispatchEvent(new CustomEvent("cell", { detail: null }));
    } else {
      return;
    }
    event.preventDefault();
  });
})();
