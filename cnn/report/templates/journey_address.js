"use strict";
// What is looked at, in the address: `#j=img:3;layer:conv2;f:17;r:4;c:6;pin`.
Object.assign(
  explorer,
  (() => {
    const { images, stages } = journey;
    const { s } = explorer;
    const note = () =>
      page.setState("j", `img:${s.i};layer:${stages[s.k].name};f:${s.f};r:${s.r};c:${s.c}${s.pin ? ";pin" : ""}`);
    const restore = async () => {
      const text = page.state("j");
      if (!text || text === true) return false;
      const entries = new Map(
        text.split(";").map((entry) => {
          const [key, ...rest] = entry.split(":");
          return [key, rest.join(":")];
        }),
      );
      const number = (key) => (Number.isInteger(Number(entries.get(key))) ? Number(entries.get(key)) : 0);
      const k = stages.findIndex((stage) => stage.name === entries.get("layer"));
      await explorer.select(Math.max(0, Math.min(images.length - 1, number("img"))), false);
      s.pin = entries.has("pin");
      explorer.go({ k: k < 0 ? 1 : k, f: number("f"), r: number("r"), c: number("c") });
      explorer.reveal();
      return true;
    };
    addEventListener("hashchange", restore);
    return { note, restore };
  })(),
);
