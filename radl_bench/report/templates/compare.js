"use strict";
/* The compare page: paired differences with intervals, and the samples that changed most. */

(() => {
  const { el, svg, state, go, number } = RADL;
  const STEP = 12;
  const form = document.getElementById("filters");
  let section = null, data = null, loaded = null, count = STEP;

  async function show() {
    const params = state();
    const numbers = [...form.elements.g.options].map((option) => Number(option.value));
    const wanted = numbers.includes(number(params, "g")) ? number(params, "g") : numbers[0];
    if (wanted !== loaded) {
      [section, data] = await Promise.all([RADL.load(String(wanted)), RADL.load(`${wanted}-compare`)]);
      loaded = wanted;
      form.elements.g.value = String(wanted);
    }
    const last = section.runs.length - 1;
    const a = Math.min(number(params, "a", last), last);
    let b = Math.min(number(params, "b", a === 0 ? 1 : a - 1), last);
    if (a === b) b = a === 0 ? 1 : a - 1;
    const metric = data.metrics.includes(params.get("metric")) ? params.get("metric") : data.metrics[0];
    reflect(params, a, b, metric);
    const pair = differences(a, b);
    document.getElementById("versus").textContent = `${section.runs[a].label} − ${section.runs[b].label}`;
    table(pair, metric);
    changed(a, b, metric, params.has("layout"));
  }

  function reflect(params, a, b, metric) {
    const runs = section.runs.map((run, i) => [i, `${run.label} (${run.model})`]);
    const heads = new Map(section.metrics);
    RADL.options(form.elements.a, runs, a);
    RADL.options(form.elements.b, runs.filter(([i]) => i !== a), b);
    RADL.options(form.elements.metric, data.metrics.map((name) => [name, heads.get(name)]), metric);
    form.elements.layout.checked = params.has("layout");
  }

  /* Differences by metric: lists of [level or null, a - b, low, high, p, n]. */
  function differences(a, b) {
    const same = data.pairs.find((pair) => pair.a === a && pair.b === b);
    if (same) return same.scores;
    const other = data.pairs.find((pair) => pair.a === b && pair.b === a);
    const minus = (value) => (value === null ? null : -value);
    const turned = (list) => list.map(([level, d, low, high, p, n]) => [level, minus(d), minus(high), minus(low), p, n]);
    return Object.fromEntries(Object.entries(other.scores).map(([metric, list]) => [metric, turned(list)]));
  }

  function table(scores, metric) {
    const heads = new Map(section.metrics);
    const levels = scores[metric].slice(1);
    const lines = data.metrics.map((name) => [heads.get(name), scores[name][0], name === metric]);
    const every = [...lines.map(([, d]) => d), ...levels];
    const reach = Math.max(1, ...every.flatMap((d) => [d[1], d[2], d[3]]).filter((v) => v !== null).map(Math.abs));
    const columns = ["Score", "Difference", "95 % interval", "p", "Samples", ""];
    const head = el("thead", {}, el("tr", {}, columns.map((text, i) =>
      el("th", { scope: "col", class: i > 0 && i < 5 ? "number" : null }, text))));
    const body = el("tbody", {}, lines.map(([name, d, chosen]) => line(name, d, reach, chosen)));
    const more = levels.length ? el("tbody", {}, el("tr", {}, el("th", { scope: "rowgroup", colspan: 6 }, `${heads.get(metric)} by number of objects`)),
      levels.map((d) => line(RADL.many(d[0], "object"), d, reach, false))) : null;
    document.getElementById("differences").replaceChildren(...[head, body, more].filter(Boolean));
  }

  const signed = (value) => (value === null ? "–" : `${value > 0 ? "+" : value < 0 ? "−" : ""}${RADL.fixed(Math.abs(value))}`);

  function line(name, [, value, low, high, p, n], reach, chosen) {
    const numbers = [signed(value), low === null ? "–" : `${signed(low)}, ${signed(high)}`,
      p === null ? "–" : p < 0.001 ? "< .001" : p.toFixed(3).replace(/^0/, ""), n.toLocaleString("en")];
    return el("tr", { class: chosen ? "chosen" : null }, el("th", { scope: "row" }, name),
      numbers.map((text) => el("td", { class: "number" }, text)), el("td", { class: "plot" }, plot(value, low, high, reach)));
  }

  function plot(value, low, high, reach) {
    const x = (v) => 150 + (140 * v) / reach;
    const drawing = svg("svg", { viewBox: "0 0 300 24", class: "forest", "aria-hidden": "true" },
      svg("line", { x1: 150, x2: 150, y1: 0, y2: 24, class: "zero" }));
    if (low !== null) drawing.append(svg("line", { x1: x(low), x2: x(high), y1: 12, y2: 12, class: "span" }));
    const clear = low !== null && (low > 0 || high < 0);
    if (value !== null) drawing.append(svg("circle", { cx: x(value), cy: 12, r: 5, class: clear ? "clear" : "unclear" }));
    return drawing;
  }

  function changed(a, b, metric, layout) {
    const at = data.metrics.indexOf(metric);
    const [one, other] = [data.means[a][at], data.means[b][at]];
    const both = section.samples.map((_, i) => i).filter((i) => one[i] !== null && other[i] !== null);
    const moved = both.map((i) => [i, one[i] - other[i]]).filter(([, d]) => Math.abs(d) > 1e-9);
    moved.sort((x, y) => Math.abs(y[1]) - Math.abs(x[1]) || x[0] - y[0]);
    const better = moved.filter(([, d]) => d > 0).length;
    const head = new Map(section.metrics).get(metric);
    document.getElementById("changed-note").textContent =
      `${head}: ${section.runs[a].label} is better on ${better}, ${section.runs[b].label} on ${moved.length - better}, ` +
      `equal on ${both.length - moved.length} of ${both.length.toLocaleString("en")} samples.`;
    const cards = moved.slice(0, count).map(([index, d]) => card(index, d, [a, b], [one[index], other[index]], metric, layout));
    document.getElementById("changed").replaceChildren(...cards);
    document.getElementById("more").hidden = moved.length <= count;
  }

  function card(index, difference, runs, values, metric, layout) {
    const sample = section.samples[index];
    const row = telling(index, runs);
    const k = section.rows[row][1];
    const address = new URLSearchParams({ g: loaded, m: [...runs].sort((x, y) => x - y).join(","), s: sample.id, k, layout: 1, found: 1 });
    const shots = runs.map((run, i) => el("span", { class: `shot ${RADL.verdict(section, run, row).kind}` },
      RADL.frame(section, run, row, { alt: "", drawing: layout && RADL.overlay(section, run, row, { layout: true }) }),
      el("span", { class: "verdict" }, RADL.fixed(values[i])), el("span", { class: "by shown" }, section.runs[run].label)));
    const name = `${sample.prompt}: difference ${signed(difference)}`;
    return el("a", { class: "card", href: `gallery.html#${address}`, "aria-label": name },
      el("span", { class: "pair" }, shots), el("span", { class: "delta" }, signed(difference)), el("span", { class: "words" }, sample.prompt));
  }

  /* The line of the sample in which the two methods differ most; its first where they do not. */
  function telling(index, [a, b]) {
    const gap = (row) => Math.abs(RADL.right(section.runs[a].objects[row]) - RADL.right(section.runs[b].objects[row]));
    const rows = section.rows.map((_, row) => row).filter((row) => section.rows[row][0] === index);
    return rows.reduce((best, row) => (gap(row) > gap(best) ? row : best));
  }

  form.addEventListener("input", ({ target }) => {
    count = STEP;
    if (target.name === "g") location.replace(`#g=${target.value}`);
    else if (target.type === "checkbox") go({ [target.name]: target.checked ? 1 : null });
    else go({ [target.name]: target.value, g: loaded });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("swap").addEventListener("click", () => go({ a: form.elements.b.value, b: form.elements.a.value, g: loaded }));
  document.getElementById("more").addEventListener("click", () => { count += STEP; show().catch(RADL.fail); });
  document.addEventListener("keydown", (event) => {
    const typing = event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select");
    if (!typing && event.key.toLowerCase() === "l") go({ layout: state().has("layout") ? null : 1 });
  });
  window.addEventListener("hashchange", () => show().catch(RADL.fail));
  show().catch(RADL.fail);
})();
