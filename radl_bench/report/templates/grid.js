"use strict";
/* The grid of the gallery: which lines the filters leave, and how one page of them looks. */

RADL.grid = (() => {
  const { el, address, verdict, judged, right } = RADL;
  const PAGE = 24;

  /* Return the filters as a function of a line; it gives null, or the outcome ("1", "0", "-") of each shown run. */
  function filter(section, params, runs) {
    const level = RADL.number(params, "level", null);
    const color = params.has("c") ? RADL.number(params, "c", null) : null;
    const category = params.has("t") ? RADL.number(params, "t", null) : null;
    const words = (params.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = params.get("o");

    return (row) => {
      const sample = section.samples[section.rows[row][0]];
      if (level !== null && sample.instances.length !== level) return null;
      const text = `${sample.prompt} ${sample.id}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) return null;
      const chosen = objects(sample, color, category);
      if (!chosen.length) return null;
      const whole = chosen.length === sample.instances.length && color === null && category === null;
      const outcomes = runs.map((run) => (whole ? section.runs[run].passed[row] : together(section.runs[run].objects[row], chosen)));
      return keeps(wanted, outcomes) ? { row, chosen, outcomes } : null;
    };
  }

  function objects(sample, color, category) {
    const all = sample.instances.map((_, i) => i);
    return all.filter((i) => (color === null || sample.instances[i][2] === color) && (category === null || sample.instances[i][1] === category));
  }

  function together(marks, chosen) {
    const picked = chosen.map((i) => marks[i]);
    if (picked.includes("0")) return "0";
    return picked.every((mark) => mark === "1") ? "1" : "-";
  }

  function keeps(wanted, outcomes) {
    if (wanted === "passed") return outcomes.includes("1");
    if (wanted === "failed") return outcomes.includes("0");
    if (wanted === "differ") return outcomes.includes("0") && outcomes.includes("1");
    return true;
  }

  function select(section, params, runs) {
    const test = filter(section, params, runs);
    return section.rows.map((_, row) => test(row)).filter(Boolean);
  }

  /* How many objects and pictures of the selection are right, as the tables count them. */
  function summary(section, run, at, kept) {
    let objectsRight = 0, objectsAll = 0, passed = 0, known = 0;
    for (const { row, chosen, outcomes } of kept) {
      const marks = chosen.map((i) => section.runs[run].objects[row][i] ?? "-").join("");
      objectsRight += right(marks);
      objectsAll += judged(marks);
      passed += outcomes[at] === "1";
      known += outcomes[at] !== "-";
    }
    const share = (part, all) => (all ? `${RADL.fixed((100 * part) / all)} %` : "–");
    return {
      objects: `${share(objectsRight, objectsAll)} of ${RADL.many(objectsAll, "object")}`,
      pictures: `${share(passed, known)} of ${RADL.many(known, "image")}`,
    };
  }

  function heads(section, runs, kept) {
    const cells = runs.map((run, at) => {
      const { objects: counted, pictures } = summary(section, run, at, kept);
      return el("div", { class: "head" },
        el("strong", {}, section.runs[run].label), el("span", { class: "model" }, ` ${section.runs[run].model}`),
        el("span", { class: "facts" }, counted), el("span", { class: "facts" }, pictures));
    });
    return el("div", { class: "line heads" }, el("div", { class: "head facts" }, "Right in this selection"), cells);
  }

  function line(section, runs, row, drawings) {
    const [index, k] = section.rows[row];
    const sample = section.samples[index];
    const several = section.rows.some((other) => other[1] > 0);
    const facts = [RADL.many(sample.instances.length, "object"), sample.id, several ? `image ${k + 1}` : null].filter(Boolean);
    const shots = runs.map((run) => shot(section, run, row, drawings(run, row)));
    return el("article", { class: "line", "data-row": row },
      el("div", { class: "prompt" }, el("p", {}, sample.prompt), el("p", { class: "facts" }, facts.join(" · "))), shots);
  }

  function shot(section, run, row, drawing) {
    const [index, k] = section.rows[row];
    const { label } = section.runs[run];
    const { kind, text, words } = verdict(section, run, row);
    return el("a", { class: `shot ${kind}`, href: address({ s: section.samples[index].id, k }), "aria-label": `${label}: ${words}, ${text}` },
      RADL.frame(section, run, row, { alt: "", drawing }),
      el("span", { class: "verdict" }, text), el("span", { class: "by" }, label));
  }

  function pager(place, page, pages) {
    const step = (to, text, hint) =>
      el("button", { type: "button", class: "button quiet", disabled: to < 0 || to >= pages, title: hint, on: {
        click: () => { RADL.go({ p: to || null }); document.getElementById("filters").scrollIntoView(); },
      } }, text);
    if (pages < 2) place.replaceChildren();
    else place.replaceChildren(step(page - 1, "← Previous", "Shift and left arrow"), el("span", {}, `page ${page + 1} of ${pages}`),
      step(page + 1, "Next →", "Shift and right arrow"));
  }

  return { PAGE, select, heads, line, pager };
})();
