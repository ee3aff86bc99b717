/** The pictures of a teacher's report, drawn in the page's own colours. */

import { h, s } from "../lib/dom.js";
import * as format from "../lib/format.js";

const WIDTH = 480;
const HEIGHT = 260;
const EDGE = { left: 44, right: 12, top: 26, bottom: 40 };
const TICKS = [1, 2, 4, 8, 20, 40];
const CURVES = [["entropy, of the greatest possible", "entropy_share", "student"], ["mass off the target", "off_target", "baseline"]];
const MOST = 32; // classes of a matrix; of more the most alike are shown
const NUMBERED = 12;
const CELLS = 400;
const DEEPEST = 60; // per cent of the colour, so that the numbers stay readable

/** Entropy and mass off the target over T, and the advised range. */
export function softness(told, { temperatures: [low, high] }) {
  const [first, last] = [told[0], told[told.length - 1]];
  const span = Math.log(last.temperature / first.temperature);
  const x = (t) => EDGE.left + (Math.log(t / first.temperature) / span) * (WIDTH - EDGE.left - EDGE.right);
  const y = (share) => HEIGHT - EDGE.bottom - share * (HEIGHT - EDGE.top - EDGE.bottom);
  const words = `From T ${first.temperature} to ${last.temperature} the entropy of the soft targets rises from ${format.percent(first.entropy_share, 0)} to ${format.percent(last.entropy_share, 0)} of the greatest possible, the mass off the target from ${format.percent(first.off_target, 0)} to ${format.percent(last.off_target, 0)}. Advised: T ${format.number(low)} to ${format.number(high)}.`;
  return h("div.beside",
    s("svg", { class: "picture softness", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
      s("rect", { class: "advised", x: x(low), y: y(1), width: Math.max(x(high) - x(low), 2), height: y(0) - y(1) }),
      s("text", { x: Math.min(Math.max((x(low) + x(high)) / 2, 100), WIDTH - 70), y: 16, "text-anchor": "middle" }, `advised: T ${format.number(low)} to ${format.number(high)}`),
      [0, 0.5, 1].map((share) => [
        s("line", { class: "axis", x1: x(first.temperature), x2: x(last.temperature), y1: y(share), y2: y(share) }),
        s("text", { x: EDGE.left - 8, y: y(share) + 4, "text-anchor": "end" }, `${100 * share}`)]),
      TICKS.filter((t) => t >= first.temperature && t <= last.temperature).map((t) => s("text", { x: x(t), y: HEIGHT - 22, "text-anchor": "middle" }, t)),
      s("text", { x: (EDGE.left + WIDTH) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, "temperature T"),
      CURVES.map(([, name, side]) => s("path", { style: { "--side": `var(--${side})` },
        d: told.map((one, at) => `${at ? "L" : "M"}${x(one.temperature)} ${y(one[name])}`).join("") }))),
    h("ul.plain", CURVES.map(([name, , side]) => h("li", h("i.swatch", { style: { color: `var(--${side})` } }), ` ${name}, %`))));
}

/** A row for each class: where the mass off it goes. Null where no matrix is told. */
export function alike({ matrix, confused }, names) {
  if (!matrix) return null;
  const named = [...new Set(confused.flatMap((pair) => pair.classes).slice(0, MOST))];
  const classes = matrix.length <= MOST ? matrix.map((_, label) => label) : named.sort((a, b) => a - b);
  const most = Math.max(1e-9, ...classes.flatMap((row) => (matrix[row] ? classes.map((column) => matrix[row][column]) : [])));
  const numbered = classes.length <= NUMBERED;
  const edge = numbered ? 72 : 4;
  const cell = CELLS / classes.length;
  const top = numbered ? 20 : 4;
  const [first] = confused;
  const words = `Similarity of ${classes.length} classes${first ? `; most alike are ${names[first.classes[0]]} and ${names[first.classes[1]]}` : ""}. The most alike are in the table.`;
  const label = (at) => (names[at].length > 9 ? `${names[at].slice(0, 8)}…` : names[at]);
  return s("svg", { class: "picture alike", viewBox: `0 0 ${edge + CELLS} ${top + CELLS}`, role: "img", "aria-label": words },
    classes.map((row, down) => [
      numbered && s("text", { x: edge - 8, y: top + (down + 0.5) * cell + 4, "text-anchor": "end" }, label(row)),
      numbered && s("text", { x: edge + (down + 0.5) * cell, y: 12, "text-anchor": "middle" }, label(row).slice(0, 5)),
      classes.map((column, across) => {
        const share = matrix[row]?.[column];
        if (row === column || share === undefined) return null;
        const [left, up] = [edge + across * cell, top + down * cell];
        const depth = DEEPEST * Math.sqrt(share / most);
        return s("g",
          s("rect", { x: left + 0.5, y: up + 0.5, width: cell - 1, height: cell - 1, style: { "--cell": `color-mix(in oklab, var(--copper) ${depth.toFixed(1)}%, var(--sunk))` } },
            s("title", `of ${names[row]}, ${format.percent(share, 1)} on ${names[column]}`)),
          numbered && s("text", { class: "share", x: left + cell / 2, y: up + cell / 2 + 4, "text-anchor": "middle" }, Math.round(100 * share)));
      }),
    ]));
}
