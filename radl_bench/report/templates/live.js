"use strict";
/* On every page that a server gives out: ask it for news, and load the page again when the report is a newer one. */

const LIVE = (() => {
  const EVERY = 2000;
  let version = null;

  const busy = () => document.querySelector("dialog[open]") || document.activeElement?.matches("input, select, textarea");

  async function ask() {
    try {
      const answer = await fetch("state.json", { cache: "no-store" });
      const state = await answer.json();
      document.dispatchEvent(new CustomEvent("news", { detail: state }));
      if (version !== null && state.version !== version && !busy()) location.reload();
      else version ??= state.version;
    } catch {
      document.dispatchEvent(new CustomEvent("news", { detail: null })); // the server has ended
    }
    setTimeout(ask, EVERY);
  }

  return { ask };
})();

document.addEventListener("DOMContentLoaded", LIVE.ask);
