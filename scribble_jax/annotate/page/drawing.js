/**
 * The strokes of one picture and their history. A stroke is
 * {class, width, points: [[x, y], ...]}, in pixels of the picture; class 255 is
 * the eraser. Strokes never change once they are made.
 */

export const ERASER = 255;

const state = (strokes, nothing, imported) => ({strokes, nothing, imported});

/** Returns what a drawing says, whatever its version. */
export const said = ({strokes, nothing, imported}) => JSON.stringify([
  nothing, imported,
  strokes.map(({class: label, width, points}) => [label, width, points])]);

export class Drawing {
  constructor(id, content) {
    this.id = id;
    this.load(content);
  }

  /** Takes over what the server has. */
  load(content) {
    this.now = state(content.strokes, content.nothing, content.imported);
    this.past = [];
    this.future = [];
    this.settle(content.version, this.now);
  }

  /** Learns that the server has a state of this page as its version. */
  settle(version, there) {
    this.version = version;
    // What the server may have: this, or what is sent before it answers again.
    this.known = [there];
  }

  get isSaved() {
    return said(this.now) === said(this.known[0]);
  }

  /**
   * Returns whether the server's content is one of this page, as when an answer
   * was lost; then the next change may replace it.
   */
  recognise(content) {
    const there = this.known.find((one) => said(one) === said(content));
    if (there) this.settle(content.version, there);
    return Boolean(there);
  }

  get strokes() {
    return this.now.strokes;
  }

  change(changes) {
    this.past.push(this.now);
    this.future = [];
    this.now = {...this.now, ...changes};
  }

  add(stroke) {
    this.change({strokes: [...this.strokes, stroke]});
  }

  remove(index) {
    this.change({strokes: this.strokes.filter((_, i) => i !== index)});
  }

  clear() {
    this.change(state([], false, false));
  }

  get canUndo() {
    return this.past.length > 0 || this.strokes.length > 0;
  }

  /** Undoes a change; of what an earlier page drew, the last stroke. */
  undo() {
    if (!this.canUndo) return false;
    this.future.push(this.now);
    this.now = this.past.pop() ||
        {...this.now, strokes: this.strokes.slice(0, -1)};
    return true;
  }

  redo() {
    if (!this.future.length) return false;
    this.past.push(this.now);
    this.now = this.future.pop();
    return true;
  }

  /**
   * Forgets strokes of classes that were deleted, in all states, for they must
   * not come back; returns how many are no longer shown.
   */
  keepOnly(labels) {
    const before = this.strokes.length;
    for (const one of new Set(
        [this.now, ...this.past, ...this.future, ...this.known])) {
      one.strokes = one.strokes.filter(({class: label}) =>
        label === ERASER || labels.has(label));
    }
    return before - this.strokes.length;
  }

  toJson() {
    return {version: this.version, ...this.now};
  }

  /** Returns what the server saves, and remembers that it may have it. */
  send() {
    if (!this.known.includes(this.now)) this.known.push(this.now);
    return this.toJson();
  }
}

/** Returns the distance of a point from a segment, in pixels. */
function distance([x, y], [x0, y0], [x1, y1]) {
  const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
  const share = length ? Math.max(0, Math.min(
      1, ((x - x0) * dx + (y - y0) * dy) / length)) : 0;
  return Math.hypot(x - x0 - share * dx, y - y0 - share * dy);
}

/**
 * Returns a line with fewer points that is nowhere farther away than some
 * pixels (Ramer, 1972; Douglas and Peucker, 1973).
 */
export function simplify(points, tolerance) {
  const kept = new Uint8Array(points.length);
  const parts = [[0, points.length - 1]];
  while (parts.length) {
    const [first, last] = parts.pop();
    kept[first] = kept[last] = 1;
    let farthest = 0, highest = tolerance;
    for (let i = first + 1; i < last; i++) {
      const found = distance(points[i], points[first], points[last]);
      if (found > highest) [farthest, highest] = [i, found];
    }
    if (farthest) parts.push([first, farthest], [farthest, last]);
  }
  return points.filter((_, i) => kept[i]);
}

/** Whether a stroke is on one side of the picture and draws nothing. */
export function isOutside({points, width}, picture) {
  return [[0, picture.width], [1, picture.height]].some(([axis, length]) =>
    points.every((point) => point[axis] + width / 2 < 0) ||
    points.every((point) => point[axis] - width / 2 > length));
}

/** Returns the index of the topmost stroke at a point, -1 for none. */
export function strokeAt(strokes, point, reach) {
  for (let i = strokes.length - 1; i >= 0; i--) {
    const {points, width, class: label} = strokes[i];
    if (label === ERASER) continue;
    for (let j = 0; j < points.length; j++) {
      const next = points[Math.min(j + 1, points.length - 1)];
      if (distance(point, points[j], next) <= width / 2 + reach) return i;
    }
  }
  return -1;
}
