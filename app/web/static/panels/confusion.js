/** What is taken for what, from the predictions of each test example. */

import { ask, checked } from "../lib/api.js";
import { colour, faint, onTheme } from "../lib/colours.js";
import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { choice, section, wide } from "../lib/parts.js";

const SIZE = 480;
const NUMBERED = 20; // classes: with more there is no room for numbers
const LISTED = 8;
const LABEL = 18; // beside the cells, for what the axes are

export function confusion(report, url, signal) {
  const canvas = h("canvas.picture", { role: "img", width: SIZE, height: SIZE });
  const list = h("tbody");
  const tools = h("div.tools");
  const names = report.student.per_class?.map((one) => one.name) ?? [];
  const element = section("Confusion", tools, h("div.beside", canvas,
    wide("Most frequent confusions", h("table", h("caption.hidden", "Most frequent confusions"),
      h("thead", h("tr", h("th", { scope: "col" }, "Is"), h("th", { scope: "col" }, "Taken for"), h("th.n", { scope: "col" }, "Times"))), list))));

  read(url, signal).then((columns) => {
    const sides = ["student", "baseline", "teacher"].filter((name) => columns[name]);
    if (!columns.label || !sides.length) return element.remove();
    let matrix;
    const pick = (side) => {
      matrix = counted(columns.label, columns[side], names.length);
      draw(canvas, matrix);
      canvas.setAttribute("aria-label", `Confusion matrix of the ${side}; the most frequent confusions are in the table below.`);
      list.replaceChildren(...worst(matrix).map(([from, to, times]) =>
        h("tr", h("td", names[from] ?? from), h("td", names[to] ?? to), h("td.n", format.count(times)))));
    };
    tools.append(choice("Of the", sides.map((side) => [side, side]), sides[0], pick));
    pick(sides[0]);
    onTheme(() => draw(canvas, matrix), signal);
    return undefined;
  }).catch(() => !signal.aborted && element.remove());
  return element;
}

/** predictions.parquet by column. */
async function read(url, signal) {
  const [{ parquetReadObjects }, response] = await Promise.all([
    import("../vendor/hyparquet/hyparquet.js"),
    ask(url, { signal, headers: { Prefer: "return=representation" } }).then(checked),
  ]);
  const rows = await parquetReadObjects({ file: await response.arrayBuffer() });
  const columns = {};
  for (const name of Object.keys(rows[0] ?? {})) columns[name] = rows.map((row) => Number(row[name]));
  return columns;
}

function counted(labels, answers, classes) {
  const size = Math.max(classes, 1 + labels.reduce((most, one) => Math.max(most, one), 0), 1 + answers.reduce((most, one) => Math.max(most, one), 0));
  const matrix = Array.from({ length: size }, () => new Uint32Array(size));
  labels.forEach((label, at) => (matrix[label][answers[at]] += 1));
  return matrix;
}

function worst(matrix) {
  const found = [];
  matrix.forEach((row, from) => row.forEach((times, to) => times && from !== to && found.push([from, to, times])));
  return found.sort((a, b) => b[2] - a[2]).slice(0, LISTED);
}

/** Rows are what is, columns what was said. Errors are few beside the diagonal: each has a scale. */
function draw(canvas, matrix) {
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.height = SIZE * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const size = matrix.length;
  const edge = LABEL + (size <= NUMBERED ? 22 : 0);
  const cell = (SIZE - edge) / size;
  const gap = cell > 8 ? 1.5 : 0;
  const [right, wrong, ink, quiet, ground] = ["good", "bad", "ink", "ink-2", "sunk"].map(colour);
  const most = Math.max(1, ...matrix.map((row, at) => row.reduce((top, one, to) => (to === at ? top : Math.max(top, one)), 0)));
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const middle = edge + (SIZE - edge) / 2;
  pen.fillStyle = quiet;
  pen.fillText("predicted", middle, SIZE - LABEL / 2);
  pen.save();
  pen.rotate(-Math.PI / 2);
  pen.fillText("true", middle - SIZE, LABEL / 2);
  pen.restore();
  matrix.forEach((row, from) => {
    const total = row.reduce((sum, one) => sum + one, 0) || 1;
    row.forEach((times, to) => {
      const depth = from === to ? 0.1 + 0.3 * (times / total) : times && 0.15 + 0.7 * Math.sqrt(times / most);
      const [x, y] = [edge + to * cell, from * cell];
      pen.fillStyle = times ? faint(from === to ? right : wrong, depth) : ground;
      if (times || gap) pen.fillRect(x, y, cell - gap, cell - gap);
      if (size <= NUMBERED && times) {
        pen.fillStyle = ink;
        pen.fillText(times, x + (cell - gap) / 2, y + (cell - gap) / 2);
      }
    });
    if (size <= NUMBERED) {
      pen.fillStyle = quiet;
      pen.fillText(from, (LABEL + edge) / 2, from * cell + cell / 2);
      pen.fillText(from, edge + from * cell + cell / 2, SIZE - (LABEL + edge) / 2 + 2);
    }
  });
}
