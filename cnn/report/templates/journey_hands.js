"use strict";
// Keys and pointer of the journey.
(() => {
  const { atlases, shapes } = journey;
  const { bench, cards, go, list, output, reveal, s, status, strip } = explorer;

  const across = (n) => go(explorer.vector() ? { f: s.f + n } : { c: s.c + n });
  const down = (n) => go(explorer.vector() ? { f: s.f + n * atlases[s.k].across } : { r: s.r + n });
  const stage = (n) => {
    go({ k: s.k + n });
    reveal();
  };
  const KEY = {
    ArrowLeft: (n) => across(-n),
    ArrowRight: across,
    ArrowUp: (n) => down(-n),
    ArrowDown: down,
    Home: (_, all) => go(all ? { r: 0, c: 0 } : { c: 0 }),
    End: (_, all) => go(all ? { r: 1e9, c: 1e9 } : { c: 1e9 }),
    PageUp: () => go({ f: s.f - 1 }),
    PageDown: () => go({ f: s.f + 1 }),
    "[": () => stage(-1),
    "]": () => stage(1),
    Enter: explorer.follow,
    Backspace: explorer.goForward,
    Escape: explorer.unpin,
    " ": explorer.slide,
    c: explorer.changeScope,
    t: () => document.getElementById("theme").click(),
    "?": () => explorer.dialog.showModal(),
  };
  strip.addEventListener("keydown", (event) => {
    const act = KEY[event.key];
    if (!act || event.altKey || event.metaKey || (event.ctrlKey && !["Home", "End"].includes(event.key))) return;
    event.preventDefault();
    if (explorer.timer && event.key !== " ") explorer.stop();
    if (event.key !== "Escape" && !"ct?".includes(event.key)) s.pin = true;
    act(event.shiftKey ? 5 : 1, event.ctrlKey);
    status.textContent = explorer.state();
  });
  bench.addEventListener("keydown", (event) => {
    if (event.key === "Escape") explorer.unpin();
  });

  const choose = (n) => {
    const { top } = explorer.listed;
    if (top[n] === undefined) return;
    s.term = top[n];
    s.pin = true;
    explorer.update();
  };
  list.addEventListener("keydown", (event) => {
    const { top } = explorer.listed,
      step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (event.key === "Enter") explorer.follow();
    else if (event.key === "Backspace") explorer.goForward();
    else if (step && top.length) choose(Math.max(0, Math.min(top.length - 1, top.indexOf(s.term) + step)));
    else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => choose([...list.children].indexOf(event.target.closest("li"))));
  list.addEventListener("dblclick", explorer.follow);

  // A pointer that moves is followed until a click, or a tap, pins; the same place again unpins.
  const pointed = (view, l, place) => {
    const read = (event, click) => {
      const p = drawing.under(view, l(), event);
      if (!p || (s.pin && !click)) return;
      const to = place(p);
      explorer.stop();
      if (click) s.pin = !(s.pin && Object.keys(to).every((name) => to[name] === s[name]));
      go(to);
    };
    view.box.addEventListener("pointermove", (event) => event.pointerType === "touch" || read(event, false));
    view.box.addEventListener("click", (event) => read(event, true));
  };
  cards.forEach((view, k) => {
    pointed(
      view,
      () => atlases[k],
      ({ f, r, c }) => ({ k, f: k ? f : Math.min(s.f, shapes[0][2] - 1), r, c }),
    );
    view.card.addEventListener("click", () => view.card.focus({ preventScroll: true }));
  });
  pointed(
    output,
    () => output.l,
    ({ r, c }) => ({ r, c }),
  );
})();
