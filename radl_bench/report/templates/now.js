"use strict";
/* The page of the moment: how far each run is, and its newest images. */

(() => {
  const { el, many } = RADL;
  const news = document.getElementById("news");
  const place = document.getElementById("runs");
  const nodes = new Map();

  document.addEventListener("news", ({ detail }) => {
    if (detail === null) news.textContent = "The server has ended. Start `radl-bench view` again.";
    else show(detail);
  });

  function show({ runs, scored, problem }) {
    const going = runs.filter((run) => run.going).length;
    const tables = scored ? `The tables hold ${many(scored, "run")}.` : "None of them is scored yet: radl-bench score does it.";
    news.textContent = problem || (runs.length ? `${many(runs.length, "run")}, ${going} going on. ${tables}` : "There is no run yet.");
    place.replaceChildren(...runs.map(run)); // what is there already only moves: images are not loaded again
  }

  function run(one) {
    const node = nodes.get(one.name) ?? section(one.name);
    nodes.set(one.name, node);
    const done = one.made + one.failed;
    const facts = [
      `${done.toLocaleString("en")} of ${many(one.planned, "image")}`,
      one.failed ? `${one.failed.toLocaleString("en")} failed` : null,
      one.going && one.rate ? `${one.rate.toPrecision(2)} images/s` : null,
      one.left === null ? null : `${span(one.left)} to go`,
      ...state(one),
    ];
    const bar = node.querySelector("progress");
    bar.max = Math.max(1, one.planned);
    bar.value = done;
    node.querySelector(".facts").textContent = facts.filter(Boolean).join(" · ");
    const shown = JSON.stringify(one.newest);
    if (node.dataset.newest !== shown) node.querySelector("ul").replaceChildren(...one.newest.map(shot));
    node.dataset.newest = shown;
    return node;
  }

  function section(name) {
    return el("section", { class: "run" }, el("h2", {}, name), el("progress", { "aria-label": `Images of ${name}` }),
      el("p", { class: "facts" }), el("ul", { class: "newest" }));
  }

  function state(one) {
    const quiet = one.quiet === null ? "no image yet" : `last image ${span(one.quiet)} ago`;
    if (one.status !== "running") return [one.status, one.scored ? "scored" : "not scored"];
    return one.going ? [quiet] : ["says it is running, but is quiet", quiet];
  }

  function shot({ id, k, address }) {
    return el("li", {}, el("a", { href: address }, el("img", { src: address, alt: `Image ${k + 1} of ${id}` })), el("span", { class: "facts" }, k ? `${id} (${k + 1})` : id));
  }

  function span(seconds) {
    if (seconds < 90) return `${Math.round(seconds)} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86400)} days`;
  }
})();
