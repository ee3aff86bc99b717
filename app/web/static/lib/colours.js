/** What a canvas needs to know of the stylesheet: custom properties as the colours they are now. */

const probe = document.createElement("i");
probe.hidden = true;
document.documentElement.append(probe);

export function colour(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

/** The same colour, partly seen through. */
export function faint(rgb, alpha) {
  const [r, g, b] = rgb.match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

/** Calls `work` whenever the theme becomes another one. */
export function onTheme(work, signal) {
  addEventListener("themechange", work, { signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", work, { signal });
}

/** For curves of several jobs: told apart on both themes, in this order. */
export const PALETTE = ["line-1", "line-2", "line-3", "line-4", "line-5", "line-6", "line-7", "line-8"];
