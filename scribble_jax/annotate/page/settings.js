/** The settings that the browser stores across pictures and reloads. */

const KEY = 'scribble_jax.settings';
const DEFAULTS = {
  tool: 'brush', size: 0, label: 0, view: 'mask', opacity: 50, ink: 100,
  live: true, theme: '', picture: ''};
const listeners = [];

function read() {
  try {
    return {...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) || '{}')};
  } catch {
    return {...DEFAULTS};
  }
}

export const settings = read();

/** Changes settings, stores them and calls the listeners. */
export function set(changes) {
  Object.assign(settings, changes);
  localStorage.setItem(KEY, JSON.stringify(settings));
  for (const listener of listeners) listener(changes);
}

/** Calls a function with the changes of each `set`. */
export const listen = (listener) => listeners.push(listener);
