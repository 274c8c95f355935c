/**
 * Saves drawings on the server, one request at a time, and retries until it
 * succeeds. The browser also stores unsaved drawings, so that a reload while
 * the server is away loses nothing. Each page stores its own copies and never
 * overwrites those of another one.
 */

import * as api from './api.js';

const RETRY = 1000, RETRY_WRITING = 5000;  // Milliseconds.
const KEY = 'scribble_jax.kept.';
const PAGE = crypto.getRandomValues(new Uint32Array(2)).join('-');

export class Saver {
  /**
   * `tell(state, text)` is called with the states saved, saving, offline and
   * refused; `saved(id, version)` with each saved version;
   * `failed(drawing, text, theirs)` with a drawing that the server refuses, or
   * that somebody else has changed to `theirs`.
   */
  constructor({tell, saved, failed}) {
    Object.assign(this, {tell, saved, failed});
    this.waiting = new Map();  // Drawings by id.
    this.stuck = new Map();  // Drawings that a retry cannot save.
    this.busy = null;
    this.trouble = '';
    this.folder = '';
  }

  /** All drawings that are not saved. */
  get drawings() {
    return [...this.waiting.values(), ...this.stuck.values(),
            ...(this.busy ? [this.busy] : [])];
  }

  get isIdle() {
    return !this.drawings.length;
  }

  /** Returns the drawing of a picture that is not saved yet, if any. */
  pending(id) {
    return this.drawings.find((one) => one.id === id);
  }

  has(id) {
    return Boolean(this.pending(id));
  }

  /** Saves a drawing, in its state when the request is sent. */
  save(drawing) {
    this.keep(drawing);
    this.stuck.delete(drawing.id);
    this.waiting.set(drawing.id, drawing);
    this.run();
  }

  /** Discards the unsaved drawing of a picture. */
  forget(id) {
    this.waiting.delete(id);
    this.stuck.delete(id);
    localStorage.removeItem(this.key(id));
    this.report();
  }

  key(id) {
    return KEY + JSON.stringify([this.folder, id, PAGE]);
  }

  keep(drawing) {
    try {
      localStorage.setItem(
          this.key(drawing.id), JSON.stringify(drawing.toJson()));
    } catch { /* The storage is full; the page still has the drawing. */ }
  }

  /** Returns {id, key, content} of the unsaved drawings of other pages. */
  left() {
    return Object.keys(localStorage).filter((key) => key.startsWith(KEY))
        .map((key) => [key, ...JSON.parse(key.slice(KEY.length))])
        .filter(([, folder, , page]) => folder === this.folder && page !== PAGE)
        .map(([key, , id]) => (
          {id, key, content: JSON.parse(localStorage.getItem(key))}));
  }

  report() {
    if (this.trouble) {
      this.tell('offline', this.trouble);
    } else if (this.stuck.size) {
      this.tell('refused', `Not saved: ${[...this.stuck.keys()].join(', ')}`);
    } else {
      this.tell(...this.isIdle ? ['saved', 'Saved'] : ['saving', 'Saving']);
    }
  }

  async run() {
    if (this.busy || !this.waiting.size) return;
    clearTimeout(this.timer);
    [this.busy] = this.waiting.values();
    this.waiting.delete(this.busy.id);
    this.report();
    const pause = await this.attempt(this.busy);
    this.busy = null;
    this.report();
    if (pause) this.timer = setTimeout(() => this.run(), pause);
    else this.run();
  }

  /** Tries to save once; returns how long to wait before the next time. */
  async attempt(drawing) {
    const {id, now} = drawing;
    try {
      const {version, conflict} = await api.save(id, drawing.send());
      this.trouble = '';
      if (conflict && !drawing.recognise(conflict)) {
        this.fail(drawing, '', conflict);
        return 0;
      }
      if (!conflict) drawing.settle(version, now);
      if (drawing.isSaved) {
        this.forget(id);
      } else {
        this.keep(drawing);
        this.waiting.set(id, drawing);
      }
      this.saved(id, drawing.version);
    } catch (error) {
      if (error instanceof api.Refused) {
        this.trouble = '';
        this.fail(drawing, error.message);
        return 0;
      }
      this.waiting.set(id, drawing);
      const isUnwritten = error instanceof api.Unwritten;
      this.trouble = isUnwritten ? `Not saved yet, retrying: ${error.message}` :
        'The server is away – not saved yet, retrying';
      return isUnwritten ? RETRY_WRITING : RETRY;
    }
    return 0;
  }

  /** Records a drawing as stuck, unless a later state will be tried. */
  fail(drawing, text, theirs) {
    if (drawing.isSaved) {
      this.forget(drawing.id);  // The change was undone in the meantime.
    } else if (!this.waiting.has(drawing.id)) {
      this.stuck.set(drawing.id, drawing);
      this.failed(drawing, text, theirs);
    }
  }
}
