"use strict";
// Axes as cnn/report/axes.py lays them: where numbers lie, and which are written beside them.
const plot = (() => {
  const TICKS = 6;
  const share = (span, number) =>
    span.log ? Math.log(number / span.low) / Math.log(span.high / span.low) : (number - span.low) / (span.high - span.low);
  const number = (span, at) => (span.log ? span.low * (span.high / span.low) ** at : span.low + at * (span.high - span.low));

  const over = (numbers, { log = false, room = 0 } = {}) => {
    let [low, high] = [Infinity, -Infinity];
    for (const value of numbers) {
      if (!Number.isFinite(value) || (log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (low > high) return { low: log ? 0.1 : 0, high: 1, log };
    if (log) {
      if (low === high) [low, high] = [low / 2, high * 2];
      const wider = (high / low) ** room;
      return { low: low / wider, high: high * wider, log };
    }
    if (low === high) [low, high] = [low - 0.5 * (Math.abs(low) || 1), high + 0.5 * (Math.abs(high) || 1)];
    return { low: low - room * (high - low), high: high + room * (high - low), log };
  };

  const even = ({ low, high }) => {
    const width = (high - low) / TICKS;
    const power = 10 ** Math.floor(Math.log10(width));
    const step = [1, 2, 5, 10, 20].map((factor) => factor * power).find((one) => one >= width * (1 - 1e-9));
    const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => (first + index) * step);
  };
  const decades = ({ low, high }) => {
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const apart = Math.ceil((last - first) / TICKS);
    for (const factors of [[1], [1, 2, 5]]) {
      const found = [];
      for (let power = first; power <= last; power += apart) for (const factor of factors) found.push(factor * 10 ** power);
      const inside = found.filter((one) => low * (1 - 1e-9) <= one && one <= high * (1 + 1e-9));
      if (inside.length > 1) return inside;
    }
    return [low, high];
  };
  const ticks = (span) => (span.log ? decades(span) : even(span)).map((one) => [share(span, one), written(one)]);

  const written = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e-3 && size < 1e7) {
      const digits = Math.max(0, 3 - Math.floor(Math.log10(size) + 1e-12));
      return value.toLocaleString("en", { maximumFractionDigits: digits });
    }
    const [mantissa, exponent] = value.toExponential(3).split("e");
    return `${Number(mantissa)}e${Number(exponent)}`;
  };

  const SPACE = "http://www.w3.org/2000/svg";
  const make = (name, attributes, text) => {
    const made = document.createElementNS(SPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const path = (points) =>
    points.length === 1
      ? `M${points[0][0].toFixed(1)} ${points[0][1].toFixed(1)}h0`
      : points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  return { share, number, over, ticks, written, make, path };
})();
if (typeof module !== "undefined") module.exports = plot;
