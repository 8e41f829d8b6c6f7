// @ts-check
// A distribution in bins, and what may be read off it while a handle moves.
//
// Owns counting without asking: sums before each bin, and of a bin that a cut goes through a share
// as if its values were spread evenly. What is exact the server says.

/** @typedef {{kind: "log" | "linear" | "whole", start: number, width: number}} Scale */
/** @typedef {[number, number, number]} Sizes documents, tokens, bytes */
/** @typedef {{low: number | null, high: number | null}} Band null where it is open */

export const ZERO = -(2 ** 30);
const UNSCORED = ZERO - 1;
const TRIMMED = 0.0005;

/** The documents of one group, or of all, in ascending order of the metric. */
export class Group {
  /** @param {number[][]} cells [bin, documents, tokens, bytes, low, high], ascending */
  constructor(cells) {
    const scored = cells.filter((cell) => cell[0] !== UNSCORED);
    this.bins = scored.map((cell) => cell[0]);
    this.lows = scored.map((cell) => cell[4]);
    this.highs = scored.map((cell) => cell[5]);
    /** Sums of each size before bin i. @type {Sizes[]} */
    this.before = [[0, 0, 0]];
    for (const [, documents, tokens, bytes] of scored) {
      const [d, t, b] = this.before[this.before.length - 1];
      this.before.push([d + documents, t + tokens, b + bytes]);
    }
    /** Everything, without a value too. @type {Sizes} */
    this.all = [0, 0, 0];
    for (const cell of cells) for (const i of [0, 1, 2]) this.all[i] += cell[i + 1];
  }

  /** What has a value. @returns {Sizes} */
  get scored() {
    return this.before[this.before.length - 1];
  }

  /**
   * What is below a value, or at it if `inclusive`.
   * @param {number} value @param {boolean} inclusive @returns {Sizes}
   */
  below(value, inclusive) {
    let from = 0;
    let to = this.bins.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      const high = this.highs[middle];
      if (high < value || (inclusive && high === value)) from = middle + 1;
      else to = middle;
    }
    const sums = this.before[from];
    if (from === this.bins.length) return sums;
    const low = this.lows[from];
    const high = this.highs[from];
    if (value < low || (!inclusive && value === low)) return sums;
    const part = high > low ? (value - low) / (high - low) : 0.5;
    const next = this.before[from + 1];
    return /** @type {Sizes} */ (sums.map((sum, i) => sum + part * (next[i] - sum)));
  }

  /** What a band keeps, about. @param {Band} band @returns {Sizes} */
  kept({ low, high }) {
    const upto = high === null ? this.scored : this.below(high, true);
    const from = low === null ? [0, 0, 0] : this.below(low, false);
    return /** @type {Sizes} */ (upto.map((sum, i) => Math.max(0, sum - from[i])));
  }

  /** The value at a percentile, about. @param {number} percent */
  valueAt(percent) {
    const wanted = (percent / 100) * Math.max(0, this.scored[0] - 1);
    let i = 0;
    while (i < this.bins.length - 1 && this.before[i + 1][0] <= wanted) i += 1;
    const inside = this.before[i + 1][0] - this.before[i][0];
    const part = inside > 1 ? Math.min(1, (wanted - this.before[i][0]) / (inside - 1)) : 0;
    return this.lows[i] + part * (this.highs[i] - this.lows[i]);
  }

  /**
   * The percentile from which on, or up to which, a band keeps a value, about.
   * @param {number} value @param {"low" | "high"} side
   */
  percentTo(value, side) {
    const place = side === "low" ? this.below(value, false)[0] : this.below(value, true)[0] - 1;
    return Math.min(100, Math.max(0, (100 * place) / Math.max(1, this.scored[0] - 1)));
  }

  /** The percentile of a value, about. @param {number} value */
  percentOf(value) {
    return (100 * this.below(value, false)[0]) / Math.max(1, this.scored[0]);
  }
}

/** What queries.py encodes. @param {ArrayBuffer} buffer @returns {{header: any, numbers: Float64Array}} */
export function framed(buffer) {
  const head = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, head)));
  return { header, numbers: new Float64Array(buffer, 4 + head) };
}

/** A metric's distribution by group. */
export class Distribution {
  /** @param {ArrayBuffer} buffer as queries.py encodes it */
  constructor(buffer) {
    const { header, numbers } = framed(buffer);
    const { scale, groups, length } = header;
    const column = (/** @type {number} */ i) => numbers.subarray(length * i, length * (i + 1));
    const columns = [0, 1, 2, 3, 4, 5, 6].map(column);
    /** @type {Scale} */
    this.scale = scale;
    /** @type {string[]} */
    this.names = groups;
    const cells = groups.map(() => /** @type {number[][]} */ ([]));
    /** @type {Map<number, number[]>} */
    const merged = new Map();
    for (let i = 0; i < length; i += 1) {
      const [group, ...cell] = columns.map((values) => values[i]);
      cells[group].push(cell);
      const sum = merged.get(cell[0]);
      if (sum) {
        for (const j of [1, 2, 3]) sum[j] += cell[j];
        sum[4] = Math.min(sum[4], cell[4]);
        sum[5] = Math.max(sum[5], cell[5]);
      } else merged.set(cell[0], [...cell]);
    }
    /** @type {Group[]} */
    this.groups = cells.map((/** @type {number[][]} */ own) => new Group(own));
    this.whole = new Group([...merged.values()].sort((a, b) => a[0] - b[0]));
    const [first, last] = this.#shown();
    this.first = first;
    this.last = last;
  }

  /** The first and the last bin to draw: a few documents far away do not squeeze the others. */
  #shown() {
    const { bins, before, scored } = this.whole;
    const positive = bins.findIndex((bin) => bin !== ZERO);
    if (positive < 0) return [0, 0];
    let from = positive;
    let to = bins.length - 1;
    const rest = scored[0] * TRIMMED;
    while (from < to && before[from + 1][0] < rest) from += 1;
    while (to > from && scored[0] - before[to][0] < rest) to -= 1;
    const [first, last] = [bins[positive], bins[bins.length - 1]];
    return last - first < 1.3 * (bins[to] - bins[from] + 8) ? [first, last] : [bins[from], bins[to]];
  }

  /** Widen the axis to what another one shows. @param {Distribution} other */
  cover(other) {
    if (!other.whole.scored[0] || (other.scale.kind === "log") !== (this.scale.kind === "log")) return;
    const { start, width } = this.scale;
    const own = (/** @type {number} */ bin) => Math.floor((other.scale.start + bin * other.scale.width - start) / width);
    this.first = Math.min(this.first, own(other.first));
    this.last = Math.max(this.last, own(other.last));
  }

  get hasZero() {
    return this.scale.kind === "log" && this.whole.bins[0] === ZERO;
  }

  /** Bins that the axis has, with a place apart for zero. */
  get span() {
    return this.last - this.first + 1 + this.zeroBins;
  }

  get zeroBins() {
    return this.hasZero ? Math.max(2, Math.round((this.last - this.first + 1) * 0.05)) : 0;
  }

  /** Where a value is on the axis, from 0 to 1. @param {number} value */
  placeOf(value) {
    const { kind, start, width } = this.scale;
    if (kind === "log" && value <= 0) return 0;
    const bin = ((kind === "log" ? Math.log(value) : value) - start) / width;
    return Math.min(1, Math.max(0, (bin - this.first + this.zeroBins) / this.span));
  }

  /** The value at a place. @param {number} place */
  valueOf(place) {
    const { kind, start, width } = this.scale;
    const own = place * this.span - this.zeroBins;
    if (this.hasZero && own < -this.zeroBins / 2) return 0;
    const at = start + width * (Math.max(0, own) + this.first);
    return kind === "log" ? Math.min(Math.exp(at), Number.MAX_VALUE) : at;
  }

  /** Where an end of a band is drawn: of whole numbers beside the bars. @param {number} value @param {"low" | "high"} side */
  edgeOf(value, side) {
    if (this.scale.kind !== "whole") return this.placeOf(value);
    return this.placeOf(side === "low" ? Math.ceil(value) - 0.5 : Math.floor(value) + 0.5);
  }

  /** The end that is drawn nearest to a place. @param {number} place @param {"low" | "high"} side */
  endAt(place, side) {
    const value = this.valueOf(place);
    if (this.scale.kind !== "whole") return value;
    return Math.floor(value) + (side === "low" ? 1 : 0);
  }

  /** The bar, of those that `perBar` bins are in, of a bin. @param {number} bin @param {number} perBar */
  barOf(bin, perBar) {
    if (bin === ZERO) return 0;
    const own = Math.min(this.last, Math.max(this.first, bin)) - this.first;
    return Math.floor((own + this.zeroBins) / perBar);
  }
}
