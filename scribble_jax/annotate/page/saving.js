/**
 * Brings drawings to the server's disk, one request at a time for each picture,
 * and tries again until it succeeds. What is not saved yet is also kept by the
 * browser, so that a reload while the server is away loses nothing.
 */

import * as api from './api.js';

const RETRY = 1000;  // Milliseconds.
const KEY = 'scribble_jax.unsaved.';

/** Returns what a drawing says, whatever its version. */
export const said = ({strokes, nothing, imported}) => JSON.stringify([
  nothing, imported,
  strokes.map(({class: label, width, points}) => [label, width, points])]);

export class Saver {
  /**
   * `tell(state, text)` hears of saved, saving, offline, conflict and refused;
   * `saved(id, version)` of each version that is on the disk;
   * `conflict(id, content)` of a drawing of another tab.
   */
  constructor({tell, saved, conflict}) {
    Object.assign(this, {tell, saved, conflict});
    this.waiting = new Map();
    this.sent = new Map();
    this.busy = null;
    this.folder = '';
  }

  get isIdle() {
    return !this.busy && this.waiting.size === 0;
  }

  has(id) {
    return Boolean(this.pending(id));
  }

  /** Returns the drawing of a picture that is not saved yet, if any. */
  pending(id) {
    return this.waiting.get(id) ??
        (this.busy === id ? this.saving : undefined);
  }

  key(id) {
    return `${KEY}${this.folder}:${id}`;
  }

  /** Saves a drawing as it is when its turn comes. */
  save(id, drawing) {
    this.keep(id, drawing);
    this.waiting.set(id, drawing);
    this.run();
  }

  /** Gives up what waits for a picture. */
  forget(id) {
    this.waiting.delete(id);
    localStorage.removeItem(this.key(id));
    if (this.isIdle) this.tell('saved', 'Saved');
  }

  /** Returns what an earlier page could not save, if anything. */
  unsaved(id) {
    try {
      return JSON.parse(localStorage.getItem(this.key(id)));
    } catch {
      return null;
    }
  }

  keep(id, drawing) {
    try {
      localStorage.setItem(this.key(id), JSON.stringify(drawing.toJson()));
    } catch { /* It is full; the page still has it. */ }
  }

  async run() {
    if (this.busy) return;
    const [id, drawing] = this.waiting.entries().next().value ?? [];
    if (!id) return;
    this.busy = id;
    this.saving = drawing;
    this.waiting.delete(id);
    this.tell('saving', 'Saving');
    const wasOffline = await this.attempt(id, drawing);
    this.busy = null;
    if (wasOffline) {
      setTimeout(() => this.run(), RETRY);
    } else if (this.waiting.size) {
      this.run();
    }
  }

  /** Tries to save once; returns whether to try again later. */
  async attempt(id, drawing) {
    try {
      const content = drawing.toJson(), earlier = this.sent.get(id);
      this.sent.set(id, said(content));
      const answer = await api.save(id, content);
      if (answer.conflict) {
        if (said(answer.conflict) === earlier) {
          // It was saved, but the answer did not arrive.
          drawing.version = answer.conflict.version;
          if (!this.waiting.has(id)) this.waiting.set(id, drawing);
          return false;
        }
        this.waiting.delete(id);
        this.tell('conflict', 'Changed in another tab');
        this.conflict(id, answer.conflict);
        return false;
      }
      this.sent.delete(id);
      drawing.version = answer.version;
      this.saved(id, answer.version);
      if (!this.waiting.has(id)) localStorage.removeItem(this.key(id));
      if (!this.waiting.size) this.tell('saved', 'Saved');
      return false;
    } catch (error) {
      if (error instanceof api.Refused) {
        this.tell('refused', error.message);
        return false;
      }
      if (!this.waiting.has(id)) this.waiting.set(id, drawing);
      this.tell('offline', 'The server is away – not saved yet, retrying');
      return true;
    }
  }
}
