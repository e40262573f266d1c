"use strict";
/* The leaderboard: sorted by any score, filtered, and held to a baseline; all of it in the address. */

(() => {
  const { el, state, go, number } = RADL;
  const form = document.getElementById("filters");
  const table = document.getElementById("board");
  let board = null, pairs = null, loaded = null, paired = null;

  async function show() {
    const params = state();
    const wanted = Math.min(number(params, "g"), form.elements.g.options.length - 1);
    if (wanted !== loaded) {
      board = await RADL.load(`${wanted}-board`);
      loaded = wanted;
      controls();
    }
    const level = board.lines.some((line) => line.cells[params.get("level") ?? ""]) ? params.get("level") ?? "" : "";
    const base = board.lines[number(params, "b", null)] ?? null;
    await compared(base);
    const found = board.scores.findIndex(([name]) => name === params.get("sort"));
    const by = found < 0 ? board.lead : found;
    reflect(params, level, base);
    draw(chosen(params), { level, base, by, up: params.has("up") });
  }

  /* The tests of pairs are read when a baseline asks for them; a report of one run has none. */
  async function compared(base) {
    if (!base || base.run === null || board.lines.length < 2 || paired === loaded) return;
    pairs = await RADL.load(`${loaded}-compare`).catch(() => null);
    paired = loaded;
  }

  function controls() {
    const levels = [...new Set(board.lines.flatMap((line) => Object.keys(line.cells)))].filter(Boolean).sort((a, b) => a - b);
    const models = [...new Set(board.lines.map((line) => line.model))].sort();
    RADL.options(form.elements.level, [["", "all"], ...levels.map((n) => [n, RADL.many(Number(n), "object")])]);
    RADL.options(form.elements.model, [["", "all"], ...models.map((name) => [name, name])]);
    RADL.options(form.elements.b, [["", "none"], ...board.lines.map((line, i) => [i, `${line.label} (${line.model})`])]);
  }

  function reflect(params, level, base) {
    form.elements.g.value = String(loaded);
    form.elements.level.value = level;
    form.elements.model.value = params.get("model") ?? "";
    form.elements.b.value = base ? String(board.lines.indexOf(base)) : "";
    form.elements.methods.checked = params.has("methods");
    if (document.activeElement !== form.elements.q) form.elements.q.value = params.get("q") ?? "";
  }

  function chosen(params) {
    const words = (params.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    return board.lines.filter((line) => {
      const text = `${line.label} ${line.model}`.toLowerCase();
      return words.every((word) => text.includes(word)) && (!params.get("model") || line.model === params.get("model")) &&
        !(params.has("methods") && line.reference);
    });
  }

  const cellOf = (line, view, at) => (line.cells[view.level] ?? [])[at] ?? null;

  function draw(lines, view) {
    const [, head, , sign] = board.scores[view.by];
    const value = (line) => cellOf(line, view, view.by)?.[0] ?? null;
    const direction = sign * (view.up ? 1 : -1);
    const order = [...lines].sort((x, y) => (value(x) === null) - (value(y) === null) || direction * (value(x) - value(y)) || 0);
    const focused = table.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const rest = order.filter((line) => line !== view.base);
    const pinned = view.base ? el("tbody", { class: "pinned" }, row(view.base, view)) : null;
    table.replaceChildren(...[heads(view), pinned, el("tbody", {}, rest.map((line) => row(line, view)))].filter(Boolean));
    if (focused) table.querySelector(`[data-key="${focused}"]`)?.focus(); // where the hand was, before it was drawn anew
    document.getElementById("count").textContent = `${lines.length.toLocaleString("en")} of ${RADL.many(board.lines.length, "run")}`;
    document.getElementById("sorted").textContent = `Sorted by ${head}, the ${view.up ? "worst" : "best"} first` +
      (view.base ? `; differences to ${view.base.label}.` : ". Press a head to sort by it; pin a method to compare the others with it.");
  }

  function heads(view) {
    const cells = board.scores.map(([name, head, , , meaning], at) => {
      const mine = at === view.by;
      const up = mine && !view.up;
      const press = () => go({ sort: name, up: up ? 1 : null, g: loaded });
      const arrow = mine ? (view.up ? " ▲" : " ▼") : "";
      return el("th", { scope: "col", class: "number", "aria-sort": mine ? (sorting(view) ? "ascending" : "descending") : null },
        el("button", { type: "button", title: meaning, "data-key": name, on: { click: press } }, head, el("span", { "aria-hidden": "true" }, arrow)));
    });
    return el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Method"), el("th", { scope: "col", class: "number" }, "Place"), cells));
  }

  /* Whether the values rise from top to bottom. */
  const sorting = (view) => (board.scores[view.by][3] > 0) === view.up;

  function row(line, view) {
    const at = board.lines.indexOf(line);
    const pinned = line === view.base;
    const pin = el("button", { type: "button", class: "pin", "data-key": `pin ${at}`, "aria-pressed": String(pinned), "aria-label": `Baseline: ${line.label}`,
      title: pinned ? "Take the baseline away" : "Compare the others with this one", on: { click: () => go({ b: pinned ? null : at, g: loaded }) } }, pinned ? "pinned" : "pin");
    const group = cellOf(line, view, view.by)?.[3] ?? null;
    const status = line.status === "complete" ? null : el("span", { class: "facts" }, ` ${line.status}`);
    return el("tr", { class: line.reference ? "reference" : null },
      el("th", { scope: "row" }, line.label, " ", el("span", { class: "model" }, line.model), status, " ", pin),
      el("td", { class: "number" }, group === null ? "–" : String(group)),
      board.scores.map((score, place) => cell(line, view, place)));
  }

  function cell(line, view, at) {
    const found = cellOf(line, view, at);
    const mine = at === view.by ? " sorted" : "";
    if (!found) return el("td", { class: `number${mine}` }, "–");
    const [, text, interval, group, best] = found;
    const tie = group === 1 && !best ? el("span", { class: "tie", title: "in a tie with the best" }, " =") : null;
    const inner = line.run === null ? text : el("a", { href: address(line, view) }, text);
    return el("td", { class: `number${best ? " best" : ""}${mine}` }, inner, tie,
      el("span", { class: "interval" }, interval), view.base && line !== view.base ? difference(line, view, at) : null);
  }

  function address(line, view) {
    const query = new URLSearchParams({ g: loaded, m: line.run, ...(view.level ? { level: view.level } : {}), layout: 1, found: 1 });
    return `gallery.html#${query}`;
  }

  /* The difference to the baseline: that of the paired test where there is one, else of the two numbers. */
  function difference(line, view, at) {
    const [name, , digits, sign] = board.scores[at];
    const other = cellOf(view.base, view, at);
    if (!other) return null;
    const tested = test(line.run, view.base.run, name, view.level);
    const gap = tested?.gap ?? cellOf(line, view, at)[0] - other[0];
    const told = tested && tested.p !== null ? tested.p < pairs.alpha : null;
    const kind = told ? (sign * gap > 0 ? "better" : "worse") : "open";
    const text = `${gap > 0 ? "+" : gap < 0 ? "−" : ""}${digits === 1 ? RADL.fixed(Math.abs(gap)) : Math.abs(gap).toFixed(digits)}`;
    const mark = told === null ? "" : told ? " ●" : " ○";
    const title = told === null ? "not tested here" : `p ${tested.p < 0.001 ? "< .001" : tested.p.toFixed(3)}${tested.low === null ? "" : `, 95 % interval ${tested.low.toFixed(digits)} to ${tested.high.toFixed(digits)}`}`;
    return el("span", { class: `gap ${kind}`, title }, text + mark);
  }

  function test(a, b, name, level) {
    if (!pairs || a === null || b === null) return null;
    const pair = pairs.pairs.find((one) => (one.a === a && one.b === b) || (one.a === b && one.b === a));
    const line = pair?.scores[name]?.find(([of]) => String(of ?? "") === level);
    if (!line || line[3] === null) return null;
    const [, , , gap, low, high, p] = line;
    return pair.a === a ? { gap, low, high, p } : { gap: -gap, low: high === null ? null : -high, high: low === null ? null : -low, p };
  }

  form.addEventListener("input", ({ target }) => {
    if (target.name === "g") location.replace(`#g=${target.value}`);
    else if (target.type === "checkbox") go({ [target.name]: target.checked ? 1 : null, g: loaded });
    else go({ [target.name]: target.value, g: loaded });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("reset").addEventListener("click", () => location.replace(`#g=${loaded ?? 0}`));
  window.addEventListener("hashchange", () => show().catch(RADL.fail));
  show().catch(RADL.fail);
})();
