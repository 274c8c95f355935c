/** Dialogs, notices over the picture, and short messages. */

/**
 * Returns a new element.
 *
 * `properties` are the element's own; those that begin with data- or aria-, and
 * role, become attributes. Texts stay texts: no markup is ever parsed.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(data-|aria-|role)/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Returns a new element of SVG with attributes. */
export function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Returns one of the icons of icons.svg. */
export const icon = (name) =>
  makeSvg('svg', {}, makeSvg('use', {href: `/page/icons.svg#${name}`}));

const dialog = document.getElementById('dialog');
const form = dialog.querySelector('form');

let answer = () => {}, resolve = () => {};

export const isOpen = () => dialog.open;

/** Closes the dialog with an answer. */
export function close(value = '') {
  const finish = resolve;
  resolve = () => {};
  dialog.close();
  finish(value);
}

dialog.addEventListener('cancel', (event) => {
  event.preventDefault();
  close();
});
// This event arrives late, when the next dialog may be open already.
dialog.addEventListener('close', () => dialog.open || close());

/**
 * Shows a dialog; returns the value of the button that closed it, '' for none.
 *
 * `check()`, if given, is awaited before a button with a value closes the
 * dialog; a text that it returns is shown instead.
 */
export function show(content, {wide = false, check = null} = {}) {
  if (dialog.open) close();
  dialog.toggleAttribute('data-wide', wide);
  form.replaceChildren(...content);
  answer = async (value) => {
    const mistake = value && check ? await check(value) : '';
    const shown = form.querySelector('.mistake');
    if (mistake && shown) shown.textContent = mistake;
    else close(value);
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    answer(event.submitter?.value ?? '');
  };
  dialog.showModal();
  return new Promise((finish) => {
    resolve = finish;
  });
}

export const answers = (...buttons) =>
  make('div', {className: 'answers'}, ...buttons);

/** Returns a button that answers a dialog; Enter presses the primary one. */
export const button = (text, value, kind = 'quiet') =>
  make('button', {
    type: kind === 'primary' ? 'submit' : 'button', value, className: kind,
    onclick: kind === 'primary' ? null : () => answer(value)}, text);

/** Asks for a confirmation; returns whether it was given. */
export async function confirm(title, text, doIt, isDangerous = false) {
  return await show([
    make('h1', {}, title), make('p', {}, text),
    answers(button('Cancel', ''),
            button(doIt, 'yes', isDangerous ? 'danger' : 'primary'))
  ]) === 'yes';
}

/** Shows a message for some seconds. */
export function toast(text) {
  const element = make('div', {}, text);
  document.getElementById('toasts').append(element);
  setTimeout(() => element.remove(), 4000);
}

const notices = new Map();

/**
 * Shows a notice over the picture until it is answered or removed. It replaces
 * the one of the same kind.
 */
export function notice(kind, text, choices = []) {
  removeNotice(kind);
  const element = make('div', {className: 'notice', role: 'alert'},
                       make('span', {}, text));
  for (const [label, act] of [...choices, ['Close', () => {}]]) {
    element.append(make('button', {className: 'quiet', onclick: () => {
      element.remove();
      act();
    }}, label));
  }
  document.getElementById('notices').append(element);
  notices.set(kind, element);
}

export const removeNotice = (kind) => notices.get(kind)?.remove();

export function removeNotices() {
  for (const kind of notices.keys()) removeNotice(kind);
}

const KEYS = [
  ['B', 'brush; with Shift a straight stroke'], ['L', 'straight stroke'],
  ['E', 'eraser; with Shift a whole stroke'], ['H', 'move; or hold Space'],
  ['1 … 9, 0', 'class'], ['C', 'add a class'],
  ['R', 'change the chosen class'], ['[ ]', 'smaller, larger brush'],
  ['Ctrl Z', 'undo'], ['Ctrl Shift Z', 'redo; also Ctrl Y'],
  ['X', 'nothing of the classes here'], ['Delete', 'remove all strokes'],
  ['N P', 'next, previous picture; also Page keys'],
  ['G', 'the picture with the least certain mask'], ['+ −', 'zoom'],
  ['F', 'whole picture'], ['Z', '100 %; with Shift 300 %'],
  ['M', 'compute the mask now'],
  ['V', 'mask, sure, unsure, none'], ['A', 'a mask after each stroke'],
  ['O', 'show and hide strokes'], ['T', 'train and predict'],
  ['Y', 'export'], ['← ↑ → ↓', 'move the pen; with Shift faster'],
  ['Enter', 'pen down and up'], ['Esc', 'discard the stroke'],
  ['?', 'these keys']];

/** Shows all keys. */
export const help = () => show([
  make('h1', {}, 'Keys'),
  make('div', {className: 'keys'}, ...KEYS.map(([keys, text]) => make(
      'div', {}, make('span', {}, ...keys.split(' ').map(
          (key) => /^(…|,)$/.test(key) ? key : make('kbd', {}, key))),
      make('span', {}, text)))),
  make('p', {}, 'Wheel or two fingers: zoom. Middle button, Space or two ' +
       'fingers: move. Each stroke is on the disk before the page says saved.'),
  answers(button('Close', '', 'primary'))], {wide: true});
