/** The page: opens pictures, and brings its parts together. */

import * as api from './api.js';
import * as bitmaps from './bitmaps.js';
import {Classes} from './classes.js';
import * as controls from './controls.js';
import * as dialogs from './dialogs.js';
import {Drawing, isOutside, strokeAt} from './drawing.js';
import {listen as listenToKeys} from './keys.js';
import {Masks, paint} from './masks.js';
import {Pen} from './pen.js';
import {Saver, said} from './saving.js';
import {Scene} from './scene.js';
import {listen, set, settings} from './settings.js';
import {Strip} from './strip.js';
import {Training, offerExport} from './training.js';

const FIRST_STEP = 'Add a class, and draw a stroke of it and one of the ' +
  'background.';
const byId = (id) => document.getElementById(id);
const scene = new Scene(byId('scene'), byId('live'));
const strip = new Strip((index) => open(index));
const tabs = new BroadcastChannel('scribble_jax');
let project, training, drawing = null, importedLabels = null, opened = 0;
const notices = [];

const classes = new Classes((deleted) => {
  if (deleted !== null) reload(deleted);
  repaint();
  tabs.postMessage({classes: true, deleted});
});
const masks = new Masks((mask, state, id) => {
  byId('mask-state').textContent = state;
  if (mask === undefined || id !== current()) return;
  scene.mask = paint(mask, settings.view, (label) => classes.colour(label));
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
  moved: () => {},
});
const saver = new Saver({
  tell: controls.tell,
  saved: (id, version) => {
    tabs.postMessage({saved: id, version});
    if (id !== current()) return;
    if (settings.live) masks.ask(id);
    else byId('mask-state').textContent = 'The mask is older than the strokes.';
  },
  conflict: (id, content) => id === current() && offerMerge(content),
});
scene.colour = (label) => classes.colour(label);
scene.afterwards = () => {
  byId('zoom').textContent = `${Math.round(scene.camera.scale * 100)} %`;
};

const current = () => project?.pictures[strip.current]?.[0];

function hint(text) {
  byId('hint').textContent = text;
  byId('hint').hidden = !text;
}

function warn(text, choices) {
  notices.push(dialogs.notice(text, choices));
}

/** Shows a picture and its strokes. */
async function open(index) {
  if (!project.pictures[index]) return;
  pen.drop();
  const turn = ++opened, [id] = project.pictures[index];
  drawing = null;
  document.body.dataset.picture = '';
  for (const one of notices.splice(0)) one.remove();
  hint('');
  byId('broken').hidden = true;
  byId('mask-state').textContent = '';
  importedLabels = null;
  masks.clear();
  strip.go(index);
  set({picture: id});
  byId('picture-name').textContent = byId('picture-name').title = id;
  byId('position').textContent = `${index + 1} / ${project.pictures.length}`;
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
  drawing = saver.pending(id) ?? new Drawing(content.document);
  restore(id);
  show();
  document.body.dataset.picture = id;
  tabs.postMessage({opened: id});
  masks.ask(id);
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

/** Takes up strokes that an earlier page could not save. */
function restore(id) {
  const unsaved = saver.unsaved(id);
  if (!unsaved || saver.has(id)) return;
  if (unsaved.version === drawing.version) {
    drawing.change({strokes: unsaved.strokes, nothing: unsaved.nothing,
                    imported: unsaved.imported});
    saver.save(id, drawing);
  } else if (said(unsaved) === said(drawing.toJson())) {
    saver.forget(id);  // It was saved, but the answer did not arrive.
  } else {
    warn('An earlier page could not save its strokes on this picture.', [
      ['Put them on top', () => putOnTop(unsaved.strokes)],
      ['Forget them', () => saver.forget(id)]]);
  }
}

/** Adds the strokes that the picture lacks. */
function putOnTop(strokes) {
  const there = new Set(drawing.strokes.map((one) => JSON.stringify(one)));
  const lacking = strokes.filter((one) => !there.has(JSON.stringify(one)));
  change(() => drawing.change({strokes: [...drawing.strokes, ...lacking]}));
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
    bitmaps.paint(importedLabels, classes.all) : null;
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

/** Changes the drawing, shows it and saves it. */
function change(act) {
  if (!drawing) return;
  if (act() === false) return;
  show();
  saver.save(current(), drawing);
}

/** Offers what to do with a drawing that another tab has changed. */
function offerMerge(content) {
  const mine = drawing.strokes;
  const load = () => {
    drawing.load(content);
    saver.forget(current());
    show();
    masks.ask(current());
  };
  warn('Another tab has changed this picture. Your last change is not saved.', [
    ['Show theirs', load],
    ['Put mine on top', () => {
      load();
      putOnTop(mine);
    }]]);
}

tabs.onmessage = async ({data}) => {
  if (data.classes) await reload(data.deleted);
  if (!drawing || (data.opened ?? data.saved ?? data.here) !== current()) {
    return;
  }
  if (data.opened) tabs.postMessage({here: current()});
  if (data.opened || data.here) {
    for (const one of notices.splice(0)) one.remove();
    warn('This picture is open in another tab too. Draw in one of them.');
  }
  if (data.saved && data.version > drawing.version && !saver.has(data.saved)) {
    const {document: content} = await api.picture(data.saved);
    if (data.saved !== current() || saver.has(data.saved)) return;
    drawing.load(content);
    show();
    dialogs.toast('Strokes of the other tab');
    if (settings.live) masks.ask(data.saved);
  }
};

/** Asks for the project anew; `deleted` is the id of a class that has gone. */
async function reload(deleted) {
  project = await api.project();
  strip.load(project.pictures);
  classes.load(project.palette);
  if (!drawing) return;
  if (deleted !== null) drawing.forget(deleted);
  drawing.version = (await api.picture(current())).document.version;
  show();
  masks.ask(current());
}

function repaint() {
  scene.mask = paint(masks.last, settings.view,
                     (label) => classes.colour(label));
  scene.maskOpacity = settings.opacity / 100;
  scene.inkOpacity = settings.ink / 100;
  if (drawing) show();
}

async function leastSure() {
  const {id, worker} = await api.next();
  const index = project.pictures.findIndex(([one]) => one === id);
  if (index < 0) dialogs.toast('Every picture has strokes.');
  else await open(index);
  if (worker.glances < worker.glances_wanted) {
    dialogs.toast(`Of ${worker.glances} of ${
      worker.glances_wanted} pictures looked at so far`);
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
  mask: () => drawing && masks.ask(current()),
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
  training = new Training(() => reload(null));
  const remembered = project.pictures.findIndex(
      ([id]) => id === settings.picture);
  await open(Math.max(0, remembered));
  document.body.dataset.ready = 'true';
}

start();
