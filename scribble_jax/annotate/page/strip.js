/** The strip of thumbnails; only visible ones are created. */

import * as api from './api.js';
import {make} from './dialogs.js';

const STEP = 112, LEFT = 10;  // Pixels.

export class Strip {
  constructor(open) {
    this.open = open;
    this.strip = document.getElementById('strip');
    this.rail = document.getElementById('rail');
    this.pictures = [];
    this.current = -1;
    this.shown = new Map();
    this.strip.addEventListener('scroll', () => this.draw());
    this.strip.addEventListener('wheel', (event) => {
      if (!event.deltaX) this.strip.scrollLeft += event.deltaY;
    }, {passive: true});
    new ResizeObserver(() => this.draw()).observe(this.strip);
  }

  /** Returns the position of a picture, -1 if there is none. */
  find(id) {
    return this.pictures.findIndex(([one]) => one === id);
  }

  /** Loads a list of [id, 1 if drawn + 2 if predicted] for all pictures. */
  load(pictures) {
    const id = this.pictures[this.current]?.[0];
    this.pictures = pictures;
    this.current = this.find(id);  // Its position may have changed.
    this.rail.style.width = `${2 * LEFT + STEP * pictures.length}px`;
    this.rail.replaceChildren();
    this.shown.clear();
    this.draw();
  }

  /** Marks whether a picture has strokes. */
  mark(index, isDrawn) {
    const picture = this.pictures[index];
    picture[1] = (picture[1] & ~1) | Number(isDrawn);
    this.shown.get(index)?.setAttribute('data-drawn', String(picture[1] & 1));
    if (this.shown.has(index)) this.label(this.shown.get(index), picture);
  }

  go(index) {
    this.current = index;
    const left = LEFT + index * STEP;
    const {scrollLeft, clientWidth} = this.strip;
    if (left < scrollLeft + STEP / 2 ||
        left + 1.5 * STEP > scrollLeft + clientWidth) {
      this.strip.scrollLeft = left - (clientWidth - STEP) / 2;
    }
    this.draw();
  }

  draw() {
    const first = Math.max(
        0, Math.floor((this.strip.scrollLeft - LEFT) / STEP) - 2);
    const last = Math.min(this.pictures.length, Math.ceil(
        (this.strip.scrollLeft + this.strip.clientWidth) / STEP) + 2);
    for (const [index, element] of this.shown) {
      if (index >= first && index < last) continue;
      element.remove();
      this.shown.delete(index);
    }
    for (let index = first; index < last; index++) {
      if (!this.shown.has(index)) this.add(index);
      this.shown.get(index).setAttribute(
          'aria-current', String(index === this.current));
    }
  }

  add(index) {
    const [id] = this.pictures[index];
    const element = make('button', {
      className: 'thumb', title: id, tabIndex: -1,
      onclick: () => this.open(index)},
    make('img', {src: api.thumbnail(id), alt: '', draggable: false}),
    make('i'));
    element.style.left = `${LEFT + index * STEP}px`;
    this.label(element, this.pictures[index]);
    this.shown.set(index, element);
    this.rail.append(element);
  }

  label(element, [id, state]) {
    element.setAttribute('data-drawn', String(state & 1));
    element.setAttribute('data-predicted', String(state >> 1));
    element.querySelector('i').textContent = state & 1 ? '✓' : '◆';
    element.setAttribute('aria-label', `${id}${
      state & 1 ? ', drawn' : state ? ', predicted' : ''}`);
  }
}
