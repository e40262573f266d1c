/* Return what is cut on a page: texts wider than their place, and what slides sideways without a hint that it does. */
() => {
  const seen = (element) => element.checkVisibility() && !element.closest("svg, .visually-hidden");
  const name = (element) => `${element.tagName.toLowerCase()}.${element.className}: ${element.textContent.trim().slice(0, 40)}`;
  const out = [];
  for (const element of document.querySelectorAll("body *")) {
    if (!seen(element) || element.matches("input, option, .nothing") || element.closest("option")) continue;
    const wide = element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== "inline";
    if (!wide) continue;
    const slides = ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    const hints = [...document.querySelectorAll(".swipe")].filter(seen);
    const hinted = hints.some((hint) => hint.parentElement.contains(element)) || element.closest("dialog");
    if (!slides || !hinted) out.push(name(element));
  }
  const ruler = document.createElement("canvas").getContext("2d");
  for (const select of [...document.querySelectorAll("select")].filter(seen)) {
    const style = getComputedStyle(select);
    ruler.font = `${style.fontSize} ${style.fontFamily}`;
    const room = select.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - 16; // the arrow
    const text = select.selectedOptions[0]?.textContent ?? "";
    if (ruler.measureText(text).width > room) out.push(`select ${select.name}: ${text}`);
  }
  return out;
}
