"use strict";
// The sheets of the activation maps: of the image and in the colours that are chosen; pointing at a map enlarges it.
Object.assign(
  explorer,
  (() => {
    const { above, el, layout, paint, spot, stack, under } = drawing;
    const { fixed, whole } = arithmetic;
    const { at, host, images, shapes, stages } = journey;
    const { anchors, channelOf, inks, limitOf, s } = explorer;
    const MOST = 64,
      WIDTH = 430,
      SIDE = 220;
    const section = document.getElementById("activations");
    const scope = document.getElementById("activations-scope");
    const large = { ...stack(), note: el("p") };
    const reading = el("div", { className: "reading card needs-script", hidden: true }, large.box, large.note);
    const sheets = [...(section ? section.querySelectorAll("figure[data-stage]") : [])].map((figure) => {
      const view = stack();
      figure.querySelector(".wide").append(view.box);
      view.box.classList.add("leads", "needs-script");
      const k = stages.findIndex((stage) => stage.name === figure.dataset.stage);
      return { ...view, k, figure, ends: figure.querySelectorAll(".legend > span:not(.muted)") };
    });
    const strongest = (numbers, channels) => {
      const sizes = new Float64Array(channels);
      numbers.forEach((v, i) => {
        sizes[i % channels] += Math.abs(v);
      });
      const order = [...sizes.keys()].sort((a, b) => sizes[b] - sizes[a]);
      return order.slice(0, MOST).sort((a, b) => a - b);
    };
    const paintSheets = () => {
      const image = journey.image(),
        { name, why } = images[image.number];
      if (!sheets.length) return;
      scope.value = s.scope;
      document.getElementById("activations-of").textContent = `${name} (${why})`;
      for (const sheet of sheets) {
        const numbers = image.outs[sheet.k],
          [height, width, channels] = shapes[sheet.k];
        sheet.maps = strongest(numbers, channels);
        sheet.l = layout([height, width, sheet.maps.length], Math.min(WIDTH, sheet.box.parentElement.clientWidth || WIDTH));
        const shown = new Float32Array(height * width * sheet.maps.length);
        for (let p = 0, n = 0; p < height * width; p++) for (const f of sheet.maps) shown[n++] = numbers[p * channels + f];
        const limit = s.scope === "map" ? (n) => limitOf(sheet.k, sheet.maps[n]) : limitOf(sheet.k);
        paint(sheet.under, sheet.l, shown, limit, anchors());
        const end = s.scope === "map" ? " its largest" : limitOf(sheet.k).toPrecision(3);
        const above = !numbers.some((v) => v < 0);
        sheet.ends[0].parentElement.classList.toggle("above", above);
        sheet.ends.forEach((span, n) => {
          span.textContent = above && !n ? "0" : `${"-+"[n]}${end}`;
        });
        for (const picture of sheet.figure.querySelectorAll("img.sheet")) picture.classList.add("story-off");
      }
    };
    const placed = (sheet, event) => {
      const p = under(sheet, sheet.l, event);
      return p && { k: sheet.k, f: sheet.maps[p.f], r: p.r, c: p.c };
    };
    const read = (sheet, event) => {
      const p = placed(sheet, event);
      reading.hidden = !p;
      if (!p) return;
      const [height, width, channels] = shapes[p.k],
        numbers = channelOf(journey.image().outs[p.k], channels, p.f),
        l = layout([height, width, 1], SIDE);
      paint(large.under, l, numbers, limitOf(p.k, p.f), anchors());
      spot(above(large.over, l), l, 0, p.r, p.c, inks.mark);
      const [low, high] = [Math.min(...numbers), Math.max(...numbers)].map((v) => fixed(v, 3));
      const number = whole(journey.image().outs[p.k][at(p.k, p)]);
      large.note.textContent = `${stages[p.k].name}, map ${p.f} (${low} to ${high}): row ${p.r}, column ${p.c} is ${number}`;
      const left = event.clientX + reading.offsetWidth + 24 < innerWidth ? event.clientX + 16 : event.clientX - reading.offsetWidth - 16;
      reading.style.left = `${Math.max(4, left)}px`;
      reading.style.top = `${Math.max(4, Math.min(innerHeight - reading.offsetHeight - 4, event.clientY - 60))}px`;
    };
    for (const sheet of sheets) {
      sheet.box.addEventListener("pointermove", (event) => event.pointerType === "touch" || read(sheet, event));
      sheet.box.addEventListener("pointerleave", () => {
        reading.hidden = true;
      });
      sheet.box.addEventListener("click", (event) => {
        const p = placed(sheet, event);
        if (!p) return;
        s.pin = true;
        explorer.go(p);
        explorer.reveal();
        host.scrollIntoView();
      });
    }
    if (sheets.length) {
      section.append(reading);
      document.getElementById("activations-controls").hidden = false;
      scope.addEventListener("change", () => explorer.setScope(scope.value));
      document.addEventListener("keydown", (event) => {
        const here = section.matches(":hover") || section.contains(document.activeElement);
        if (event.key !== "c" || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !here) return;
        event.preventDefault();
        explorer.changeScope();
      });
    }
    return { paintSheets, sheets };
  })(),
);
