"use strict";
// The colours of the journey's maps: over how much a scale reaches, the maps themselves, and the legend.
Object.assign(
  explorer,
  (() => {
    const { layout, paint, photograph } = drawing;
    const { atlases, host, shapes, stages } = journey;
    const { cards, output, ramp, s, source, tool } = explorer;
    const inks = {};
    let limits = [],
      told = "";
    const anchors = () => journey.anchors[page.theme()];
    const extreme = (numbers) => numbers.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    const channelOf = (numbers, channels, f) => numbers.filter((_, i) => i % channels === f);
    const limitOf = (k, f) => {
      if (s.scope === "layer") return limits[k];
      if (s.scope === "network") return Math.max(...limits.slice(1));
      return extreme(channelOf(journey.image().outs[k], shapes[k][2], f));
    };

    const paintAll = () => {
      const image = journey.image();
      limits = image.outs.map(extreme);
      for (const name of ["mark", "see", "line", "text", "muted", "card"]) inks[name] = drawing.colour(host, `--${name}`);
      stages.forEach((_, k) => {
        const limit = s.scope === "map" ? (f) => limitOf(k, f) : limitOf(k);
        if (k) paint(cards[k].under, atlases[k], image.outs[k], limit, anchors());
        else photograph(cards[0].under, atlases[0], journey.photographs()[image.number], shapes[0][2]);
      });
      source.key = output.key = told = "";
      explorer.paintSheets();
    };
    const showRamp = () => {
      const limit = limitOf(s.k, s.f),
        key = `${limit} ${page.theme()}`;
      if (told === key) return;
      told = key;
      const steps = Float32Array.from({ length: 511 }, (_, i) => (i / 255 - 1) * limit);
      paint(ramp.canvas, layout([1, 511, 1], 511), steps, limit, anchors());
      ramp.canvas.style.width = ramp.canvas.style.height = "";
      ramp.low.textContent = `-${limit.toPrecision(3)}`;
      ramp.high.textContent = `+${limit.toPrecision(3)}`;
    };
    const redraw = () => {
      if (!journey.image()) return;
      paintAll();
      explorer.update();
    };
    const setScope = (scope) => {
      s.scope = scope;
      tool.scope.textContent = `colours: ${scope}`;
      redraw();
    };
    const changeScope = () => setScope({ layer: "map", map: "network", network: "layer" }[s.scope]);
    tool.scope.onclick = changeScope;
    page.onTheme(redraw);
    return { anchors, changeScope, channelOf, extreme, inks, limitOf, paintAll, setScope, showRamp };
  })(),
);
