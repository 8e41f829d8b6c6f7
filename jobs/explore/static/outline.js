// @ts-check
// Another run's distribution as a line over the bars, drawn to the same number of documents.

/** @typedef {import("./bins.js").Distribution} Distribution */

/**
 * What the other run would have in each bar if it were as large.
 * @param {Distribution} shape the bars' own @param {Distribution} other
 * @param {{perBar: number, count: number}} bars @param {number} size which of Sizes
 */
export function outlineOf(shape, other, { perBar, count }, size) {
  const found = new Float64Array(count);
  const { lows, before, scored } = other.whole;
  const share = shape.whole.scored[size] / (scored[size] || 1);
  for (const [i, low] of lows.entries()) {
    const bar = Math.min(count - 1, Math.floor((shape.placeOf(low) * shape.span) / perBar));
    found[bar] += (before[i + 1][size] - before[i][size]) * share;
  }
  return found;
}

/**
 * @param {CanvasRenderingContext2D} pen @param {Float64Array} line @param {string} colour
 * @param {{each: number, height: number, top: number}} box each: the width of a bar
 */
export function drawOutline(pen, line, colour, { each, height, top }) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(0, height);
  for (const [i, value] of line.entries()) {
    const y = height * (1 - value / top);
    pen.lineTo(i * each, y);
    pen.lineTo((i + 1) * each, y);
  }
  pen.lineTo(line.length * each, height);
  pen.stroke();
  pen.lineWidth = 1;
}
