/** Unsaved strokes: saves them, or asks the user what to do with them. */

import * as api from './api.js';
import {notice, removeNotice, toast} from './dialogs.js';
import {Drawing, said} from './drawing.js';
import {settings} from './settings.js';

export class Unsaved {
  /**
   * `page` has show(drawing), which shows a drawing if it is the current one,
   * reload(), which loads pictures and classes again, and open(id).
   */
  constructor(saver, classes, page) {
    Object.assign(this, {saver, classes, page});
    this.elsewhere = [];  // Ids of pictures with strokes of other pages.
  }

  /** Saves the strokes of earlier pages on all pictures but the current one. */
  async resume(pictures) {
    const there = new Set(pictures.map(([id]) => id));
    const left = new Set(this.saver.left().map(({id}) => id));
    this.elsewhere = [...left].filter((id) => there.has(id));
    for (const id of this.elsewhere) {
      const {document: content} = await api.picture(id).catch(() => ({}));
      if (content && id !== settings.picture && !this.saver.has(id)) {
        this.restore(new Drawing(id, content));
      }
    }
    this.tellElsewhere();
  }

  /** Adds strokes that other pages could not save. */
  restore(drawing) {
    for (const {key, content} of this.saver.left()
        .filter(({id}) => id === drawing.id)) {
      if (said(content) === said(drawing.now)) {
        localStorage.removeItem(key);  // Only the answer was lost.
      } else if (content.version === drawing.version &&
                 !this.saver.has(drawing.id)) {
        localStorage.removeItem(key);
        const {strokes, nothing, imported} = content;
        drawing.change({strokes, nothing, imported});
        this.saver.save(drawing);
      } else if (drawing.id === settings.picture) {
        notice(key, 'An earlier page could not save its strokes on this ' +
               'picture.', [
          ['Put them on top', () => {
            localStorage.removeItem(key);
            this.putOnTop(drawing, content);
          }],
          ['Forget them', () => localStorage.removeItem(key)]]);
      }
    }
  }

  /** Adds the strokes of another drawing that are missing in this one. */
  putOnTop(drawing, {strokes, nothing}) {
    const known = new Set(drawing.strokes.map((one) => JSON.stringify(one)));
    const missing = strokes.filter((one) => !known.has(JSON.stringify(one)));
    drawing.change({strokes: [...drawing.strokes, ...missing],
                    nothing: drawing.now.nothing || nothing});
    this.saver.save(drawing);
    this.page.show(drawing);
  }

  /** Shows why a drawing is not saved, and offers the choices. */
  async failed(drawing, text, theirs) {
    const {id} = drawing;
    if (!theirs) {
      await this.page.reload();  // Classes may have been deleted elsewhere.
      if (!this.saver.stuck.has(id)) return;
    }
    if (id !== settings.picture) {
      this.tellElsewhere();
    } else if (!theirs) {
      notice('failed', `Your last change is not saved. ${text}`);
    } else {
      notice('failed', 'Another tab has changed this picture. Your last ' +
             'change is not saved.', [
        ['Show theirs', () => {
          drawing.load(theirs);
          this.saver.forget(id);
          this.page.show(drawing);
        }],
        ['Put mine on top', () => {
          const mine = drawing.now;
          drawing.load(theirs);
          this.putOnTop(drawing, mine);
        }]]);
    }
  }

  /** Names the pictures with unsaved strokes, except the current one. */
  tellElsewhere() {
    removeNotice('elsewhere');
    const left = new Set(this.saver.left().map(({id}) => id));
    const ids = [...new Set([
      ...this.saver.stuck.keys(), ...this.elsewhere.filter(
          (id) => left.has(id))])].filter((id) => id !== settings.picture);
    if (!ids.length) return;
    notice('elsewhere', `Some strokes are not saved: on ${ids.join(', ')}.`,
           [[`Open ${ids[0]}`, () => this.page.open(ids[0])]]);
  }

  /** Removes the strokes of deleted classes and shows how many they were. */
  leaveOut(drawing) {
    const count = drawing.keepOnly(this.classes.labels);
    if (!count) return;
    toast(`${count} stroke${count > 1 ? 's' : ''} on ${drawing.id} left out: ` +
          'the class was deleted.');
    if (this.saver.has(drawing.id)) this.saver.save(drawing);
  }
}
