"use strict";
// Why this class and not that: the difference of two logits, by what the last layer reads.
Object.assign(
  explorer,
  (() => {
    const { whole } = arithmetic;
    const { classes, label } = journey;
    const { box, difference, one, reasons, two } = explorer.why;
    const chosen = () => [one, two].map((select) => Number(select.value));
    const compare = () => {
      const [a, b] = chosen(),
        found = journey.versus(a, b);
      box.hidden = !found || classes.length < 2;
      if (box.hidden) return;
      const book = explorer.ledger(found),
        agrees = Math.abs(found.value - found.found) <= found.allowed;
      explorer.rows(reasons, book.entries);
      const verdict = `JAX's logits differ by ${whole(found.found)} ${agrees ? "✓" : "✗ DISAGREES"}`;
      difference.textContent = `${label(a)} over ${label(b)}: ${book.line}; ${verdict}`;
      difference.classList.toggle("disagree", !agrees);
    };
    one.onchange = two.onchange = compare;
    reasons.addEventListener("click", (event) => {
      const found = journey.versus(...chosen()),
        index = journey.largest(found.terms).top[[...reasons.children].indexOf(event.target.closest("li"))];
      if (index === undefined) return;
      explorer.s.pin = true;
      explorer.go(found.go(index));
      explorer.reveal();
    });
    return { compare };
  })(),
);
