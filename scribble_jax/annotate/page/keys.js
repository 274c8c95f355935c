/** The keyboard: the action of each key. */

import {isOpen} from './dialogs.js';

const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1],
                ArrowDown: [0, 1]};

// A dialog may keep the focus for a moment after it was closed.
const controlOf = (target) =>
  target.closest?.('dialog') ? null : target.closest?.('button, input, a');

/** Listens to keys; `does` has a function for each action, `pen` is a Pen. */
export function listen(does, pen) {
  const plain = {
    b: () => does.tool('brush'), l: () => does.tool('line'),
    e: () => does.tool('eraser'), h: () => does.tool('hand'),
    n: does.next, p: does.previous, PageDown: does.next,
    PageUp: does.previous, g: does['least-sure'], x: does.nothing,
    f: does.fit, z: () => does.scale(1), Z: () => does.scale(3),
    m: does.mask, v: does.view, a: does['live-mask'],
    o: does['hide-strokes'], t: does.train, y: does.export,
    c: does['add-class'], r: does['edit-class'], '?': does.help,
    '[': () => does.size(-1), ']': () => does.size(1),
    '+': () => does.zoom(1.25), '=': () => does.zoom(1.25),
    '-': () => does.zoom(0.8), Delete: does.clear, Backspace: does.clear,
    Escape: does.drop,
  };

  addEventListener('keydown', (event) => {
    if (isOpen()) return;
    if (event.ctrlKey || event.metaKey) {
      const key = event.key.toLowerCase();
      const does_it = key === 'y' || (key === 'z' && event.shiftKey) ?
        does.redo : key === 'z' ? does.undo : null;
      if (does_it) {
        event.preventDefault();
        does_it();
      }
      return;
    }
    if (event.altKey) return;
    const onControl = controlOf(event.target);
    if (event.key === ' ' && !onControl) {
      event.preventDefault();
      if (!pen.holdsSpace) {
        pen.holdsSpace = true;
        pen.refresh();
      }
    } else if (ARROWS[event.key] && !onControl?.matches('input')) {
      event.preventDefault();
      pen.step(...ARROWS[event.key], event.shiftKey);
    } else if (event.key === 'Enter' && !onControl) {
      event.preventDefault();
      pen.press();
    } else if (/^\d$/.test(event.key)) {
      does.class((Number(event.key) + 9) % 10);
    } else {
      const act = plain[event.key] ?? plain[event.key.toLowerCase()];
      if (act) {
        event.preventDefault();
        act();
      }
    }
  });
  addEventListener('keyup', (event) => {
    if (event.key === ' ') pen.holdsSpace = false;
  });
  addEventListener('blur', () => {
    pen.holdsSpace = false;
  });
}
