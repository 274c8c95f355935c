/** Buttons, sliders and the state line; they show and change the settings. */

import {listen, set, settings} from './settings.js';

const SMALLEST = 1, LARGEST = 400;  // Pixels of the brush.
const VIEWS = ['mask', 'probability', 'uncertainty', 'none'];
const THEMES = ['', 'light', 'dark'];
const byId = (id) => document.getElementById(id);

const toSlider = (size) =>
  100 * Math.log(size / SMALLEST) / Math.log(LARGEST / SMALLEST);
const fromSlider = (value) => {
  const size = SMALLEST * (LARGEST / SMALLEST) ** (value / 100);
  return size < 10 ? Math.round(size * 2) / 2 : Math.round(size);
};

/** Makes the brush larger or smaller by some steps. */
export function changeSize(steps) {
  const size = fromSlider(Math.min(100, Math.max(
      0, toSlider(settings.size) + 4 * steps)));
  set({size: size === settings.size ?
    Math.min(LARGEST, Math.max(SMALLEST, size + steps)) : size});
}

export const nextView = () => set(
    {view: VIEWS[(VIEWS.indexOf(settings.view) + 1) % VIEWS.length]});
export const nextTheme = () => set(
    {theme: THEMES[(THEMES.indexOf(settings.theme) + 1) % THEMES.length]});

/** Shows the state of saving. */
export function tell(state, text) {
  byId('state').dataset.state = state;
  byId('state').querySelector('span').textContent = text;
  byId('state').title = text;
}

/** Sets an attribute of the buttons to whether they have the setting. */
function mark(setting, attribute) {
  for (const button of document.querySelectorAll(`[data-${setting}]`)) {
    button.setAttribute(
        attribute, String(button.dataset[setting] === settings[setting]));
  }
}

function show() {
  byId('size').value = toSlider(settings.size || 1);
  byId('size-text').textContent = `${settings.size} px`;
  for (const name of ['opacity', 'ink']) {
    byId(name).value = settings[name];
    byId(`${name}-text`).textContent = `${settings[name]} %`;
  }
  byId('live-mask').checked = settings.live;
  byId('live').dataset.tool = settings.tool;
  mark('tool', 'aria-pressed');
  mark('view', 'aria-checked');
  if (settings.theme) document.documentElement.dataset.theme = settings.theme;
  else delete document.documentElement.dataset.theme;
}

/** Connects the page's controls; `does` are the actions by name. */
export function connect(does) {
  for (const button of document.querySelectorAll('button')) {
    const {do: action, tool, view} = button.dataset;
    const act = action ? () => does[action]() : tool ? () => does.tool(tool) :
      () => set({view});
    button.addEventListener('click', act);
  }
  byId('size').addEventListener('input', (event) => set(
      {size: fromSlider(Number(event.target.value))}));
  for (const name of ['opacity', 'ink']) {
    byId(name).addEventListener('input', (event) => set(
        {[name]: Number(event.target.value)}));
  }
  byId('live-mask').addEventListener('change', () => does['live-mask']());
  // After a press on a control, keys must still reach the picture.
  for (const control of document.querySelectorAll('button, input')) {
    control.addEventListener('pointerup', () => setTimeout(
        () => document.activeElement === control && control.blur()));
  }
  listen(show);
  show();
}
