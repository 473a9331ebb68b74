// Marks at bars: superseded copies, signals, and the entries, exits, stops and targets of positions and trades.

/** @typedef {import("./drawing.js").Scales} Scales */
/** @typedef {import("./bars.js").Bar} Bar */

/** How near a point must be to a mark, in pixels. */
const NEAR = 9;

/**
 * @typedef {object} Mark
 * @property {string} kind
 * @property {number} time
 * @property {number} price
 * @property {"up" | "down" | "dot" | "ring" | "diamond"} shape
 * @property {string} color
 * @property {number} [offset]  pixels above the price; negative: below
 * @property {any} row  what the tooltip tells
 */

/**
 * @typedef {object} Line
 * @property {string} kind
 * @property {number} from
 * @property {number | null} until  null: to the newest bar
 * @property {number} price
 * @property {number} [to]  price at the end; the same unless given
 * @property {string} color
 * @property {boolean} [dashed]
 * @property {any} row
 */

export class MarksLayer {
  constructor() {
    /** @type {"top"} */
    this.place = "top";
    /** @type {Mark[]} */
    this.marks = [];
    /** @type {Line[]} */
    this.lines = [];
    /** The end of lines that have none. */
    this.now = 0;
    /** @type {{mark: Mark, x: number, y: number}[]} */
    this.drawn = [];
    /** @type {{line: Line, left: number, right: number, y: number}[]} */
    this.drawnLines = [];
  }

  /** @param {CanvasRenderingContext2D} context @param {Scales} scales */
  draw(context, scales) {
    this.#drawLines(context, scales);
    this.drawn = [];
    for (const mark of this.marks) {
      const x = scales.x(mark.time);
      const at = scales.y(mark.price);
      if (at === null || x < -10 || x > scales.width + 10) continue;
      const y = at - (mark.offset ?? 0);
      context.fillStyle = context.strokeStyle = mark.color;
      context.lineWidth = 1.5;
      shapes[mark.shape](context, x, y);
      this.drawn.push({ mark, x, y });
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {Scales} scales */
  #drawLines(context, scales) {
    this.drawnLines = [];
    for (const line of this.lines) {
      const left = scales.x(line.from);
      const right = scales.x(line.until ?? this.now);
      const y = scales.y(line.price);
      const end = scales.y(line.to ?? line.price);
      if (y === null || end === null || right < 0 || left > scales.width) continue;
      context.strokeStyle = line.color;
      context.lineWidth = 1.25;
      context.setLineDash(line.dashed ? [5, 4] : []);
      context.beginPath();
      context.moveTo(left, y);
      context.lineTo(right, end);
      context.stroke();
      if (y === end) this.drawnLines.push({ line, left, right, y });
    }
    context.setLineDash([]);
  }

  /** @param {{x: number, y: number}} point */
  hit({ x, y }) {
    const near = this.drawn.filter((one) => Math.hypot(one.x - x, one.y - y) <= NEAR);
    near.sort((a, b) => Math.hypot(a.x - x, a.y - y) - Math.hypot(b.x - x, b.y - y));
    if (near.length) return { kind: near[0].mark.kind, row: near[0].mark.row };
    const line = this.drawnLines.find((one) => Math.abs(one.y - y) <= 3 && x >= one.left && x <= one.right);
    return line ? { kind: line.line.kind, row: line.line.row } : null;
  }
}

/** @type {Record<Mark["shape"], (context: CanvasRenderingContext2D, x: number, y: number) => void>} */
const shapes = {
  up: (context, x, y) => path(context, [[x, y - 6], [x + 6, y + 5], [x - 6, y + 5]]),
  down: (context, x, y) => path(context, [[x, y + 6], [x + 6, y - 5], [x - 6, y - 5]]),
  diamond: (context, x, y) => path(context, [[x, y - 4], [x + 4, y], [x, y + 4], [x - 4, y]]),
  dot: (context, x, y) => circle(context, x, y, true),
  ring: (context, x, y) => circle(context, x, y, false),
};

/** @param {CanvasRenderingContext2D} context @param {number[][]} points */
function path(context, points) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.closePath();
  context.fill();
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {boolean} filled */
function circle(context, x, y, filled) {
  context.beginPath();
  context.arc(x, y, 4, 0, 2 * Math.PI);
  if (filled) context.fill();
  else context.stroke();
}

/** Bars are marked of which more superseded copies are in sight than this: as a whole they say nothing more. */
const MOST_MARKS = 400;

/**
 * A mark above each bar that has superseded copies.
 * @param {Map<number, Bar>} bars
 * @param {Map<number, Record<string, any>[]>} revisions
 * @returns {Mark[]}
 */
export function revisionMarks(bars, revisions) {
  /** @type {Mark[]} */
  const marks = [];
  for (const [time, copies] of [...revisions].slice(-MOST_MARKS)) {
    const bar = bars.get(time);
    if (!bar) continue;
    const row = { bar, copies };
    marks.push({ kind: "revisions", time, price: bar.high, shape: "diamond", color: "#f5a524", offset: 9, row });
  }
  return marks;
}
