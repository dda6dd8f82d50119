"use strict";
// Moving through the journey: to a number, back through what made it, along a map; and telling all of it anew.
Object.assign(
  explorer,
  (() => {
    const { whole } = arithmetic;
    const { last, shapes, stages, where } = journey;
    const { cards, figures, live, s, sees, status, strip, title, tool } = explorer;
    const SAID = 300,
      FADE = 150;
    const durations = [],
      trail = [];
    let saying, noting, turned;
    const vector = () => stages[s.k].output.length === 1;
    const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
    const state = () => (explorer.timer ? "sliding" : s.pin ? "pinned" : "click to pin");

    const showTools = () => {
      const { parts, timer } = explorer;
      status.textContent = state();
      tool.unpin.hidden = !s.pin;
      tool.forward.hidden = !trail.length;
      tool.follow.hidden = !parts.go;
      tool.copy.hidden = !parts.terms;
      tool.swap.hidden = !parts.other;
      tool.swap.textContent = `${s.other ? "without" : "with"} the ${parts.otherwise}`;
      tool.swap.setAttribute("aria-pressed", String(s.other));
      tool.play.textContent = timer ? "pause" : "slide the window";
    };
    const showSeen = () => {
      if (stages[s.k].sees_known === false) {
        sees.textContent = "What it sees of the image is not known.";
        return;
      }
      const seen = explorer.seen().get(0),
        [rows, columns] = seen.map(([a, b]) => `${a} to ${b - 1}`);
      const size = seen.map(([a, b]) => b - a).join(" x ");
      sees.textContent = s.k ? `It sees ${size} pixels of the image: rows ${rows}, columns ${columns}.` : "";
    };
    const update = () => {
      if (!journey.image()) return;
      const begun = performance.now();
      explorer.parts = journey.takeApart(s.k, s);
      title.textContent = `${stages[s.k].name}, ${where(s.k, s)}: ${whole(explorer.parts.found)}`;
      explorer.showTerms();
      explorer.showCheck();
      explorer.showFigures();
      explorer.drawMarks();
      showSeen();
      showTools();
      explorer.showRamp();
      // Numbers are those of now at once; only another stage's pictures fade in.
      if (turned !== s.k && !calm()) figures.animate([{ opacity: 0.3 }, { opacity: 1 }], FADE);
      turned = s.k;
      clearTimeout(saying);
      clearTimeout(noting);
      saying = setTimeout(() => {
        live.textContent = explorer.sentence();
      }, SAID);
      // An address that leads to another section stays as it is until something is pointed at.
      if (explorer.moved) noting = setTimeout(explorer.note, SAID);
      durations.push(performance.now() - begun);
      if (durations.length > 400) durations.shift();
    };

    const go = (to, keep = false) => {
      explorer.moved = true;
      const clamp = (v, n) => Math.max(0, Math.min(n - 1, v));
      const wanted = { ...s, ...to },
        k = clamp(wanted.k, last + 1),
        [height, width, channels] = shapes[k];
      const next = { k, f: clamp(wanted.f, channels), r: clamp(wanted.r, height), c: clamp(wanted.c, width) };
      if (!keep) trail.length = 0;
      if (next.k !== s.k || next.f !== s.f) s.term = undefined;
      Object.assign(s, next);
      update();
    };
    const reveal = () => {
      const { card } = cards[s.k];
      if (strip.contains(document.activeElement)) card.focus({ preventScroll: true });
      strip.scrollLeft = Math.max(0, card.offsetLeft - strip.offsetLeft - 60);
    };
    const follow = () => {
      const { parts } = explorer;
      if (!parts.go) return;
      const { k, f, r, c, term } = s,
        to = parts.go(term);
      trail.push({ k, f, r, c, term });
      s.pin = true;
      s.term = undefined;
      go(to, true);
      reveal();
    };
    const goForward = () => {
      const to = trail.pop();
      if (!to) return;
      go(to, true);
      s.term = to.term;
      update();
      reveal();
    };
    const unpin = () => {
      s.pin = false;
      stop();
      update();
    };

    // The window slides when asked to, and only while it is looked at.
    const stop = () => {
      clearInterval(explorer.timer);
      explorer.timer = undefined;
    };
    const step = () => {
      if (document.hidden) return stop();
      const [height, width, channels] = shapes[s.k],
        end = vector() ? channels : width * height,
        next = (vector() ? s.f : s.r * width + s.c) + 1;
      if (next < end) return go(vector() ? { f: next } : { r: Math.floor(next / width), c: next % width });
      stop();
      return update();
    };
    const slide = () => {
      if (explorer.timer) {
        stop();
        update();
        return;
      }
      s.pin = true;
      if (calm()) {
        step();
        return;
      }
      const [height, width] = shapes[s.k];
      explorer.timer = setInterval(step, Number(tool.speed.value));
      if (!vector() && s.r === height - 1 && s.c === width - 1) go({ r: 0, c: 0 });
      else update();
    };
    tool.speed.addEventListener("input", () => {
      if (!explorer.timer) return;
      stop();
      slide();
    });

    tool.follow.onclick = follow;
    tool.forward.onclick = goForward;
    tool.unpin.onclick = unpin;
    tool.play.onclick = slide;
    tool.swap.onclick = () => {
      s.other = !s.other;
      s.pin = true;
      update();
    };
    return { durations, follow, go, goForward, reveal, slide, state, stop, trail, unpin, update, vector };
  })(),
);
