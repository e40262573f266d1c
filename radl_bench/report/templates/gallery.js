"use strict";
/* The gallery page: the address says what is shown, the controls change the address. */

(() => {
  const { el, state, go, number } = RADL;
  const form = document.getElementById("filters");
  const dialog = document.getElementById("sample");
  const grid = document.getElementById("grid");
  let section = null, loaded = null, kept = [], runs = [], drawn = null, places = new Map();

  async function show() {
    const params = state();
    const wanted = Math.min(number(params, "g"), form.elements.g.options.length - 1);
    if (wanted !== loaded) {
      section = await RADL.load(String(wanted));
      loaded = wanted;
      drawn = null;
      places = new Map(section.rows.map(([index, k], row) => [`${section.samples[index].id} ${k}`, row]));
      controls(params);
    }
    runs = RADL.shownRuns(section, params);
    reflect(params);
    const key = new URLSearchParams(params);
    for (const name of ["s", "k"]) key.delete(name);
    if (String(key) !== drawn) {
      drawn = String(key);
      kept = RADL.grid.select(section, params, runs);
      await page(params);
    }
    sample(params);
  }

  function controls(params) {
    const levels = [...new Set(section.samples.map((s) => s.instances.length))].sort((a, b) => a - b);
    const used = new Set(section.samples.flatMap((s) => s.instances.map((i) => i[2])));
    const colors = section.colors.map((name, i) => [i, name]).filter(([i]) => used.has(i));
    RADL.options(form.elements.level, [["", "all"], ...levels.map((n) => [n, RADL.many(n, "object")])]);
    RADL.options(form.elements.c, [["", "all"], ...colors]);
    RADL.options(form.elements.t, [["", "all"], ...section.categories.map((name, i) => [i, name])]);
    const chips = section.runs.map((run, i) =>
      el("label", {}, el("input", { type: "checkbox", name: "m", value: i }), el("span", {}, run.label)));
    document.getElementById("methods").replaceChildren(el("legend", {}, "Methods"), ...chips);
  }

  /* Set every control to what the address says. */
  function reflect(params) {
    form.elements.g.value = String(loaded);
    for (const name of ["level", "o", "c", "t"]) form.elements[name].value = params.get(name) ?? "";
    if (document.activeElement !== form.elements.q) form.elements.q.value = params.get("q") ?? "";
    for (const name of ["layout", "found"]) form.elements[name].checked = params.has(name);
    for (const box of form.querySelectorAll("[name=m]")) box.checked = runs.includes(Number(box.value));
    document.getElementById("key").hidden = !params.has("layout") && !params.has("found");
  }

  async function page(params) {
    const pages = Math.max(1, Math.ceil(kept.length / RADL.grid.PAGE));
    const at = Math.min(number(params, "p"), pages - 1);
    const rows = kept.slice(at * RADL.grid.PAGE, (at + 1) * RADL.grid.PAGE).map((item) => item.row);
    const key = drawn;
    const details = params.has("found") ? await blocks(rows) : null;
    if (key !== drawn) return; // while the blocks came, something else was asked for
    const drawings = (run, row) => (params.has("layout") || details) &&
      RADL.overlay(section, run, row, { layout: params.has("layout"), found: details && details.get(row)[run].found });
    grid.style.setProperty("--methods", runs.length);
    grid.replaceChildren(RADL.grid.heads(section, runs, kept), ...rows.map((row) => RADL.grid.line(section, runs, row, drawings)));
    if (!rows.length) grid.append(el("p", { class: "note" }, "No image is left. Take a filter away, or reset them all."));
    const all = section.rows.length.toLocaleString("en");
    document.getElementById("count").textContent = `${kept.length.toLocaleString("en")} of ${all} rows, ${RADL.many(runs.length, "method")} side by side`;
    for (const id of ["pager", "pager-below"]) RADL.grid.pager(document.getElementById(id), at, pages);
  }

  /* Return a map from line to its details, one for each run. */
  async function blocks(rows) {
    const numbers = [...new Set(rows.map((row) => Math.floor(row / section.block)))];
    const read = new Map(await Promise.all(numbers.map(async (n) => [n, await RADL.load(`${loaded}-${n}`)])));
    return new Map(rows.map((row) => [row, read.get(Math.floor(row / section.block))[row % section.block]]));
  }

  async function sample(params) {
    const row = places.get(`${params.get("s")} ${number(params, "k")}`);
    if (row === undefined) {
      if (dialog.open) dialog.close();
      return;
    }
    const details = (await blocks([row])).get(row);
    const order = kept.map((item) => item.row);
    RADL.sample(dialog, { section, runs, row, details, order, layout: params.has("layout"), found: params.has("found") });
    if (!dialog.open) dialog.showModal();
  }

  function methods(box) {
    const chosen = [...form.querySelectorAll("[name=m]:checked")].map((one) => one.value);
    if (!chosen.length) box.checked = true; // one method at least
    else go({ m: chosen.length === section.runs.length ? null : chosen.join(","), p: null });
  }

  form.addEventListener("input", ({ target }) => {
    if (target.name === "m") methods(target);
    else if (target.name === "g") location.replace(`#g=${target.value}`);
    else if (target.type === "checkbox") go({ [target.name]: target.checked ? 1 : null });
    else go({ [target.name]: target.value, p: null });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("reset").addEventListener("click", () => location.replace(`#g=${loaded ?? 0}`));
  dialog.addEventListener("close", () => state().has("s") && go({ s: null, k: null }));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], select, textarea")) return;
    const key = event.key.toLowerCase();
    if (key === "l") go({ layout: state().has("layout") ? null : 1 });
    else if (key === "d") go({ found: state().has("found") ? null : 1 });
    else if (key === "/" && !dialog.open) { event.preventDefault(); form.elements.q.focus(); }
    else if (dialog.open && (key === "arrowleft" || key === "arrowright")) dialog.querySelector(`[data-key=${key}]`)?.click();
    else if (event.shiftKey && key.startsWith("arrow")) {
      const buttons = document.querySelectorAll("#pager button");
      if (buttons.length) buttons[key === "arrowleft" ? 0 : 1].click();
    }
  });
  window.addEventListener("hashchange", () => show().catch(RADL.fail));
  show().catch(RADL.fail);
})();
