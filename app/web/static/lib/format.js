/** Numbers, sizes and times for people. */

const locale = "en-GB";
const integer = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "long" });
const absolute = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });

export const NONE = "–";
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export const count = (value) => (known(value) ? integer.format(value) : NONE);

/** 2.4 M, 118 k, 950; 475 GFLOP. */
export function rough(value, unit = "") {
  if (!known(value)) return NONE;
  const prefixes = ["", "k", "M", "G", "T", "P", "E"];
  const at = Math.max(0, Math.min(prefixes.length - 1, Math.floor(Math.log10(Math.abs(value) || 1) / 3)));
  return `${Number((value / 1000 ** at).toPrecision(3))} ${prefixes[at]}${unit}`.trim();
}

/** A measurement, with as many digits as tell something. */
export function number(value, digits = 4) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return Number(value.toPrecision(digits - 1)).toExponential().replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

/** A measurement that stands beside others of its kind: as many decimals in each. */
export const decimal = (value, digits = 4) => (known(value) ? value.toFixed(digits) : NONE);

export const percent = (value, digits = 2) => (known(value) ? `${(100 * value).toFixed(digits)} %` : NONE);

/** How many epochs of how many are behind: of many, tenths of one tell nothing. */
export const epochs = ({ epoch, epochs: all }) => `${all < 100 ? Number(epoch.toFixed(1)) : count(Math.floor(epoch))} of ${count(all)}`;

/** Points of a percentage, with their sign. */
export function points(value, digits = 2) {
  if (!known(value)) return NONE;
  const shown = (100 * Math.abs(value)).toFixed(digits);
  return `${Number(shown) === 0 ? "±" : value > 0 ? "+" : "−"}${shown}`;
}

export function bytes(value) {
  if (!known(value)) return NONE;
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${unit}`;
  }
  return `${value} B`;
}

export function duration(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds < 1) return `${Math.max(1, Math.round(1000 * seconds))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.round(hours / 24)} days`;
}

export function ago(date, now = Date.now()) {
  const seconds = (new Date(date) - now) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]]) {
    if (size >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return "just now";
}

export const exact = (date) => absolute.format(new Date(date));

/** 30 Nov 2026, 14:05:10 */
export const moment = (date) => short.format(new Date(date));

/** 08:15:03 */
export const clock = (date) => new Date(date).toLocaleTimeString(locale);

/** A network in a few words: mlp 64–256–256–10. */
export function network(spec) {
  if (!spec) return NONE;
  if (spec.family === "mlp") return `mlp ${[spec.inputs, ...(spec.hidden ?? []), spec.classes].join("–")}`;
  const size = [spec.depth, spec.widen ?? spec.width].filter((one) => known(one)).join("×");
  return [spec.family, size || (spec.channels ?? []).join("–")].filter(Boolean).join(" ");
}

const ramp = (value) => (typeof value === "object" && value ? `${number(value.start)}→${number(value.end)}` : number(value));

/** A method in a few words: kd T 4 α 0.9. */
export function method(spec) {
  if (!spec) return NONE;
  const parts = [spec.name];
  if (spec.temperature !== undefined && spec.temperature !== null) parts.push(`T ${ramp(spec.temperature)}`);
  if (spec.alpha !== undefined && spec.alpha !== null) parts.push(`α ${ramp(spec.alpha)}`);
  return parts.join(" ");
}
