"use strict";
// The journey opens: its images, the verdict on every number, and the ways that lead here from other sections.
Object.assign(
  explorer,
  (() => {
    const { el, layout, photograph } = drawing;
    const { host, images, label, logitsAt, place, shapes, stages } = journey;
    const { agreement, answer, picker, s, why } = explorer;
    const root = document.documentElement;

    const say = (found, image) => {
      if (journey.image() !== image) return;
      const bad = found.wrong.length > 0,
        number = (n) => n.toLocaleString("en");
      agreement.className = bad ? "disagree" : "agree";
      agreement.textContent = bad
        ? `✗ ${number(found.numbers - found.right)} numbers DO NOT AGREE with JAX: ${found.wrong.join("; ")}`
        : `✓ ${number(found.right)} of ${number(found.numbers)} numbers agree with JAX`;
      // What disagreed once stays on record, whichever image is looked at next.
      if (root.dataset.agree !== "no") root.dataset.agree = bad ? "no" : `${found.right}/${found.numbers}`;
      if (bad && !document.title.startsWith("✗")) document.title = `✗ ${document.title}`;
    };
    const most = (numbers) => numbers.reduce((best, v, i) => (v > numbers[best] ? i : best), 0);
    const announce = (image, entry) => {
      const logits = image.outs[logitsAt],
        seen = most(logits),
        chance = 1 / logits.reduce((total, z) => total + Math.exp(z - logits[seen]), 0);
      const runnerUp = most(logits.map((z, n) => (n === seen ? -Infinity : z)));
      const truth = entry.label === null ? "" : `; true: ${label(entry.label)}`,
        recorded = entry.recorded === null || entry.recorded === seen ? "" : `; the evaluation said ${label(entry.recorded)}`;
      answer.textContent = `predicted: ${label(seen)} (${chance.toFixed(2)})${truth}${recorded}`;
      why.one.value = seen;
      why.two.value = entry.label !== null && entry.label !== seen ? entry.label : runnerUp;
    };
    // Where a visitor begins: at the strongest number of the first convolution.
    const begin = (image) => {
      const k = Math.max(
        1,
        stages.findIndex((stage) => stage.op === "conv"),
      );
      Object.assign(s, place(k, most(image.outs[k].map(Math.abs))), { term: undefined });
    };
    const select = async (i, anew = true) => {
      const image = await journey.show(i),
        before = s.i;
      s.i = i;
      [...picker.children].forEach((child, n) => {
        child.setAttribute("aria-checked", String(n === i));
        child.tabIndex = n === i ? 0 : -1;
      });
      announce(image, images[i]);
      agreement.className = "";
      agreement.textContent = "checking every number ...";
      explorer.paintAll();
      explorer.compare();
      if (anew) {
        if (before === i && s.k === 1 && !s.pin) begin(image);
        explorer.update();
      }
      const pause = () => new Promise((then) => setTimeout(then, 0));
      journey.checkAll(image, pause).then((found) => say(found, image));
    };
    const pick = (i) => {
      explorer.moved = true;
      return select(i);
    };
    picker.append(
      ...images.map((entry, i) =>
        el(
          "button",
          { type: "button", role: "radio", "aria-checked": "false", onclick: () => pick(i), title: entry.why },
          el("canvas", { "aria-hidden": "true" }),
          el("span", { textContent: entry.label === null ? entry.name : label(entry.label) }),
        ),
      ),
    );
    picker.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const i = (s.i + step + images.length) % images.length;
      pick(i);
      picker.children[i].focus();
    });

    const opened = (async () => {
      await journey.ready;
      const l = layout([...stages[0].output.slice(0, 2), 1], 56);
      images.forEach((_, i) => photograph(picker.children[i].firstChild, l, journey.photographs()[i], shapes[0][2]));
      host.hidden = false;
      document.getElementById("journey-story").classList.add("story-off");
      if (!(await explorer.restore())) await select(0);
    })();

    // Other sections lead here, by a click or Enter: a layer of the network's table, an image of the gallery, a filter.
    const leads = (words, elements, actOf) => {
      const leading = [...elements].map((element) => [element, actOf(element)]).filter(([, act]) => act);
      for (const [element, act] of leading) {
        const lead = async () => {
          await act();
          s.pin = true;
          explorer.update();
          explorer.reveal();
          host.scrollIntoView();
        };
        element.classList.add("leads");
        element.title = words;
        element.addEventListener("click", lead);
        element.addEventListener("keydown", (event) => event.key === "Enter" && lead());
      }
      page.roving(leading.map(([element]) => element), page.line);
    };
    const numbered = (name) => stages.findIndex((stage) => stage.name === (name === "image" ? "input" : name));
    leads("see it in the journey", document.querySelectorAll(".journey-table th[scope=row]"), (row) => {
      const k = numbered(row.textContent);
      return k >= 0 && (() => explorer.go({ k }));
    });
    leads("follow this image", document.querySelectorAll(".gallery [data-name]"), (item) => {
      const i = images.findIndex((entry) => entry.name === item.dataset.name);
      return i >= 0 && (() => pick(i));
    });
    for (const group of document.querySelectorAll(".filters[data-stage]")) {
      const k = numbered(group.dataset.stage);
      leads("see its map in the journey", group.children, (item) => k >= 0 && (() => explorer.go({ k, f: Number(item.dataset.index) })));
    }
    return { opened, select };
  })(),
);
