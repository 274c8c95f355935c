/** The page: opens pictures and connects all parts. */

import * as api from './api.js';
import * as bitmaps from './bitmaps.js';
import {Classes} from './classes.js';
import * as controls from './controls.js';
import * as dialogs from './dialogs.js';
import {Drawing, isOutside, strokeAt} from './drawing.js';
import {listen as listenToKeys} from './keys.js';
import {Masks, paint} from './masks.js';
import {Pen} from './pen.js';
import {Saver} from './saving.js';
import {Scene} from './scene.js';
import {listen, set, settings} from './settings.js';
import {Strip} from './strip.js';
import {Training, offerExport} from './training.js';
import {Unsaved} from './unsaved.js';

const FIRST_STEP = 'Add a class, and draw a stroke of it and one of the ' +
  'background.';
const byId = (id) => document.getElementById(id);
const scene = new Scene(byId('scene'), byId('live'));
const strip = new Strip((index) => open(index));
const tabs = new BroadcastChannel('scribble_jax');
let training, drawing = null, importedLabels = null, opened = 0;

const classes = new Classes((isDeleted) => {
  if (isDeleted) reload();
  repaint();
  tabs.postMessage({classes: true});
});
const masks = new Masks((mask, state, id) => {
  byId('mask-state').textContent = state;
  if (mask === undefined || id !== drawing?.id) return;
  showMask();
  hint(mask ? '' : classes.all.length < 2 ? FIRST_STEP : state);
  scene.draw();
});
const pen = new Pen(scene, {
  ready: () => {
    if (drawing && classes.all.length < 2 && settings.tool !== 'eraser') {
      classes.add();
      return false;
    }
    return drawing !== null;
  },
  finish: (stroke) => isOutside(stroke, scene.camera.picture) ?
    dialogs.toast('That stroke is outside the picture.') :
    change(() => drawing.add(stroke)),
  pick: (point) => {
    const index = strokeAt(drawing.strokes, point, 4 / scene.camera.scale);
    if (index >= 0) change(() => drawing.remove(index));
  },
});
const saver = new Saver({
  tell: controls.tell,
  saved: (id, version) => {
    tabs.postMessage({saved: id, version});
    if (id !== settings.picture) {
      unsaved.tellElsewhere();
      return;
    }
    dialogs.removeNotice('failed');
    if (settings.live) masks.ask(id);
    else byId('mask-state').textContent = 'The mask is older than the strokes.';
  },
  failed: (...why) => unsaved.failed(...why),
});
const unsaved = new Unsaved(saver, classes, {
  reload,
  open: (id) => open(strip.find(id)),
  show: (one) => one === drawing && present(),
});
const colour = scene.colour = (label) => classes.colour(label);
scene.afterwards = () => {
  byId('zoom').textContent = `${Math.round(scene.camera.scale * 100)} %`;
};

function hint(text) {
  byId('hint').textContent = text;
  byId('hint').hidden = !text;
}

/** Shows a picture and its strokes. */
async function open(index) {
  if (!strip.pictures[index]) return;
  pen.drop();
  const turn = ++opened, [id] = strip.pictures[index];
  const before = saver.pending(id);
  drawing = null;
  document.body.dataset.picture = '';
  dialogs.removeNotices();
  hint('');
  byId('broken').hidden = true;
  byId('mask-state').textContent = '';
  importedLabels = null;
  masks.clear();
  strip.go(index);
  set({picture: id});
  unsaved.tellElsewhere();
  byId('picture-name').textContent = byId('picture-name').title = id;
  showPosition();
  scene.close();
  let content;
  try {
    content = await api.picture(id);
  } catch (error) {
    if (turn === opened) showBroken(error.message);
    return;
  }
  if (turn !== opened) return;
  if (content.error) {
    showBroken(`It ${content.error}.`);
    return;
  }
  if (!settings.size) {
    set({size: Math.max(3, Math.round(
        Math.max(content.width, content.height) / 80))});
  }
  scene.open(content.width, content.height);
  // `before` may have been saved in the meantime, so that the answer is older.
  drawing = saver.pending(id) ?? (
    before?.version >= content.document.version ? before :
      new Drawing(id, content.document));
  unsaved.restore(drawing);
  if (saver.stuck.has(id)) saver.save(drawing);  // Shows the reason again.
  present();
  document.body.dataset.picture = id;
  tabs.postMessage({opened: id});
  await Promise.all([showPhotograph(id, turn), showImported(id, turn)]);
}

async function showPhotograph(id, turn) {
  try {
    const bitmap = await createImageBitmap(await api.photograph(id));
    if (turn === opened) {
      await scene.show(bitmap, () => turn === opened);
    } else {
      bitmap.close();
    }
  } catch (error) {
    if (turn === opened) showBroken(error.message);
  }
}

async function showImported(id, turn) {
  if (!drawing.now.imported) return;
  const found = await bitmaps.read(await api.imported(id));
  if (turn !== opened) return;
  importedLabels = found;
  show();
}

function showPosition() {
  byId('position').textContent =
    `${strip.current + 1} / ${strip.pictures.length}`;
}

function showBroken(reason) {
  drawing = null;
  scene.close();
  byId('broken').hidden = false;
  byId('broken').querySelector('p').textContent = reason;
}

/** Shows the drawing as it is now. */
function show() {
  const {strokes, nothing, imported} = drawing.now;
  scene.strokes = strokes;
  scene.isNothing = nothing;
  scene.imported = imported && importedLabels ?
    bitmaps.paintLabels(importedLabels, classes.all) : null;
  scene.draw();
  const set = (name, isOff) => {
    document.querySelector(`[data-do="${name}"]`).disabled = isOff;
  };
  set('undo', !drawing.canUndo);
  set('redo', !drawing.future.length);
  document.querySelector('[data-do="nothing"]').setAttribute(
      'aria-pressed', String(nothing));
  strip.mark(strip.current, strokes.length || nothing || imported);
}

/** Shows the drawing, which is another one now, and its mask. */
function present() {
  show();
  masks.ask(drawing.id);
}

/** Changes the drawing, shows it and saves it. */
function change(act) {
  if (!drawing) return;
  if (act() === false) return;
  show();
  saver.save(drawing);
}

tabs.onmessage = async ({data}) => {
  if (data.classes) await reload();
  const id = data.opened ?? data.saved ?? data.here;
  if (!drawing || id !== drawing.id) return;
  if (data.opened) tabs.postMessage({here: id});
  if (data.opened || data.here) {
    dialogs.notice('tabs', 'This picture is open in another tab too. ' +
                   'Draw in one of them.');
  }
  if (data.saved && data.version > drawing.version && await refresh()) {
    show();
    dialogs.toast('Strokes of the other tab');
    if (settings.live) masks.ask(id);
  }
};

/** Loads the strokes of others, if nothing is lost; returns whether it did. */
async function refresh() {
  const one = drawing;
  const {document: content} = await api.picture(one.id).catch(() => ({}));
  if (one !== drawing || !content || content.version <= one.version ||
      one.recognise(content) || saver.has(one.id)) {
    return false;
  }
  one.load(content);
  return true;
}

/** Loads pictures and classes again. */
async function reload() {
  const project = await api.project().catch(() => null);
  if (!project) return;
  strip.load(project.pictures);
  classes.load(project.palette);
  for (const one of new Set([drawing, ...saver.drawings])) {
    if (one) unsaved.leaveOut(one);
  }
  if (strip.current < 0) {
    await open(0);
    return;
  }
  showPosition();
  if (drawing) await refresh();
  if (drawing) present();
}

function showMask() {
  scene.mask = paint(masks.last, settings.view, colour);
}

function repaint() {
  showMask();
  scene.maskOpacity = settings.opacity / 100;
  scene.inkOpacity = settings.ink / 100;
  if (drawing) show();
}

async function leastSure() {
  const {id, worker} = await api.next();
  const index = strip.find(id);
  if (index < 0) dialogs.toast('Every picture has strokes.');
  else await open(index);
  if (worker.glances < worker.glances_wanted) {
    dialogs.toast(`${worker.glances} of ${
      worker.glances_wanted} pictures have been compared so far`);
  }
}

const sheet = (name) => () => {
  document.body.dataset.sheet =
    document.body.dataset.sheet === name ? '' : name;
};
let shownInk = 100;
const does = {
  tool: (tool) => {
    set({tool});
    pen.refresh();
  },
  class: (index) => {
    classes.choose(index);
    pen.refresh();
  },
  size: (steps) => {
    controls.changeSize(steps);
    pen.refresh();
  },
  previous: () => open(strip.current - 1),
  next: () => open(strip.current + 1),
  'least-sure': leastSure,
  undo: () => !pen.isDrawing && change(() => drawing.undo()),
  redo: () => !pen.isDrawing && change(() => drawing.redo()),
  clear: () => change(() => !drawing.now.nothing && !drawing.now.imported &&
    !drawing.strokes.length ? false : drawing.clear()),
  nothing: () => change(() => drawing.change({nothing: !drawing.now.nothing})),
  fit: () => {
    scene.camera.fit();
    scene.draw();
  },
  zoom: (factor) => {
    scene.camera.zoom(factor);
    scene.draw();
  },
  scale: (scale) => {
    const at = scene.pointer && scene.camera.toStage(scene.pointer.at);
    scene.camera.zoom(scale / scene.camera.scale, ...(at ?? []));
    scene.draw();
  },
  mask: () => drawing && masks.ask(drawing.id),
  view: controls.nextView,
  theme: controls.nextTheme,
  'live-mask': () => set({live: !settings.live}),
  'hide-strokes': () => {
    if (settings.ink) shownInk = settings.ink;
    set({ink: settings.ink ? 0 : shownInk});
  },
  drop: () => pen.drop(),
  train: () => training.open(),
  export: offerExport,
  help: dialogs.help,
  'add-class': () => classes.add(),
  'edit-class': () => classes.chosen && classes.edit(classes.chosen),
  pictures: sheet('strip'),
  options: sheet('options'),
};

async function start() {
  controls.connect(does);
  listenToKeys(does, pen);
  listen((changes) => {
    if (['view', 'opacity', 'ink'].some((key) => key in changes)) repaint();
    if ('label' in changes) classes.draw();
  });
  addEventListener('beforeunload', (event) => {
    if (!saver.isIdle || pen.isDrawing) event.preventDefault();
  });
  let project;
  try {
    project = await api.project();
  } catch (error) {
    showBroken(error.message);
    return;
  }
  saver.folder = project.folder;
  byId('title').textContent = document.title = project.title;
  classes.load(project.palette);
  strip.load(project.pictures);
  repaint();
  training = new Training(reload);
  await open(Math.max(0, strip.find(settings.picture)));
  document.body.dataset.ready = 'true';
  await unsaved.resume(project.pictures);
}

start();
