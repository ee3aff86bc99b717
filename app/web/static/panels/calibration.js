/** Whether a side is right as often as it says: accuracy by confidence. */

import { h, s } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { section } from "../lib/parts.js";

const SIDES = ["teacher", "baseline", "student"];
const SIZE = 360; // as wide as it is shown, so that its text is as large as that of the other charts
const EDGE = { left: 52, right: 16, top: 10, bottom: 40 }; // room for the last number, which stands half beyond

/** Null where the report does not say. */
export function calibration(report) {
  if (!SIDES.some((name) => report[name]?.reliability?.length)) return null;
  return section("Calibration", reliability(report));
}

/** The diagram, with what to read in it. */
export function reliability(report) {
  const sides = SIDES.filter((name) => report[name]?.reliability?.length);
  const at = (value) => EDGE.left + value * (SIZE - EDGE.left - EDGE.right);
  const up = (value) => SIZE - EDGE.bottom - value * (SIZE - EDGE.top - EDGE.bottom);
  const most = Math.max(...sides.flatMap((name) => report[name].reliability.map((one) => one.examples)));
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const curves = sides.map((name) => {
    const points = report[name].reliability;
    const path = points.map((one, index) => `${index ? "L" : "M"}${at(one.confidence)} ${up(one.accuracy)}`).join("");
    return s("g", { class: "side", style: { "--side": `var(--${name})` } },
      s("path", { d: path }),
      points.map((one) => s("circle", { cx: at(one.confidence), cy: up(one.accuracy), r: 2 + 5 * Math.sqrt(one.examples / most) },
        s("title", `${name}: ${format.percent(one.accuracy, 1)} right at a confidence of ${format.percent(one.confidence, 1)}, ${format.count(one.examples)} examples`))));
  });
  const words = sides.map((name) => `${name} ${format.number(report[name].ece, 3)}`).join(", ");
  return h(
    "div",
    h("p.small", "Right as often as sure: on the line. Above it a network is better than it says, below it worse. Larger dots are more examples."),
    h("div.beside", s("svg", { class: "picture calibration", viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": `Accuracy by confidence. Calibration errors: ${words}.` },
      s("line", { class: "axis", x1: at(0), y1: up(0), x2: at(1), y2: up(1) }),
      ticks.map((tick) => s("g", s("text", { x: at(tick), y: up(0) + 18, "text-anchor": "middle" }, `${100 * tick}`),
        s("text", { x: at(0) - 8, y: up(tick) + 4, "text-anchor": "end" }, `${100 * tick}`))),
      s("text", { x: at(0.5), y: SIZE - 4, "text-anchor": "middle" }, "confidence, %"),
      s("text", { transform: `translate(12 ${up(0.5)}) rotate(-90)`, "text-anchor": "middle" }, "accuracy, %"),
      curves),
    h("ul.plain", sides.toReversed().map((name) => h("li", h("i.swatch", { style: { color: `var(--${name})` } }), ` ${name}: off by ${format.percent(report[name].ece, 1)} on average`)))),
  );
}
