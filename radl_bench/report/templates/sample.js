"use strict";
/* One sample: its pictures side by side, and every row of every method with its reason. */

RADL.sample = (() => {
  const { el, address, go, verdict } = RADL;
  const WHOLE = -1;

  function sample(dialog, view) {
    const { section, row } = view;
    const [index, k] = section.rows[row];
    const asked = section.samples[index];
    const facts = [asked.id, RADL.many(asked.instances.length, "object"), `image ${k + 1}`, ...asked.relations.map((r) => `relation: ${r}`)];
    const focused = dialog.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    dialog.replaceChildren(
      bar(dialog, view),
      el("h2", { id: "sample-title" }, asked.prompt),
      el("p", { class: "facts" }, facts.join(" · "), seeds(view)),
      el("div", { class: "pictures" }, view.runs.map((run) => figure(view, run))),
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Rows" }, table(dialog, view)),
    );
    dialog.scrollTop = 0;
    if (focused) dialog.querySelector(`[data-key="${focused}"]`)?.focus(); // where the hand was, before it was drawn anew
  }

  function bar(dialog, { section, order, row, layout, found }) {
    const at = order.indexOf(row);
    const step = (to, text, key) => {
      const there = at >= 0 && to >= 0 && to < order.length;
      const [index, k] = there ? section.rows[order[to]] : [0, 0];
      return el("button", { type: "button", class: "button quiet", disabled: !there, "data-key": key, on: {
        click: () => go({ s: section.samples[index].id, k }),
      } }, text);
    };
    const toggle = (name, text, on) =>
      el("button", { type: "button", class: "button quiet", "aria-pressed": String(on), "data-key": name, on: {
        click: () => go({ [name]: on ? null : 1 }),
      } }, text);
    return el("div", { class: "bar" },
      step(at - 1, "← Previous", "arrowleft"), step(at + 1, "Next →", "arrowright"),
      el("span", { class: "facts" }, at >= 0 ? `${at + 1} of ${order.length.toLocaleString("en")}` : "outside the filters"),
      toggle("layout", "Layout", layout), toggle("found", "Detections", found),
      el("button", { type: "button", class: "button", "data-key": "close", autofocus: true, on: { click: () => dialog.close() } }, "Close"));
  }

  function seeds({ section, runs, details }) {
    const known = new Set(runs.map((run) => details[run].seed).filter((seed) => seed !== null));
    if (!known.size) return " · seed unknown";
    return known.size === 1 ? ` · seed ${[...known][0]}` : " · the seeds differ, see below";
  }

  function figure({ section, runs, row, details, layout, found }, run) {
    const { seed, file, problem, found: seen } = details[run];
    const { kind, text } = verdict(section, run, row);
    const drawing = (layout || found) && RADL.overlay(section, run, row, { layout, found: found ? seen : null, big: true });
    const unseen = found && !problem && !seen ? "The detections are not at hand. " : "";
    return el("figure", { class: `shot ${kind}` },
      RADL.frame(section, run, row, { alt: `Image of ${section.runs[run].label}`, drawing, lazy: false, problem }),
      el("figcaption", {},
        el("strong", {}, section.runs[run].label), " ", el("span", { class: "verdict" }, text),
        el("span", { class: "facts" }, unseen, file ?? problem ?? "", seed === null ? "" : ` · seed ${seed}`)));
  }

  function table(dialog, view) {
    const { section, runs, details, row } = view;
    const asked = section.samples[section.rows[row][0]];
    const names = [WHOLE, ...asked.instances.keys()];
    const bodies = names.map((instance) => group(dialog, view, asked, instance)).filter(Boolean);
    const head = el("tr", {}, el("th", { scope: "col" }, "Score"), runs.map((run) => el("th", { scope: "col" }, section.runs[run].label)));
    if (!bodies.length) return el("p", { class: "note" }, details[runs[0]].problem ?? "Nothing was measured here.");
    return el("table", { class: "rows" }, el("thead", {}, head), bodies);
  }

  /* The rows of one object, or of the whole picture, a line a metric. */
  function group(dialog, { section, runs, details }, asked, instance) {
    const of = runs.map((run) => details[run].rows.filter((item) => item[0] === instance));
    const metrics = [...new Set(of.flat().map((item) => item[1]))].sort((a, b) => a - b);
    if (!metrics.length) return null;
    const lit = (on) => () => dialog.querySelectorAll(`.overlay [data-i="${instance}"]`).forEach((g) => g.classList.toggle("lit", on));
    const body = el("tbody", { on: { mouseenter: lit(true), mouseleave: lit(false) } },
      el("tr", {}, el("th", { scope: "rowgroup", colspan: runs.length + 1 }, title(section, asked, instance))));
    for (const metric of metrics) {
      const cells = of.map((rows) => el("td", {}, rows.filter((item) => item[1] === metric).map((item) => cell(item))));
      body.append(el("tr", {}, el("th", { scope: "row" }, section.metrics[metric][1]), cells));
    }
    return body;
  }

  function title(section, asked, instance) {
    if (instance === WHOLE) return "Whole image";
    const [phrase, category, color] = asked.instances[instance];
    const swatch = color >= 0 ? el("span", { class: `swatch ${section.colors[color]}`, "aria-hidden": "true" }) : null;
    return [`${instance + 1} `, swatch, ` ${phrase}`, el("span", { class: "facts" }, ` class ${section.categories[category]}`)];
  }

  function cell([, , value, reason]) {
    const kind = value === 100 ? "right" : value === 0 || value === null ? "wrong" : "";
    const text = value === null ? "–" : RADL.fixed(value);
    return el("p", { class: kind }, el("span", { class: "value" }, text), " ", el("span", { class: "reason" }, reason));
  }

  return sample;
})();
