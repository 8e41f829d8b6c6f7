// @ts-check
// Numbers as people read them.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
// A year is no count: no separator in four digits.
const figures = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, useGrouping: "min2" });
const integers = new Intl.NumberFormat("en", { useGrouping: "min2" });
const LARGEST_PLAIN = 1e7;
const SMALLEST_PLAIN = 1e-3;

/** @param {number} value */
export const exactly = (value) => whole.format(value);

/** So many of something. @param {number} value @param {string} what one of them */
export const counted = (value, what) => `${exactly(value)} ${what}${value === 1 ? "" : "s"}`;

/** About 7.41M, or the number itself where that is as short. @param {number} value */
export const about = (value) => (value < 10000 ? whole.format(Math.round(value)) : short.format(value));

/** A value of a metric, four digits; a whole number has all of its own. @param {number | null} value */
export function figure(value) {
  if (value === null || !Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  if (size !== 0 && (size >= LARGEST_PLAIN || size < SMALLEST_PLAIN)) return value.toExponential(2);
  return (Number.isInteger(value) ? integers : figures).format(value);
}

/** @param {number} part @param {number} all */
export const share = (part, all) => (all ? `${((100 * part) / all).toFixed(1)}%` : "-");

/**
 * A number that a person typed; null where there is none. Throws where it is no number.
 * @param {string} text
 */
export function typed(text) {
  const bare = text.replace(/[\s_]|%\s*$/g, "");
  if (bare === "") return null;
  const value = Number(/^[-+]?\d{1,3}(,\d{3})+(\.|$)/.test(bare) ? bare.replaceAll(",", "") : bare);
  if (!Number.isFinite(value)) throw new Error(`${text.trim()} is not a number`);
  return value;
}
