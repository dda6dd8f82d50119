"use strict";
// The filters in another order, and in colours over the range of all or of each.
(() => {
  const { el, layout, paint, photograph } = drawing;
  const byId = (name) => document.getElementById(`filters-${name}`);
  const [order, range] = ["order", "range"].map(byId);
  const list = document.querySelector("ul.filters");
  const ends = document.querySelectorAll("#filters .legend > span:not(.muted)");
  const { shape: [height, width, channels], limit, anchors } = page.data("filters-data");
  const one = height * width;
  byId("controls").hidden = false;
  const items = [...list.children];
  order.addEventListener("change", () => {
    const key = order.value;
    const sign = key === "index" ? 1 : -1;
    list.append(...[...items].sort((a, b) => sign * (a.dataset[key] - b.dataset[key])));
  });

  const written = [...ends].map((end) => end.textContent);
  const largest = (numbers) => numbers.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  let kernels;
  const shown = (item) => {
    const place = Number(item.dataset.index);
    return kernels.subarray(place * channels * one, (place + 1) * channels * one);
  };
  // A canvas for every picture, made when first asked for.
  const canvases = (item) => {
    if (item.drawn) return item.drawn;
    const images = [...item.querySelectorAll("img:not(.dark)")];
    item.note = item.appendChild(el("small", { className: "needs-script" }));
    item.drawn = images.map((image) => el("canvas", { className: "needs-script", role: "img", "aria-label": image.alt }));
    item.firstElementChild.append(...item.drawn);
    return item.drawn;
  };
  const draw = () => {
    const own = range.value === "filter";
    ends.forEach((end, place) => {
      end.textContent = own ? ["- its largest", "+ its largest"][place] : written[place];
    });
    for (const item of items) {
      for (const image of item.querySelectorAll("img")) image.classList.toggle("story-off", own);
      if (!own && !item.drawn) continue;
      const numbers = shown(item);
      const most = largest(numbers) || limit;
      const made = canvases(item);
      item.note.textContent = `up to ${most.toPrecision(3)}`;
      for (const each of [...made, item.note]) each.hidden = !own;
      if (!own) continue;
      const l = layout([height, width, 1], item.querySelector("img").width);
      const coloured = made.length - Math.min(3, channels);
      if (coloured) {
        const levels = Array.from({ length: 3 * one }, (_, at) => 127.5 + (127.5 * numbers[(at % 3) * one + Math.floor(at / 3)]) / most);
        photograph(made[0], l, levels, 3);
      }
      made.slice(coloured).forEach((canvas, channel) => paint(canvas, l, numbers.subarray(channel * one, (channel + 1) * one), most, anchors[page.theme()]));
    }
  };
  const change = async () => {
    kernels = kernels || new Float32Array(await page.blob("filters-kernels"));
    draw();
  };
  range.addEventListener("change", change);
  page.onTheme(() => kernels && draw());

  page.check("filters", async () => {
    range.value = "filter";
    await change();
    for (const item of items) {
      const all = shown(item);
      const most = largest(all);
      const place = all.findIndex((v) => Math.abs(v) === most);
      if (!most || place >= 3 * one) continue;
      const canvas = item.drawn[item.drawn.length - Math.min(3, channels) + Math.floor(place / one)];
      const pixel = canvas.getContext("2d").getImageData(place % width, Math.floor((place % one) / width), 1, 1).data;
      const right = arithmetic.ramp(anchors[page.theme()]).at(all[place] < 0 ? 0 : -1);
      if (right.some((level, n) => level !== pixel[n])) return `filter ${item.dataset.index} ends in ${pixel}, not in ${right}`;
    }
    range.value = "layer";
    await change();
    return list.querySelector(".tile.story-off") ? "the common range does not come back" : "";
  });
})();
