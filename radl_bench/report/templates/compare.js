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
    const metric = data.metrics.find(([name]) => name === params.get("metric")) ?? data.metrics[0];
    reflect(params, a, b, metric);
    document.getElementById("versus").textContent = `${section.runs[a].label} − ${section.runs[b].label}`;
    table(pair(a, b), metric, [a, b]);
    changed(a, b, metric, params.has("layout"));
  }

  function reflect(params, a, b, metric) {
    const runs = section.runs.map((run, i) => [i, `${run.label} (${run.model})`]);
    RADL.options(form.elements.a, runs, a);
    RADL.options(form.elements.b, runs.filter(([i]) => i !== a), b);
    RADL.options(form.elements.metric, data.metrics.map(([name, head]) => [name, head]), metric[0]);
    form.elements.layout.checked = params.has("layout");
  }

  /* Lines by metric: [level or null, a, b, a - b, low, high, p, n]; a pair is kept once and turned round at need. */
  function pair(a, b) {
    const same = data.pairs.find((one) => one.a === a && one.b === b);
    if (same) return same;
    const other = data.pairs.find((one) => one.a === b && one.b === a);
    if (!other) return { scores: {}, notes: [], problem: data.unpaired };
    const minus = (value) => (value === null ? null : -value);
    const turned = ([level, x, y, d, low, high, p, n]) => [level, y, x, minus(d), minus(high), minus(low), p, n];
    return { ...other, scores: Object.fromEntries(Object.entries(other.scores).map(([m, lines]) => [m, lines.map(turned)])) };
  }

  function table({ scores, problem, notes }, chosen, runs) {
    const shown = data.metrics.filter(([name]) => scores[name]);
    const levels = (scores[chosen[0]] ?? []).filter(([level]) => level !== null);
    const overall = shown.map((metric) => [metric, scores[metric[0]].find(([level]) => level === null)]).filter(([, line]) => line);
    const columns = ["Score", ...runs.map((run) => section.runs[run].label), "Difference", "95 % interval", "p", "Samples", "Drawn"];
    const head = el("thead", {}, el("tr", {}, columns.map((text, i) =>
      el("th", { scope: "col", class: i > 0 && i < 7 ? "number" : null }, text))));
    const reach = (metric) => furthest(metric, [...overall, ...levels.map((line) => [chosen, line])]);
    const body = el("tbody", {}, overall.map(([metric, numbers]) => line(metric[1], metric, numbers, reach(metric), metric === chosen)));
    const more = levels.length ? el("tbody", {}, el("tr", {}, el("th", { scope: "rowgroup", colspan: 8 }, `${chosen[1]} by number of objects`)),
      levels.map((numbers) => line(RADL.many(numbers[0], "object"), chosen, numbers, reach(chosen), false))) : null;
    document.getElementById("differences").replaceChildren(...[head, body, more].filter(Boolean));
    document.getElementById("notes").textContent = [problem, ...notes].filter(Boolean).join(" ");
  }

  /* Half the width of a plot: one scale for all per cents and cosines, and its own for FID and KID. */
  function furthest(metric, lines) {
    const like = lines.filter(([one]) => (metric[3] < 0 ? one === metric : one[3] > 0));
    return Math.max(...like.flatMap(([, line]) => line.slice(3, 6)).filter((v) => v !== null).map(Math.abs), 10 ** -metric[2]);
  }

  /* As many decimals as in the tables. */
  const plain = (value, digits) => (value === null ? "–" : digits === 1 ? RADL.fixed(value) : value.toFixed(digits));
  const signed = (value, digits = 1) =>
    (value === null ? "–" : `${value > 0 ? "+" : value < 0 ? "−" : ""}${plain(Math.abs(value), digits)}`);

  function line(name, [, , digits, sign], [, a, b, d, low, high, p, n], reach, chosen) {
    const numbers = [plain(a, digits), plain(b, digits), signed(d, digits), low === null ? "–" : `${signed(low, digits)}, ${signed(high, digits)}`,
      p === null ? "–" : p < 0.001 ? "< .001" : p.toFixed(3).replace(/^0/, ""), n === null ? "–" : n.toLocaleString("en")];
    const told = p !== null && p < data.alpha;
    const ends = low === null ? [null, null] : [sign * low, sign * high];
    return el("tr", { class: chosen ? "chosen" : null }, el("th", { scope: "row" }, name),
      numbers.map((text, i) => el("td", { class: told && i === 2 ? "number best" : "number" }, el("span", {}, text))),
      el("td", { class: "plot" }, plot(d === null ? null : sign * d, ends, reach, told)));
  }

  function plot(value, [low, high], reach, told) {
    const x = (v) => 150 + (140 * v) / reach;
    const drawing = svg("svg", { viewBox: "0 0 300 24", class: "forest", "aria-hidden": "true" },
      svg("line", { x1: 150, x2: 150, y1: 0, y2: 24, class: "zero" }));
    if (low !== null) drawing.append(svg("line", { x1: x(low), x2: x(high), y1: 12, y2: 12, class: "span" }));
    if (value !== null) drawing.append(svg("circle", { cx: x(value), cy: 12, r: 5, class: told ? "clear" : "unclear" }));
    return drawing;
  }

  function changed(a, b, metric, layout) {
    const [, head, , , at] = metric;
    const [one, other] = at === null ? [[], []] : [data.means[a][at], data.means[b][at]];
    const both = section.samples.map((_, i) => i).filter((i) => (one[i] ?? null) !== null && (other[i] ?? null) !== null);
    const moved = both.map((i) => [i, one[i] - other[i]]).filter(([, d]) => Math.abs(d) > 1e-9);
    moved.sort((x, y) => Math.abs(y[1]) - Math.abs(x[1]) || x[0] - y[0]);
    const better = moved.filter(([, d]) => d > 0).length;
    document.getElementById("changed-note").textContent = at === null ? `${head} is no mean over images: it does not say which of them changed.` :
      `${head}: ${section.runs[a].label} is better on ${better}, ${section.runs[b].label} on ${moved.length - better}, ` +
      `equal on ${both.length - moved.length} of ${both.length.toLocaleString("en")} samples.`;
    const cards = moved.slice(0, count).map(([index, d]) => card(index, d, [a, b], [one[index], other[index]], layout));
    document.getElementById("changed").replaceChildren(...cards);
    document.getElementById("more").hidden = moved.length <= count;
  }

  function card(index, difference, runs, values, layout) {
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
