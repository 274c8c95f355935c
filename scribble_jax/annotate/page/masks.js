/**
 * Masks: asked for one at a time, the last picture first, and drawn in the
 * classes' colours. The old mask stays until the new one is there.
 */

import * as api from './api.js';

const BACKGROUND = 0.35;  // How opaque it is, beside other classes.
const RETRY = 1500;  // Milliseconds.

const rgb = (colour) => [1, 3, 5].map(
    (start) => parseInt(colour.slice(start, start + 2), 16));

export class Masks {
  /** `changed(mask, state)` hears of masks, and of texts about them. */
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
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  const table = view === 'mask' ? classTable(labels, colour) : ramp(view);
  const values = {mask: labels, probability: mask.probability,
                  uncertainty: mask.certainty}[view];
  for (let i = 0; i < values.length; i++) out[i] = table[values[i]];
  if (view === 'mask') outline(labels, width, height, out);
  context.putImageData(image, 0, 0);
  return canvas;
}

const packed = ([red, green, blue], opacity) =>
  (Math.round(opacity * 255) << 24 | blue << 16 | green << 8 | red) >>> 0;

function classTable(labels, colour) {
  const table = new Uint32Array(256);
  for (const label of new Set(labels)) {
    table[label] = packed(rgb(colour(label)), label ? 1 : BACKGROUND);
  }
  return table;
}

/** Dark is unsure: violet over red to a clear yellow. */
function ramp(view) {
  const stops = view === 'probability' ?
    [[68, 1, 84], [49, 104, 142], [53, 183, 121], [253, 231, 37]] :
    [[255, 240, 120], [250, 120, 60], [150, 30, 110], [20, 10, 50]];
  return Uint32Array.from({length: 256}, (_, value) => {
    const at = value / 255 * (stops.length - 1);
    const left = Math.min(Math.floor(at), stops.length - 2);
    return packed(stops[left].map((from, channel) => Math.round(
        from + (stops[left + 1][channel] - from) * (at - left))), 1);
  });
}

/** Makes the pixels on the borders of classes opaque and lighter. */
function outline(labels, width, height, out) {
  for (let y = 0; y < height - 1; y++) {
    for (let x = 0, i = y * width; x < width - 1; x++, i++) {
      if (labels[i] !== labels[i + 1] || labels[i] !== labels[i + width]) {
        out[i] = 0xffffffff;
      }
    }
  }
}
