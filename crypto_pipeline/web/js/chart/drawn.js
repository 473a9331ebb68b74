// What the canvas shows, as rows: read back from lightweight-charts and from the last painting, not from what was read.

/** @param {import("./view.js").View} view */
export function drawn(view) {
  const { canvas, series, drawing, holes, extras, choice } = view;
  const volumes = new Map(canvas.volume.data().map((/** @type {any} */ point) => [point.time, point.value]));
  const bars = canvas.candles.data().filter((/** @type {any} */ point) => point.close !== undefined);
  const box = view.plot.getBoundingClientRect();
  return {
    choice,
    loaded: series ? { start: series.window.start, end: series.window.end, attached: series.attached } : null,
    settled: series !== null && !view.dirty && !view.loading && !view.fresh && series.reading === 0,
    slots: drawing.slots.length,
    bars: bars.map((/** @type {any} */ { time, open, high, low, close }) => ({
      open_time: time * 1000, open, high, low, close, volume: volumes.get(time),
    })),
    sight: view.sight.moments(),
    holes: holes.holes,
    /**
     * Holes in sight: where each was painted, in pixels of the window, from its first window (`left`) to its last, and
     * where lightweight-charts has the middle of the first one.
     */
    painted: holes.drawn.map(({ hole, left, right, strip }) => ({
      start: hole.start, end: hole.end, state: hole.state, x: box.left + (left + right) / 2, y: box.top + strip,
      left, width: right - left, first: canvas.chart.timeScale().timeToCoordinate(/** @type {any} */ (hole.start / 1000)),
    })),
    paintedAt: drawing.painted,
    forecast: extras.forecast.forecast,
    /** Steps of the forecast in sight, where they were painted. */
    bands: extras.forecast.drawn.map(({ x, y, step }) => ({
      target: step.target, x: box.left + x, y: Object.fromEntries(Object.entries(y).map(([name, at]) => [name, box.top + at])),
    })),
    all_marks: extras.trading.marks.map(({ kind, time, price }) => ({ kind, time, price })),
    marks: [...extras.trading.drawn, ...extras.revised.drawn].map(({ mark, x, y }) => ({
      kind: mark.kind, time: mark.time, price: mark.price, x: box.left + x, y: box.top + y,
    })),
    lines: extras.trading.lines.map(({ kind, from, until, price, to, dashed }) => ({ kind, from, until, price, to, dashed })),
  };
}
