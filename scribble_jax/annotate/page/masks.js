/**
 * Requests masks, one at a time and only for the last picture, and draws them
 * in the classes' colours. The old mask stays until the new one arrives.
 */

import * as api from './api.js';
import * as bitmaps from './bitmaps.js';

const BACKGROUND = 0.35;  // Opacity of the background; other classes have 1.
const RETRY = 1500;  // Milliseconds.

export class Masks {
  /**
   * `changed(mask, state, id)` is called with each mask and state text; `mask`
   * is undefined if it stays the same.
   */
  constructor(changed) {
    this.changed = changed;
    this.wanted = null;
    this.busy = false;
    this.last = null;
  }

  /** Forgets the mask that is shown. */
  clear() {
    this.last = this.wanted = null;
  }

  /** Asks for the mask of a picture as its strokes are now. */
  ask(id) {
    this.wanted = id;
    this.run();
  }

  async run() {
    if (this.busy || !this.wanted) return;
    const id = this.wanted;
    this.wanted = null;
    this.busy = true;
    this.changed(undefined, 'Computing the mask …');
    const start = performance.now();
    try {
      const answer = await api.mask(id);
      if (this.wanted === null || this.wanted === id) this.take(
          id, answer, performance.now() - start);
    } catch (error) {
      if (error instanceof api.Unreachable) {
        setTimeout(() => this.ask(this.wanted ?? id), RETRY);
      }
      const isAnswer = [api.Refused, api.Unwritten].some(
          (kind) => error instanceof kind);
      this.changed(undefined, isAnswer ? error.message : 'The server is away.');
    }
    this.busy = false;
    this.run();
  }

  take(id, answer, milliseconds) {
    if (answer.reason) {
      this.last = null;
      this.changed(null, answer.reason, id);
      return;
    }
    this.last = {id, ...answer};
    this.changed(this.last, answer.isPrediction ?
      'The network’s prediction. Correct it by strokes.' :
      `Computed in ${(milliseconds / 1000).toFixed(1)} s`, id);
  }
}

/** Returns the canvas of a mask in one of the views, null for 'none'. */
export function paint(mask, view, colour) {
  if (!mask || view === 'none') return null;
  const {width, height, labels} = mask;
  if (view === 'mask') {
    return bitmaps.paint(width, height, labels, classTable(labels, colour),
                         (pixels) => outline(labels, width, height, pixels));
  }
  return bitmaps.paint(
      width, height, view === 'probability' ? mask.probability : mask.certainty,
      ramp(view));
}

function classTable(labels, colour) {
  const table = new Uint32Array(256);
  for (const label of new Set(labels)) {
    table[label] = bitmaps.packed(
        bitmaps.rgb(colour(label)), label ? 1 : BACKGROUND);
  }
  return table;
}

/**
 * Returns the colour table of a view: dark is improbable in one view, and
 * certain in the other.
 */
function ramp(view) {
  const stops = view === 'probability' ?
    [[68, 1, 84], [49, 104, 142], [53, 183, 121], [253, 231, 37]] :
    [[255, 240, 120], [250, 120, 60], [150, 30, 110], [20, 10, 50]];
  return Uint32Array.from({length: 256}, (_, value) => {
    const at = value / 255 * (stops.length - 1);
    const left = Math.min(Math.floor(at), stops.length - 2);
    return bitmaps.packed(stops[left].map((from, channel) => Math.round(
        from + (stops[left + 1][channel] - from) * (at - left))));
  });
}

/** Makes the pixels on the borders of classes white. */
function outline(labels, width, height, pixels) {
  for (let y = 0; y < height - 1; y++) {
    for (let x = 0, i = y * width; x < width - 1; x++, i++) {
      if (labels[i] !== labels[i + 1] || labels[i] !== labels[i + width]) {
        pixels[i] = 0xffffffff;
      }
    }
  }
}
