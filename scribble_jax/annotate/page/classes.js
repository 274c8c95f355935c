/** The palette of classes: choose, add, rename, recolour, delete. */

import * as api from './api.js';
import {
  answers, button, confirm, icon, make, show, toast,
} from './dialogs.js';
import {set, settings} from './settings.js';

const list = document.getElementById('class-list');

const nameInput = (value = '') => make('input', {
  type: 'text', maxLength: 60, required: true, autocomplete: 'off',
  name: 'name', value});

export class Classes {
  /** `changed(isDeleted)` is called after each change. */
  constructor(changed) {
    this.changed = changed;
    this.all = [];
  }

  load(classes) {
    this.all = classes;
    if (!classes.some((one) => one.id === settings.label)) {
      set({label: (classes[1] ?? classes[0]).id});
    }
    this.draw();
  }

  colour(label) {
    return this.all.find((one) => one.id === label)?.colour ?? '#888888';
  }

  get labels() {
    return new Set(this.all.map((one) => one.id));
  }

  get chosen() {
    return this.all.find((one) => one.id === settings.label);
  }

  choose(index) {
    if (!this.all[index]) return;
    const isPen = ['brush', 'line'].includes(settings.tool);
    set({label: this.all[index].id, tool: isPen ? settings.tool : 'brush'});
    this.draw();
  }

  draw() {
    list.replaceChildren(...this.all.map((one, index) => {
      const isChosen = one.id === settings.label;
      const swatch = make('span', {className: 'swatch'});
      swatch.style.background = one.colour;
      const item = make('li', {}, make('button', {
        onclick: () => this.choose(index), 'aria-pressed': String(isChosen),
      }, swatch, make('span', {className: 'name', title: one.name}, one.name),
      index < 10 ? make('kbd', {}, String((index + 1) % 10)) : null),
      make('button', {
        onclick: () => this.edit(one), title: `Change ${one.name} (R)`,
        'aria-label': `Change ${one.name}`}, icon('edit')));
      item.toggleAttribute('data-chosen', isChosen);
      return item;
    }));
    list.querySelector('[data-chosen]')?.scrollIntoView({block: 'nearest'});
  }

  /** Sends a change; returns what is wrong with it, or ''. */
  async change(change) {
    try {
      const {palette} = await api.changeClasses(change);
      const known = new Set(this.all.map((one) => one.id));
      const added = palette.find((one) => !known.has(one.id));
      if (added) set({label: added.id, tool: settings.tool === 'line' ?
                      'line' : 'brush'});
      this.load(palette);
      this.changed(change.change === 'delete');
      return '';
    } catch (error) {
      return error.message;
    }
  }

  async add() {
    const name = nameInput();
    await show([
      make('h1', {}, 'Add a class'),
      make('label', {className: 'field'}, 'Name', name),
      make('p', {className: 'mistake'}),
      answers(button('Cancel', ''),
              button('Add', 'add', 'primary'))],
    {check: () => this.change({change: 'add', name: name.value})});
  }

  async edit(one) {
    const name = nameInput(one.name);
    const colour = make('input', {
      type: 'color', value: one.colour, name: 'colour'});
    const buttons = [button('Cancel', ''), button('Save', 'save', 'primary')];
    if (one.id) buttons.unshift(button('Delete …', 'delete', 'danger'));
    const answer = await show([
      make('h1', {}, 'Change a class'),
      make('label', {className: 'field'}, 'Name', name),
      make('label', {className: 'field'}, 'Colour', colour),
      make('p', {className: 'mistake'}), answers(...buttons)],
    {check: (value) => value === 'delete' ? '' : this.change({
      change: 'edit', id: one.id, name: name.value, colour: colour.value})});
    if (answer === 'delete') await this.delete(one);
  }

  async delete(one) {
    const found = await api.changeClasses({change: 'count', id: one.id})
        .catch((error) => toast(error.message));
    if (!found) return;
    const {strokes, pictures} = found;
    const count = (number, what) => `${number} ${what}${number > 1 ? 's' : ''}`;
    const what = strokes ? `Its ${count(strokes, 'stroke')} on ${
      count(pictures, 'picture')} will be deleted too. ` : '';
    if (await confirm(`Delete ${one.name}?`, `${what}This cannot be undone.`,
                      'Delete', true)) {
      const mistake = await this.change({change: 'delete', id: one.id});
      if (mistake) {  // A part of the strokes may be deleted.
        toast(mistake);
        this.changed(true);
      }
    }
  }
}
