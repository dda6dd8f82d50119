"use strict";
// The bench's words and tables: the pointed number as a sum whose shown parts add up to what is shown.
Object.assign(
  explorer,
  (() => {
    const { apportion, decimals, fixed, functionOf, whole } = arithmetic;
    const { el, fill } = drawing;
    const { at, stages, where } = journey;
    const { anchors, bench, check, extreme, lines, list, s, sum, tables } = explorer;
    const MOST = 121;

    // The list of contributions: those named, and one for all others.
    const rows = (into, entries) => {
      while (into.children.length < entries.length)
        into.append(el("li", {}, el("span"), el("span"), el("span", {}, el("i"))));
      while (into.children.length > entries.length) into.lastChild.remove();
      const most = Math.max(...entries.map((entry) => (entry.rest ? 0 : Math.abs(entry.value))), 1e-30);
      entries.forEach((entry, n) => {
        const [name, value, bar] = into.children[n].children,
          i = bar.firstChild;
        name.textContent = entry.label;
        value.textContent = entry.text;
        value.title = whole(entry.value);
        i.hidden = Boolean(entry.rest);
        i.className = entry.value < 0 ? "minus" : "";
        i.style.width = entry.rest ? "0" : `${(Math.abs(entry.value) / most) * 100}%`;
      });
    };
    const ledger = (from) => {
      const { top, rest, other } = journey.largest(from.terms),
        names = top.map((n) => from.terms[n].label),
        values = top.map((n) => from.terms[n].value),
        biased = from.bias !== undefined;
      if (rest) {
        names.push(`other ${rest} ${from.of}`);
        values.push(other);
      }
      if (biased) values.push(from.bias);
      const places = decimals([...values, from.value]),
        shown = apportion(values, places, from.value),
        signed = (v) => fixed(v, places, true);
      const entries = names.map((label, n) => ({
        label,
        value: values[n],
        text: signed(shown[n]),
        rest: n >= top.length,
      }));
      const bias = biased ? shown.at(-1) : 0,
        total = entries.reduce((before, _, n) => before + shown[n], 0);
      const begin = biased ? `bias ${signed(bias)} + ` : "";
      const of = from.terms.length === 1 ? from.of.replace(/s$/, "") : from.of;
      const line = `${begin}${from.terms.length} ${of} ${signed(total)} = ${signed(bias + total)}`;
      return { top, places, shown, entries, bias, line };
    };

    // Window, kernel and products of the chosen channel.
    const cell = (td, text, value, limit) => drawing.cell(td, text, value, limit, anchors());
    const off = (td, entry) => {
      td.className = entry.inside ? "" : "off";
      if (entry.inside) return false;
      td.textContent = "0 (padding)";
      td.title = td.style.backgroundColor = td.style.color = "";
      return true;
    };
    const showTables = (shown, places) => {
      const { parts } = explorer;
      const window = parts.cells ? parts.cells(s.term) : parts.window,
        cells = window ? window.flat() : [],
        fits = cells.length > 0 && cells.length <= MOST;
      tables.forEach(({ table }, n) => {
        table.hidden = !fits || (n > 0 && !parts.cells);
      });
      if (!fits) return;
      const column = (n, caption, pick) => {
        const limit = extreme(cells.map(pick)),
          digits = decimals([limit]);
        fill(tables[n], caption, window, (td, c) => {
          if (n || !off(td, c)) cell(td, fixed(pick(c), digits), pick(c), limit);
          if (n || !parts.wins) return;
          const wins = parts.wins.r === c.r && parts.wins.c === c.c;
          td.classList.add(wins ? "wins" : "loses");
        });
      };
      column(0, `window of channel ${parts.cells ? parts.terms[s.term].f : s.f}`, (c) => c.x);
      if (!parts.cells) return;
      column(1, "× kernel", (c) => c.w);
      const values = cells.map((c) => c.x * c.w),
        products = apportion(values, places, shown),
        limit = extreme(values);
      fill(tables[2], `= products, together ${fixed(shown, places, true)}`, window, (td, c, n) => {
        if (!off(td, c)) cell(td, fixed(products[n], places), values[n], limit);
      });
    };

    // What the next layer makes of the number, where that is a matter of this number alone.
    const onward = () => {
      const next = stages.findIndex((stage) => stage.sources[0] === s.k && functionOf(stage));
      return next < 0 ? "" : ` → ${stages[next].op} → ${whole(journey.image().outs[next][at(next, s)])}`;
    };
    const select = (chosen) => {
      [...list.children].forEach((item, n) => {
        item.id = `term-${n}`;
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", String(n === chosen));
      });
      list.setAttribute("aria-activedescendant", chosen < 0 ? "" : `term-${chosen}`);
    };
    const showTerms = () => {
      const { parts } = explorer,
        summed = parts.terms && !parts.whole;
      explorer.listed = { top: [] };
      list.hidden = !summed && !parts.bars;
      sum.textContent = "";
      lines.textContent = [...(parts.lines || []), ...(s.other && parts.other ? [parts.other] : [])].join(" ");
      if (parts.bars) {
        const likeliest = [...parts.bars].sort((a, b) => b.value - a.value).slice(0, 13);
        rows(
          list,
          likeliest.map((bar) => ({ ...bar, text: fixed(bar.value, 4) })),
        );
        select(-1);
      }
      if (!parts.terms) {
        showTables();
        return;
      }
      const listed = ledger(parts);
      explorer.listed = listed;
      if (s.term === undefined || s.term >= parts.terms.length) s.term = listed.top[0];
      const bias = summed ? "" : ` ${fixed(parts.bias, listed.places, true)} (bias) = ${whole(parts.value)}`;
      sum.textContent = `${summed ? listed.line : parts.terms[0].label + bias}${onward()}`;
      if (summed) rows(list, listed.entries);
      const chosen = listed.top.indexOf(s.term),
        value = parts.terms[s.term].value;
      select(chosen);
      showTables(chosen < 0 ? Number(value.toFixed(listed.places)) : listed.shown[chosen], listed.places);
    };

    const verdict = ({ missing, unchecked, found, value, allowed }) => {
      const difference = Math.abs(value - found),
        agrees = missing || difference <= allowed;
      if (unchecked) return [agrees, `JAX: ${whole(found)}, not checked`];
      if (missing) return [agrees, `JAX: ${whole(found)}`];
      if (!allowed) return [agrees, `${agrees ? "✓ exactly" : "✗ NOT"} what JAX has: ${whole(found)}`];
      const [off, most] = [difference, allowed].map((v) => v.toExponential(1));
      const word = agrees ? "✓ agrees" : "✗ DISAGREES";
      return [agrees, `${word} with JAX: ${whole(found)}, difference ${off} of ${most} allowed`];
    };
    const showCheck = () => {
      const { parts } = explorer,
        [agrees, words] = verdict(parts);
      check.className = agrees ? "agree" : "disagree";
      check.textContent = words;
      bench.dataset.sum = parts.missing ? "" : String(parts.value);
      bench.dataset.found = String(parts.found);
      bench.dataset.at = `${stages[s.k].name} ${s.f} ${s.r} ${s.c}`;
    };
    const sentence = () => {
      const { parts, listed } = explorer;
      const begin = `${stages[s.k].name}, ${where(s.k, s)}: ${whole(parts.found)}`;
      const largest = listed.top.length && !parts.whole,
        made = largest
          ? ` = ${listed.line.split(" = ")[0]}; largest, ${parts.terms[listed.top[0]].label}, ${listed.entries[0].text}`
          : "";
      if (parts.unchecked) return `${begin}. Not checked.`;
      return `${begin}${made}. ${check.className === "agree" ? "Agrees" : "Disagrees"} with JAX.`;
    };

    // The sum as plain text that a calculator reproduces.
    const formula = () => {
      const { terms, bias, value } = explorer.parts,
        { top, rest, other } = journey.largest(terms, Math.min(200, terms.length));
      const texts = top.map((n) => {
        const { x, w, value: product } = terms[n];
        return x === undefined ? `(${product})` : `(${x} * ${w})`;
      });
      const ends = [...(bias === undefined ? [] : [`(${bias})`]), ...texts, ...(rest ? [`(${other})`] : [])];
      return `${ends.join(" + ")} = ${value}`;
    };
    explorer.tool.copy.onclick = async () => {
      try {
        await navigator.clipboard.writeText(formula());
        explorer.status.textContent = "copied";
      } catch {
        explorer.status.textContent = "the browser refused";
      }
    };
    return { formula, ledger, rows, sentence, showCheck, showTerms };
  })(),
);
