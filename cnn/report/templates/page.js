"use strict";
// What every section's script may use; also the runner of `#selftest`.
const page = (() => {
  const root = document.documentElement;
  const errors = [];
  const checks = [];
  const listeners = [];
  const fail = (what) => {
    errors.push(String(what));
    root.dataset.errors = String(errors.length);
  };
  addEventListener("error", (event) => fail(event.message));
  addEventListener("unhandledrejection", (event) => fail(event.reason));
  document.addEventListener("securitypolicyviolation", (event) => fail(`policy: ${event.violatedDirective}`));

  // The address after `#`: `curves`, or `j=img:3;layer:conv2&theme=dark`; a word without `=` is true.
  const entries = () => new Map(location.hash.slice(1).split("&").filter(Boolean).map((entry) => {
    const [key, ...rest] = entry.split("=");
    return [key, rest.length ? decodeURIComponent(rest.join("=")) : true];
  }));
  const state = (key) => entries().get(key);
  const setState = (key, value) => {
    const all = new Map([...entries()].filter(([, old]) => old !== true || key === "selftest"));
    if (value === undefined) all.delete(key); else all.set(key, value);
    // Readable where it may be: only what would end an entry is escaped.
    const written = [...all].map(([name, entry]) => `${name}=${encodeURIComponent(entry).replace(/%3A|%3B|%2C|%2F/g, decodeURIComponent)}`);
    history.replaceState(null, "", `#${written.join("&")}`);
  };

  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  // Five digits of base 85 are four bytes; `.,:` stand for `<>&`.
  const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%:()*+-;.=,?@^_`{|}~";
  const value = new Uint8Array(128).fill(84);
  for (let n = 0; n < 85; n++) value[DIGITS.charCodeAt(n)] = n;
  const decoded = (text) => {
    const bytes = new DataView(new ArrayBuffer(Math.ceil(text.length / 5) * 4));
    for (let at = 0, word; at < text.length; at += 5) {
      word = 0;
      for (let n = at; n < at + 5; n++) word = word * 85 + (n < text.length ? value[text.charCodeAt(n)] : 84);
      bytes.setUint32((at / 5) * 4, word);
    }
    return new Uint8Array(bytes.buffer, 0, Math.floor((text.length * 4) / 5));
  };
  const blob = async (id) => {
    const bytes = decoded(document.getElementById(id).textContent);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const onTheme = (listener) => listeners.push(listener);
  const told = () => listeners.forEach((listener) => listener(theme()));
  const choose = (chosen) => {
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen; else delete root.dataset.theme;
    button.textContent = `theme: ${chosen}`;
    told();
  };
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const order = ["auto", "light", "dark"];
    const next = order[(order.indexOf(root.dataset.theme || "auto") + 1) % 3];
    setState("theme", next === "auto" ? undefined : next);
    choose(next);
  });
  dark.addEventListener("change", told);
  choose(state("theme") || "auto");

  // A printed page shows what is folded, but for what is long and says little.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open]):not(.folded)")) {
      details.open = true;
      details.dataset.closed = "";
    }
  });
  addEventListener("afterprint", () => {
    for (const details of document.querySelectorAll("details[data-closed]")) {
      details.open = false;
      delete details.dataset.closed;
    }
  });

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "copied";
    });
  }

  // One stop for Tab among many elements; `moves` takes a key, the place among those in sight, and their number, to the
  // next place. The function that it returns gives the stop to one in sight again.
  const roving = (elements, moves) => {
    let current = elements[0];
    const take = (element) => {
      current.tabIndex = -1;
      current = element;
      current.tabIndex = 0;
    };
    const inSight = () =>
      elements.filter((one) => one.getClientRects().length).sort((a, b) => (a.compareDocumentPosition(b) & 4 ? -1 : 1));
    for (const element of elements) {
      element.tabIndex = element === current ? 0 : -1;
      element.addEventListener("focus", () => take(element));
      element.addEventListener("keydown", (event) => {
        const shown = inSight();
        const next = moves(event.key, shown.indexOf(element), shown.length);
        if (next === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        shown[Math.max(0, Math.min(shown.length - 1, next))].focus();
      });
    }
    return () => {
      if (current && !current.getClientRects().length) take(inSight()[0] || current);
    };
  };
  const line = (key, place, count) =>
    ({ ArrowLeft: place - 1, ArrowUp: place - 1, ArrowRight: place + 1, ArrowDown: place + 1, Home: 0, End: count - 1 })[key];

  const check = (name, run) => checks.push([name, run]);
  const selftest = async () => {
    for (const [name, run] of checks) {
      try {
        const wrong = await run();
        if (wrong) fail(`${name}: ${wrong}`);
      } catch (error) {
        fail(`${name}: ${error}`);
      }
    }
    root.dataset.errors = String(errors.length);
    root.dataset.messages = errors.join(" | ");
    root.dataset.selftest = errors.length ? "failed" : "ok";
  };
  // After every script of the page has run.
  addEventListener("load", () => {
    if (state("selftest")) setTimeout(selftest, 0);
  });

  return { state, setState, data, blob, theme, onTheme, fail, roving, line, check };
})();
