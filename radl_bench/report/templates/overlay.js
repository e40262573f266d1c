"use strict";
/* Pictures with what was asked for and what was seen drawn over them as SVG. */

RADL.overlay = (() => {
  const { svg } = RADL;

  function box([x0, y0, x1, y1], kind, [width, height]) {
    const place = { x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height };
    // a dark line under the coloured one, so that it shows on any picture
    return [svg("rect", { ...place, class: "under" }), svg("rect", { ...place, class: kind })];
  }

  /* The name of a box, at its left end, or at its right end where it would leave the picture. */
  function label(text, [x0, , x1], y, [width], big) {
    const end = x0 > 0.62;
    const x = end ? x1 * width - 10 : x0 * width + 10;
    return svg("text", { x, y, "font-size": big ? 34 : 80, class: "label", "text-anchor": end ? "end" : "start" }, text);
  }

  function layoutBox(instance, index, mark, size, big) {
    const at = instance.slice(3).map((v) => v / 1000);
    const kind = { 1: "right", 0: "wrong" }[mark] ?? "unknown";
    const text = big ? `${index + 1} ${instance[0]}` : String(index + 1);
    const low = at[1] * size[1] + (big ? 36 : 80);
    return svg("g", { class: `layout ${kind}`, "data-i": index },
      box(at, "stroke", size), label(text, at, Math.min(low, size[1] - 10), size, big));
  }

  function foundBox(found, section, size, big) {
    const [category, x0, y0, x1, y1, score, instance] = found;
    const name = instance >= 0 ? String(instance + 1) : "–";
    const text = big ? `${name} ${section.categories[category]} ${score.toFixed(2)}` : name;
    const low = Math.min(y1 * size[1] - 10, size[1] - 10);
    return svg("g", { class: `found ${instance >= 0 ? "matched" : "stray"}`, "data-i": instance },
      box([x0, y0, x1, y1], "stroke", size), label(text, [x0, y0, x1, y1], low, size, big));
  }

  /* Return the drawing for one picture; `found` are detections of its block, or null. */
  function overlay(section, run, row, { layout, found, big }) {
    const sample = section.samples[section.rows[row][0]];
    const [w, h] = section.runs[run].size;
    const size = [(1000 * w) / Math.max(w, h), (1000 * h) / Math.max(w, h)];
    const marks = section.runs[run].objects[row];
    const drawing = svg("svg", { class: "overlay", viewBox: `0 0 ${size[0]} ${size[1]}`, "aria-hidden": "true" });
    if (found) drawing.append(...found.map((item) => foundBox(item, section, size, big)));
    if (layout) drawing.append(...sample.instances.map((item, i) => layoutBox(item, i, marks[i], size, big)));
    return drawing;
  }

  return overlay;
})();

/* A picture in its frame, or the reason why there is none. */
RADL.frame = (section, run, row, { alt, drawing, lazy = true, problem }) => {
  const { el, picture } = RADL;
  const [width, height] = section.runs[run].size;
  const source = picture(section, run, row);
  const image = source
    ? el("img", { src: source, width, height, alt, loading: lazy ? "lazy" : null, decoding: "async" })
    : el("span", { class: "nothing" }, problem ?? "no image");
  const frame = el("span", { class: "frame" }, image, source ? drawing : null);
  frame.style.setProperty("--ratio", `${width} / ${height}`);
  return frame;
};
