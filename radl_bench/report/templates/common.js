"use strict";
/* What all pages share: data files, elements made of text, and the state, which lives in the address alone. */

const RADL = (() => {
  const taken = new Map();
  const asked = new Map();

  /* Called by the files under data/: a page opened from disk may load scripts, but not read files. */
  function take(name, content) {
    taken.set(name, content);
  }

  function load(name) {
    if (!asked.has(name)) {
      asked.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `data/${name}.js`;
        script.onload = () => resolve(taken.get(name));
        script.onerror = () => {
          asked.delete(name);
          reject(new Error(`data/${name}.js cannot be read. Write the report again.`));
        };
        document.head.append(script);
      }));
    }
    return asked.get(name);
  }

  /* Text only ever becomes a text node or an attribute, never markup: prompts are written by others. */
  function fill(element, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
      else element.setAttribute(key, value === true ? "" : String(value));
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  }

  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  const state = () => new URLSearchParams(location.hash.slice(1));

  function address(changes) {
    const next = state();
    for (const [key, value] of Object.entries(changes)) {
      if (value === "" || value === null || value === undefined || value === false) next.delete(key);
      else next.set(key, String(value));
    }
    if (!next.has("g")) next.set("g", "0");
    return `#${next}`;
  }

  /* Change the state; with `keep` the browser's back button returns to the old one. */
  function go(changes, keep = false) {
    if (keep) location.hash = address(changes);
    else location.replace(address(changes));
  }

  const number = (params, key, fallback = 0) => {
    const value = Number.parseInt(params.get(key) ?? "", 10);
    return Number.isInteger(value) && value >= 0 ? value : fallback;
  };

  function options(select, pairs, chosen) {
    select.replaceChildren(...pairs.map(([value, text]) => el("option", { value }, text)));
    select.value = pairs.some(([value]) => String(value) === String(chosen)) ? chosen : pairs[0]?.[0] ?? "";
  }

  const picture = (section, run, row) => {
    const name = section.runs[run].pictures[row];
    return name ? section.prefix + name + section.suffix : null;
  };

  /* Indices of the shown runs: `m=0,2` in the address, all of them without it. */
  function shownRuns(section, params) {
    const all = section.runs.map((_, index) => index);
    const wanted = (params.get("m") ?? "").split(",").filter(Boolean).map(Number);
    const kept = all.filter((index) => wanted.includes(index));
    return kept.length ? kept : all;
  }

  /* One decimal, a tie to the even digit (96.25 is 96.2), as the tables print it. */
  function fixed(value) {
    const size = Math.abs(value);
    const tie = Number.isInteger(size * 4) && (size * 4) % 4 === 1;
    return (tie ? Math.sign(value) * (Math.floor(size) + 0.2) : value).toFixed(1);
  }

  const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

  const right = (marks) => [...marks].filter((mark) => mark === "1").length;
  const judged = (marks) => [...marks].filter((mark) => mark !== "-").length;

  /* "✓ 4/4": a sign and a number beside the colour, for those who do not see the colour. */
  function verdict(section, run, row) {
    const passed = section.runs[run].passed[row];
    const marks = section.runs[run].objects[row];
    const sign = { 1: "✓", 0: "✗" }[passed] ?? "·";
    const share = judged(marks) ? ` ${right(marks)}/${marks.length}` : "";
    const kind = { 1: "right", 0: "wrong" }[passed] ?? "unknown";
    return { kind, text: sign + share, words: { 1: "passed", 0: "failed" }[passed] ?? "not judged" };
  }

  function fail(error) {
    const place = document.querySelector("[role=status]");
    if (place) place.textContent = error.message;
    throw error;
  }

  return { take, load, el, svg, state, address, go, number, options, picture, shownRuns, fixed, many, right, judged, verdict, fail };
})();
