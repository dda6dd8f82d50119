"use strict";
// A number taken apart: what it is made of, and why one class came before another.
Object.assign(
  journey,
  (() => {
    const { EXACT, blend, bound, count, factorAt, functionOf, isKnown, neighbours, placeStatistics } = arithmetic;
    const { slid, statistics, taps, whole } = arithmetic;
    const { arrays, at, given, label, logitsAt, photographs, place, shapes, stages } = journey;
    const LISTED = 12,
      LONG = 25;
    const outs = (k) => journey.image().outs[k];
    const short = (x) => String(Number(x.toPrecision(9)));
    // Numbers in brackets, added up, as far as they fit in a line.
    const added = (cells) =>
      cells.length > LONG
        ? `the sum of ${cells.length}`
        : `(${cells.map((cell, n) => (n ? (cell.x < 0 ? "- " : "+ ") + whole(Math.abs(cell.x)) : whole(cell.x))).join(" ")})`;
    const averaged = (cells) => {
      const sum = cells.reduce((total, cell) => total + cell.x, 0),
        mean = sum / cells.length;
      return { mean, line: `${added(cells)} = ${short(sum)}; ${short(sum)} / ${cells.length} = ${whole(mean)}` };
    };
    const highest = (cells) => cells.reduce((a, b) => (b.x > a.x ? b : a));
    const NOT = "not what this run did.";

    // What a number is made of: `terms` that add up to it with `bias`, or a `choice` among a window, or a function's value.
    const grid = (k, p, channel, weightOf) => {
      const stage = stages[k],
        window = slid(stage),
        source = stage.sources[0],
        x = outs(source);
      const columns = taps(window, 1, p.c);
      return taps(window, 0, p.r).map((r, i) =>
        columns.map((c, j) => {
          const inside = r >= 0 && c >= 0;
          return { r, c, inside, x: inside ? x[at(source, { f: channel, r, c })] : 0, w: weightOf ? weightOf(i, j) : 1 };
        }),
      );
    };
    const strongest = (cells, source, f) => {
      const best = cells
        .flat()
        .filter((cell) => cell.inside)
        .reduce((a, b) => (Math.abs(b.x * b.w) > Math.abs(a.x * a.w) ? b : a));
      return { k: source, f, r: best.r, c: best.c };
    };
    const RECIPES = {
      conv: (k, p) => {
        const stage = stages[k],
          source = stage.sources[0],
          [, , features] = shapes[k],
          { kernel, bias, kept } = arrays[k];
        const share = shapes[source][2] / stage.groups,
          first = Math.floor(p.f / (features / stage.groups)) * share;
        const stored = kept ? kept.indexOf(p.f) : p.f,
          wide = kept ? kept.length : features;
        if (!kernel || stored < 0) return { missing: true };
        const cells = (n) =>
          grid(k, p, first + n, (i, j) => kernel[((i * stage.kernel[1] + j) * share + n) * wide + stored]);
        const terms = Array.from({ length: share }, (_, n) => {
          const products = cells(n)
            .flat()
            .map((cell) => cell.x * cell.w);
          return {
            label: `channel ${first + n}`,
            f: first + n,
            value: products.reduce((a, b) => a + b, 0),
            size: products.reduce((a, b) => a + Math.abs(b), 0),
          };
        });
        const go = (n) => strongest(cells(n), source, first + n);
        return {
          terms,
          bias: bias ? bias[stored] : undefined,
          n: share * count(stage.kernel) + 2,
          cells,
          go,
          of: "channels",
        };
      },
      dense: (k, p) => {
        const source = stages[k].sources[0],
          x = outs(source),
          { kernel, bias } = arrays[k],
          wide = stages[k].output[0];
        if (!kernel) return { missing: true };
        const terms = Array.from(x, (v, n) => ({
          label: input(source, n),
          value: v * kernel[n * wide + p.f],
          x: v,
          w: kernel[n * wide + p.f],
        }));
        return {
          terms,
          bias: bias ? bias[p.f] : undefined,
          n: x.length + 2,
          go: (n) => place(source, n),
          of: "inputs",
          fold: true,
        };
      },
      average: (k, p) => {
        const source = stages[k].sources[0],
          window = grid(k, p, p.f),
          inside = window.flat().filter((cell) => cell.inside),
          wins = highest(inside);
        return {
          terms: inside.map((cell) => ({ label: `row ${cell.r}, column ${cell.c}`, value: cell.x / inside.length })),
          n: window.flat().length + 1,
          window,
          go: (n) => ({ k: source, f: p.f, r: inside[n].r, c: inside[n].c }),
          of: `parts of 1/${inside.length}`,
          lines: [`The average: ${averaged(inside).line}.`],
          otherwise: "largest",
          other: `The largest would have been ${whole(wins.x)}, at row ${wins.r}, column ${wins.c}: ${NOT}`,
        };
      },
      choice: (k, p) => {
        const window = grid(k, p, p.f),
          inside = window.flat().filter((cell) => cell.inside),
          wins = highest(inside);
        return {
          window,
          wins,
          value: wins.x,
          go: () => ({ k: stages[k].sources[0], f: p.f, r: wins.r, c: wins.c }),
          lines: [
            `The largest of ${inside.length} is ${whole(wins.x)}, at row ${wins.r}, column ${wins.c} of channel ${p.f}.`,
          ],
          otherwise: "average",
          other: `The average would have been ${averaged(inside).line}: ${NOT}`,
        };
      },
      add: (k, p) => ({
        n: 1,
        of: "paths",
        go: (n) => ({ ...p, k: stages[k].sources[n] }),
        terms: stages[k].sources.map((source) => ({ label: stages[source].name, value: outs(source)[at(k, p)] })),
      }),
      // A joined channel is one of what a chain made.
      concat: (k, p) => {
        let f = p.f,
          n = 0;
        while (f >= shapes[stages[k].sources[n]][2]) f -= shapes[stages[k].sources[n++]][2];
        const from = { ...p, k: stages[k].sources[n], f };
        return {
          value: outs(from.k)[at(from.k, from)],
          from,
          go: () => from,
          lines: [`Channel ${p.f} is channel ${f} of ${stages[from.k].name}.`],
        };
      },
      multiply: (k, p) => {
        const stage = stages[k],
          numbers = stage.sources.map((source) => outs(source)[factorAt(stage, outs(source), at(k, p))]);
        return {
          value: numbers.reduce((product, v) => product * v, 1),
          near: true,
          go: () => ({ ...p, k: stage.sources[0] }),
          lines: [`${numbers.map(whole).join(" × ")} = ${whole(outs(k)[at(k, p)])}`],
        };
      },
      affine: (k, p) => {
        const stage = stages[k],
          source = stage.sources[0],
          { mean, var: variance, scale, bias } = arrays[k];
        if (!scale) return { missing: true };
        const x = outs(source),
          layered = stage.op === "layer_norm",
          epsilon = layered ? stage.numbers.epsilon : stage.epsilon;
        const own = layered
          ? placeStatistics(x, scale.length, Math.floor(at(k, p) / scale.length))
          : stage.op === "group_norm"
            ? statistics(stage, x, Math.floor(p.f / (scale.length / stage.groups)))
            : { mean: mean[p.f], variance: variance[p.f], n: 0, level: 0 };
        const v = x[at(k, p)],
          factor = scale[p.f] / Math.sqrt(own.variance + Math.fround(epsilon)),
          value = (v - own.mean) * factor;
        const text = `(${whole(v)} - ${whole(own.mean)}) × ${whole(scale[p.f])} / sqrt(${whole(own.variance)} + ${whole(epsilon)})`;
        return {
          terms: [{ label: text, value, size: Math.abs(value) + Math.abs(own.level * factor) * 2 }],
          bias: bias[p.f],
          n: own.n + 8,
          go: () => ({ ...p, k: source }),
          of: "terms",
          whole: true,
        };
      },
      scale: (k, p) => {
        const source = stages[k].sources[0],
          { scale } = arrays[k],
          x = outs(source)[at(k, p)];
        if (!scale) return { missing: true };
        return {
          value: x * scale[p.f],
          near: true,
          go: () => ({ ...p, k: source }),
          lines: [`${whole(x)} × ${whole(scale[p.f])} = ${whole(outs(k)[at(k, p)])}`],
        };
      },
      local_response_norm: (k, p) => {
        const stage = stages[k],
          source = stage.sources[0],
          x = outs(source),
          v = x[at(k, p)],
          { k: begin, alpha, beta } = stage.numbers,
          { first, end, total, divisor } = neighbours(stage, x, at(k, p));
        return {
          value: v / divisor,
          near: true,
          go: () => ({ ...p, k: source }),
          lines: [
            `${whole(v)} / (${whole(begin)} + ${whole(alpha)} × ${short(total)}) ** ${whole(beta)} = ` +
              `${whole(outs(k)[at(k, p)])}; ${short(total)} is the sum of the squares of channels ${first} to ${end - 1} here.`,
          ],
        };
      },
      upsample: (k, p) => {
        const stage = stages[k],
          source = stage.sources[0],
          x = outs(source),
          parts = blend(stage, 0, p.r).flatMap(([r, down]) =>
            blend(stage, 1, p.c).map(([c, across]) => ({ k: source, f: p.f, r, c, w: down * across })),
          );
        if (stage.numbers.method === "nearest") {
          const [{ w, ...from }] = parts;
          return {
            value: w * x[at(source, from)],
            from,
            go: () => from,
            lines: [`Row ${p.r}, column ${p.c} repeats row ${from.r}, column ${from.c}.`],
          };
        }
        return {
          terms: parts.map(({ w, ...from }) => ({
            label: `row ${from.r}, column ${from.c} × ${short(w)}`,
            value: w * x[at(source, from)],
          })),
          n: 8,
          of: "neighbours",
          go: (n) => {
            const { w, ...from } = parts[n];
            return w ? from : p;
          },
        };
      },
      pointwise: (k, p) => {
        const stage = stages[k],
          x = outs(stage.sources[0])[at(k, p)],
          own = functionOf(stage),
          value = own(x),
          acts = stage.op === "dropout" || stage.op === "drop_path";
        const text =
          stage.op === "relu"
            ? `max(0, ${whole(x)})`
            : acts
              ? `${stage.op} acts in training only: ${whole(x)}`
              : stage.op === "leaky_relu" && x <= 0
                ? `${whole(stage.numbers.slope)} × ${whole(x)}`
                : stage.op === "elu" && x <= 0
                  ? `${whole(stage.numbers.alpha)} × (exp(${whole(x)}) - 1)`
                  : `${stage.op}(${whole(x)})`;
        return {
          value,
          curve: acts || stage.op === "identity" ? undefined : own,
          x,
          lines: [`${text} = ${whole(outs(k)[at(k, p)])}`],
          go: () => ({ ...p, k: stage.sources[0] }),
          near: !EXACT.has(stage.op),
        };
      },
      flatten: (k, p) => {
        const source = stages[k].sources[0],
          from = place(source, p.f),
          [height, width, channels] = shapes[source];
        return {
          value: outs(k)[p.f],
          from,
          go: () => from,
          lines: [
            `Number ${p.f} is row ${from.r}, column ${from.c}, channel ${from.f}: ` +
              `(${from.r} × ${width} + ${from.c}) × ${channels} + ${from.f} = ${p.f}, of ${height} × ${width} × ${channels}.`,
          ],
        };
      },
      softmax: (k, p) => {
        const source = stages[k].sources[0],
          z = outs(source),
          largest = z.reduce((a, b) => Math.max(a, b), -Infinity);
        const powers = Array.from(z, (v) => Math.exp(v - largest)),
          sum = powers.reduce((a, b) => a + b, 0);
        return {
          value: powers[p.f] / sum,
          near: true,
          go: () => ({ ...p, k: source }),
          bars: powers.map((power, n) => ({ label: label(n), value: power / sum })),
          lines: [
            `exp(${whole(z[p.f])}) / the sum of exp over all ${z.length} = ${whole(powers[p.f] / sum)}: all of them add up to 1.`,
          ],
        };
      },
      input: (k, p) => ({
        value: outs(0)[at(0, p)],
        lines: [
          `Intensity ${photographs()[journey.image().number][at(0, p)]} of 255; ` +
            `the network reads ${whole(outs(0)[at(0, p)])}.`,
        ],
      }),
      opaque: (k, p) => {
        const source = stages[k].sources[0],
          [height, width, channels] = shapes[source],
          [down, right] = shapes[k];
        // What it reads is not known: about as far down and to the right.
        const from = {
          k: source,
          f: Math.min(p.f, channels - 1),
          r: Math.floor((p.r * height) / down),
          c: Math.floor((p.c * width) / right),
        };
        return {
          unchecked: true,
          value: outs(k)[at(k, p)],
          go: () => from,
          lines: ["The report knows no arithmetic for this kind of layer."],
        };
      },
    };
    const RECIPE = {
      avg_pool: "average",
      global_avg_pool: "average",
      max_pool: "choice",
      global_max_pool: "choice",
      batch_norm: "affine",
      group_norm: "affine",
      layer_norm: "affine",
    };
    const recipe = (stage) =>
      (isKnown(stage) && RECIPES[RECIPE[stage.op] || (functionOf(stage) ? "pointwise" : stage.op)]) || RECIPES.opaque;
    const input = (source, n) => {
      const from = stages[source].op === "flatten" ? place(stages[source].sources[0], n) : undefined;
      return from ? `row ${from.r}, column ${from.c}, channel ${from.f}` : `${stages[source].name} ${n}`;
    };
    const takeApart = (k, p) => {
      const parts = recipe(stages[k])(k, p),
        found = outs(k)[at(k, p)];
      if (parts.missing)
        return { ...parts, found, lines: ["The arithmetic of this number is not embedded, to keep the report small."] };
      if (!parts.terms) {
        const allowed = parts.near ? 1e-5 * Math.abs(parts.value) + 2 ** -126 : 0;
        return { ...parts, found, allowed: allowed + journey.image().rough[k] * Math.abs(found) };
      }
      const sum = parts.terms.reduce((total, term) => total + term.value, 0) + (parts.bias || 0);
      const size = parts.terms.reduce(
        (total, term) => total + (term.size === undefined ? Math.abs(term.value) : term.size),
        0,
      );
      const rough = journey.image().rough[k] * Math.abs(found) + given(journey.image(), k).rough * size;
      return { ...parts, found, value: sum, allowed: bound(parts.n, size + Math.abs(parts.bias || 0)) + rough };
    };
    // The largest terms, in order, and what the others add up to.
    const largest = (terms, most = LISTED) => {
      const top = [];
      terms.forEach((term, n) => {
        const size = Math.abs(term.value);
        if (top.length === most && size <= Math.abs(terms[top[most - 1]].value)) return;
        let i = top.length;
        while (i && Math.abs(terms[top[i - 1]].value) < size) i--;
        top.splice(i, 0, n);
        if (top.length > most) top.pop();
      });
      const rest = terms.length - top.length,
        listed = new Set(top);
      return { top, rest, other: rest ? terms.reduce((sum, term, n) => (listed.has(n) ? sum : sum + term.value), 0) : 0 };
    };
    // Why class a and not b: the difference of two logits as a sum over what the last dense layer reads.
    const versus = (a, b) => {
      const k = logitsAt;
      if (stages[k].op !== "dense" || !arrays[k].kernel) return undefined;
      const [one, two] = [a, b].map((f) => takeApart(k, { f, r: 0, c: 0 }));
      const terms = one.terms.map((term, n) => ({ label: term.label, value: term.value - two.terms[n].value }));
      const bias = one.bias === undefined ? undefined : one.bias - two.bias;
      return {
        terms,
        bias,
        value: terms.reduce((sum, term) => sum + term.value, 0) + (bias || 0),
        go: one.go,
        of: "inputs",
        found: one.found - two.found,
        allowed: one.allowed + two.allowed,
      };
    };
    return { largest, takeApart, versus };
  })(),
);
