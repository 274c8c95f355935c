/**
 * Converts the input of mouse, pen, fingers and arrow keys to strokes and moves.
 * One finger draws, two fingers move and zoom. Once a pen was used, fingers only
 * move.
 */

import {ERASER, simplify} from './drawing.js';
import {settings} from './settings.js';

const TOLERANCE = 0.25;  // Pixels of the picture; see `simplify`.
const NEAR = 0.4;  // Screen pixels; nearer points are left out.
const EVENTS = {pointerdown: 'down', pointermove: 'move', pointerup: 'up',
                pointercancel: 'cancel', wheel: 'wheel'};
const KEY_STEP = 8, FAST_KEY_STEP = 40;  // Screen pixels.

export class Pen {
  /**
   * `actions` are ready(), which returns whether drawing is possible,
   * finish(stroke) and pick(point).
   */
  constructor(scene, actions) {
    this.scene = scene;
    this.actions = actions;
    this.pointers = new Map();
    this.mode = null;
    this.sawPen = this.holdsSpace = false;
    const canvas = scene.live;
    for (const [type, method] of Object.entries(EVENTS)) {
      canvas.addEventListener(
          type, (event) => this[method](event), {passive: false});
    }
    canvas.addEventListener('lostpointercapture', (event) => {
      if (this.pointers.has(event.pointerId)) this.cancel(event);
    });
    canvas.addEventListener('pointerleave', () => {
      if (!this.mode && !scene.pointer?.isKeyboard) this.show(null);
    });
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
  }

  get isDrawing() {
    return this.mode === 'draw' || this.mode === 'keys';
  }

  get label() {
    return settings.tool === 'eraser' ? ERASER : settings.label;
  }

  place(event) {
    const box = this.scene.live.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  point(event) {
    return this.scene.camera.toPicture(...this.place(event)).map(
        (value) => Math.round(value * 100) / 100);
  }

  down(event) {
    event.preventDefault();
    this.scene.live.focus({preventScroll: true});
    if (event.pointerType === 'pen') this.sawPen = true;
    this.pointers.set(event.pointerId, this.place(event));
    this.scene.live.setPointerCapture(event.pointerId);
    const isFinger = event.pointerType === 'touch';
    if (isFinger && this.pointers.size === 2) {
      this.drop();
      this.mode = 'pinch';
    } else if (this.mode) {
      return;
    } else if (event.button === 1 || this.holdsSpace ||
               settings.tool === 'hand' || (isFinger && this.sawPen)) {
      this.mode = 'pan';
      this.scene.live.toggleAttribute('data-panning', true);
    } else if (event.button === 0 && this.actions.ready()) {
      if (settings.tool === 'eraser' && event.shiftKey) {
        this.actions.pick(this.point(event));
      } else {
        this.begin(this.point(event), event.shiftKey);
      }
    }
  }

  begin(point, isStraight) {
    this.mode = 'draw';
    this.isStraight = isStraight || settings.tool === 'line';
    this.scene.stroke = {
      class: this.label, width: settings.size, points: [point]};
    this.show(point);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    const place = this.place(event);
    if (before && this.mode === 'pinch') {
      this.pinch(event.pointerId, before, place);
    } else if (before && this.mode === 'pan') {
      this.scene.camera.pan(place[0] - before[0], place[1] - before[1]);
      this.scene.drawMoved();
    } else if (before && this.mode === 'draw') {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const one of events.length ? events : [event]) {
        this.extend(this.point(one));
      }
    }
    if (before) this.pointers.set(event.pointerId, place);
    if (event.pointerType !== 'touch' || this.mode === 'draw') {
      this.show(this.point(event));
    }
  }

  extend(point) {
    const {points} = this.scene.stroke;
    if (this.isStraight) {
      points[1] = point;
      return;
    }
    const last = points.at(-1);
    const far = Math.hypot(point[0] - last[0], point[1] - last[1]);
    if (far * this.scene.camera.scale >= NEAR) points.push(point);
  }

  pinch(id, before, place) {
    const other = [...this.pointers].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const distance = (at) => Math.max(
        1, Math.hypot(at[0] - other[0], at[1] - other[1]));
    this.scene.camera.pan(
        (place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
    this.scene.camera.zoom(distance(place) / distance(before),
                           (place[0] + other[0]) / 2,
                           (place[1] + other[1]) / 2);
    this.scene.drawMoved();
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.mode === 'draw') {
      this.extend(this.point(event));
      this.finish();
      if (event.pointerType === 'touch') this.show(null);
    } else if (this.pointers.size === 0 && this.mode !== 'keys') {
      this.rest();
    }
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    if (this.mode !== 'keys') this.drop();
  }

  /** Ends the current stroke and keeps it. */
  finish() {
    const {stroke} = this.scene;
    this.rest();
    this.scene.stroke = null;
    if (!stroke || !this.actions.ready()) return;
    stroke.points = simplify(stroke.points, TOLERANCE);
    this.actions.finish(stroke);
  }

  /** Ends the current stroke and discards it. */
  drop() {
    this.scene.stroke = null;
    this.rest();
    this.scene.drawLiveSoon();
  }

  rest() {
    this.mode = null;
    this.scene.live.removeAttribute('data-panning');
  }

  wheel(event) {
    event.preventDefault();
    if (this.isDrawing) return;
    const unit = event.deltaMode === 1 ? 30 : 1;
    if (event.shiftKey && !event.ctrlKey) {
      this.scene.camera.pan(-(event.deltaX || event.deltaY) * unit, 0);
    } else {
      const speed = event.ctrlKey ? 0.01 : 0.0016;
      this.scene.camera.zoom(
          Math.exp(-event.deltaY * unit * speed), ...this.place(event));
    }
    this.scene.drawMoved();
    this.show(this.point(event));
  }

  /** Shows the pen at a point of the picture; null hides it. */
  show(point, isKeyboard = false) {
    const isHidden = !point || (settings.tool === 'hand' && !isKeyboard) ||
        this.holdsSpace;
    this.scene.pointer = isHidden ? null : {
      at: point, width: settings.size, label: this.label, isKeyboard};
    this.scene.drawLiveSoon();
  }

  /** Updates the shown pen after a change of its size or class. */
  refresh() {
    const {pointer} = this.scene;
    if (pointer) this.show(pointer.at, pointer.isKeyboard);
  }

  /** Moves the pen by arrow keys. */
  step(dx, dy, isFast) {
    const {camera} = this.scene;
    const length = (isFast ? FAST_KEY_STEP : KEY_STEP) / camera.scale;
    const {width, height} = camera.picture;
    const at = this.scene.pointer?.at ?? camera.toPicture(
        camera.stage.width / 2, camera.stage.height / 2);
    const point = [
      Math.min(width, Math.max(0, at[0] + dx * length)),
      Math.min(height, Math.max(0, at[1] + dy * length))].map(
          (value) => Math.round(value * 100) / 100);
    if (this.mode === 'keys') this.extend(point);
    this.show(point, true);
    this.follow(point);
  }

  follow(point) {
    const {camera} = this.scene, [x, y] = camera.toStage(point);
    const over = (value, room) =>
      value < 20 ? 20 - value : Math.min(0, room - 20 - value);
    const dx = over(x, camera.stage.width), dy = over(y, camera.stage.height);
    if (dx || dy) {
      camera.pan(dx, dy);
      this.scene.drawMoved();
    }
  }

  /** Puts the pen down, or lifts it. */
  press() {
    if (this.mode === 'keys') {
      this.finish();
    } else if (!this.mode && this.actions.ready()) {
      if (!this.scene.pointer?.isKeyboard) this.step(0, 0, false);
      this.begin(this.scene.pointer.at, false);
      this.mode = 'keys';
      this.show(this.scene.pointer.at, true);
    }
  }
}
