/* Return the texts whose contrast with what lies behind them is under 4.5 (WCAG 2.1, AA), as "text: ratio". */
() => {
  const numbers = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const opaque = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (a > 0.99) return [r, g, b];
    }
    return numbers(getComputedStyle(document.body).backgroundColor).slice(0, 3);
  };
  const light = (color) => {
    const [r, g, b] = color.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const out = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    const hidden = !element.checkVisibility() || element.closest("svg, option, noscript, :disabled");
    if (!text || hidden) continue;
    const [one, other] = [light(numbers(getComputedStyle(element).color).slice(0, 3)), light(opaque(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) out.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(out)];
}
