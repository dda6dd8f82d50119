"use strict";
// What stands in the journey's section: images, stages in a strip, the bench and its tools. The files after this one add
// to `explorer` what they do, and share its fields: `s` is what is looked at, `parts` what that number is made of.
const explorer = (() => {
  const { el, grid, stack } = drawing;
  const { atlases, classes, host, named, stages } = journey;
  const LABELS = 170;
  const KEYS = [
    ["arrows (Shift: five at a time)", "move the pixel"],
    ["Home, End", "ends of the row; with Ctrl: corners"],
    ["Page Up, Page Down", "previous, next filter"],
    ["[ ]", "previous, next stage"],
    ["Enter", "follow the largest contribution one stage back"],
    ["Backspace", "forward again"],
    ["Esc", "unpin"],
    ["Space", "slide the window: play, pause"],
    ["c", "colours over map, layer or network"],
    ["t", "light or dark"],
    ["?", "these keys"],
  ];
  const s = { i: 0, k: 1, f: 0, r: 0, c: 0, pin: false, scope: "layer", other: false, term: undefined };
  const box = (className, ...children) => el("div", { className }, ...children);
  const button = (textContent, title = "") => el("button", { type: "button", textContent, title });
  const labelled = (text, input) => el("label", {}, text, input);

  const reads = (stage, k) => {
    const usual = stage.sources.length < 2 && (!k || stage.sources[0] === k - 1);
    return usual ? "" : `reads ${stage.sources.map((source) => stages[source].name).join(" + ")}`;
  };
  const about = (stage, k) => {
    const text = stage.op === "add" || stage.text === stage.op ? "" : stage.text;
    return [text, stage.formula, reads(stage, k)].filter(Boolean).join(" · ");
  };
  const cards = stages.map((stage, k) => {
    const view = stack();
    const card = el(
      "div",
      {
        className: "stage",
        role: "application",
        "aria-roledescription": "pixel explorer",
        "aria-label": `${stage.name}, ${stage.output.join(" x ")}`,
        tabIndex: -1,
      },
      el("b", { textContent: stage.name }),
      el("span", { textContent: stage.output.join("x") }),
      el("p", { textContent: about(stage, k) }),
      view.box,
    );
    if (named(k) && atlases[k].across === 1) view.box.style.paddingRight = `${LABELS}px`;
    return { ...view, card };
  });

  const picker = el("div", { className: "picker", role: "radiogroup", "aria-label": "images" });
  const answer = el("span"),
    agreement = el("span");
  const strip = box("strip", ...cards.map(({ card }) => card));

  const title = el("h3"),
    status = el("span", { className: "muted" });
  const tool = {
    follow: button("follow back ↵", "the largest contribution, one stage back (Enter)"),
    forward: button("forward again", "Backspace"),
    unpin: button("unpin", "Esc"),
    play: button("slide the window", "Space"),
    speed: el("input", {
      type: "range",
      min: 30,
      max: 500,
      value: 120,
      "aria-label": "milliseconds a pixel",
      title: "right: slower",
    }),
    swap: button("", "what the other way to pool would have given"),
    copy: button("copy as formula"),
    scope: button("colours: layer", "c"),
    help: button("keys ?"),
  };
  const ramp = { canvas: el("canvas", { "aria-hidden": "true" }), low: el("span"), high: el("span") };
  const middle = el("span", { className: "middle" }, ramp.canvas);
  const source = { ...stack(), note: el("figcaption") },
    output = { ...stack(), note: el("figcaption") },
    kernels = { ...stack(), note: el("figcaption") };
  for (const view of [source, output, kernels]) view.figure = el("figure", {}, view.box, view.note);
  const tables = ["window", "kernel", "products"].map(grid);
  const figures = box("sum-row", source.figure, ...tables.map(({ table }) => table), output.figure);
  const lines = el("p", { className: "line" }),
    sum = el("p", { className: "line" }),
    check = el("p"),
    sees = el("p", { className: "muted" });
  const list = el("ul", {
    className: "terms",
    role: "listbox",
    tabIndex: 0,
    "aria-label": "contributions, largest first",
  });
  const bench = box(
    "bench",
    box("tools", title, status),
    box(
      "tools",
      tool.follow,
      tool.forward,
      tool.unpin,
      tool.play,
      labelled("pace", tool.speed),
      tool.swap,
      tool.copy,
      tool.scope,
      el("span", { className: "ramp" }, ramp.low, middle, ramp.high),
      tool.help,
    ),
    figures,
    lines,
    sum,
    check,
    box("sum-row", kernels.figure, list),
    sees,
  );

  const options = () => classes.map((textContent, value) => el("option", { value, textContent }));
  const choose = (name) => el("select", { "aria-label": name }, ...options());
  const why = {
    one: choose("why this class"),
    two: choose("and not that"),
    reasons: el("ul", { className: "terms" }),
    difference: el("p", { className: "line" }),
  };
  why.box = box(
    "bench",
    el("h3", { textContent: "Why this class and not that" }),
    box("tools", labelled("why", why.one), labelled("and not", why.two)),
    why.difference,
    why.reasons,
  );

  const live = el("p", { className: "quiet", "aria-live": "polite" });
  const keys = KEYS.map(([key, does]) => el("tr", {}, el("th", { textContent: key }), el("td", { textContent: does })));
  const close = button("close"),
    dialog = el("dialog", { "aria-label": "keys" }, el("table", {}, el("tbody", {}, ...keys)), close);
  close.onclick = () => dialog.close();
  tool.help.onclick = () => dialog.showModal();
  host.append(picker, el("p", { className: "verdict" }, answer, agreement), strip, bench, why.box, live, dialog);

  return {
    LABELS,
    agreement,
    answer,
    bench,
    cards,
    check,
    dialog,
    figures,
    kernels,
    lines,
    list,
    live,
    output,
    picker,
    ramp,
    s,
    sees,
    source,
    status,
    strip,
    sum,
    tables,
    title,
    tool,
    why,
    listed: { top: [] },
    parts: undefined,
  };
})();
