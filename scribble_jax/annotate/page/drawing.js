/**
 * The strokes of one picture and their history. A stroke is
 * {class, width, points: [[x, y], ...]}, in pixels of the picture; class 255 is
 * the eraser. Strokes never change once they are made.
 */

export const ERASER = 255;

const state = (strokes, nothing, imported) => ({strokes, nothing, imported});

/** Returns the contents of a drawing as text, without the version. */
export const said = ({strokes, nothing, imported}) => JSON.stringify([
  nothing, imported,
  strokes.map(({class: label, width, points}) => [label, width, points])]);

export class Drawing {
  constructor(id, content) {
    this.id = id;
    this.load(content);
  }

  /** Loads the server's content. */
  load(content) {
    this.now = state(content.strokes, content.nothing, content.imported);
    this.past = [];
    this.future = [];
    this.settle(content.version, this.now);
  }

  /** Records that the server has stored a state of this page as a version. */
  settle(version, stored) {
    this.version = version;
    // States that the server may have: this one, and those sent from now on.
    this.known = [stored];
  }

  get isSaved() {
    return said(this.now) === said(this.known[0]);
  }

  /**
   * Returns whether the server's content is a state of this page, as after a
   * lost answer; the next change may then replace it.
   */
  recognise(content) {
    const stored = this.known.find((one) => said(one) === said(content));
    if (stored) this.settle(content.version, stored);
    return Boolean(stored);
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

  /** Undoes a change, or removes the last stroke of an earlier page. */
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
   * Removes strokes of deleted classes from all states, so that undo does not
   * restore them; returns how many are no longer shown.
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

  /** Returns the content for the server, and records that it may be stored. */
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
 * Returns a line with fewer points, at most `tolerance` pixels away from the
 * given one (Ramer, 1972; Douglas and Peucker, 1973).
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

/** Whether a stroke lies beside the picture and draws nothing. */
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
