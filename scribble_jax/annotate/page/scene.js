/**
 * Draws the photograph, its mask and its strokes. The photograph is a bitmap
 * with smaller copies, of which only the visible part is drawn; strokes are
 * vectors. The current stroke and the pen have a canvas of their own, so that
 * they are drawn without the photograph.
 */

import {Camera} from './camera.js';
import {ERASER} from './drawing.js';

const SMALLEST_COPY = 700;  // Pixels.
const CASING = 1.2;  // Screen pixels around a stroke.
// While the picture moves, up to FEW_STROKES are drawn again. More are moved as
// a bitmap, and drawn again REST milliseconds after the last move.
const FEW_STROKES = 60, REST = 120;

function pathOf(points) {
  const path = new Path2D();
  path.moveTo(...points[0]);
  for (const point of points) path.lineTo(...point);
  return path;
}

export class Scene {
  constructor(scene, live) {
    this.canvas = scene;
    this.live = live;
    this.ink = document.createElement('canvas');
    this.camera = new Camera();
    this.copies = [];
    this.paths = new WeakMap();
    this.strokes = [];
    this.mask = this.imported = null;
    this.colour = () => '#888';
    this.maskOpacity = 0.5;
    this.inkOpacity = 1;
    this.isNothing = false;
    this.stroke = this.pointer = null;
    this.afterwards = () => {};
    this.waiting = false;
    new ResizeObserver(() => this.resize()).observe(scene);
    this.resize();
  }

  resize() {
    this.ratio = window.devicePixelRatio || 1;
    const {width, height} = this.canvas.getBoundingClientRect();
    for (const canvas of [this.canvas, this.live, this.ink]) {
      canvas.width = Math.max(1, Math.round(width * this.ratio));
      canvas.height = Math.max(1, Math.round(height * this.ratio));
    }
    this.camera.resize(width, height);
    this.draw();
  }

  /** Shows the whole of another picture. */
  open(width, height) {
    this.close();
    this.camera.picture = {width, height};
    this.camera.fit();
  }

  close() {
    for (const copy of this.copies) copy.close();
    this.copies = [];
    this.strokes = [];
    this.mask = this.imported = this.stroke = null;
    this.isNothing = false;
    this.draw();
  }

  /** Takes the photograph's bitmap, and makes smaller copies of it. */
  async show(bitmap, isCurrent) {
    this.copies = [bitmap];
    this.draw();
    let last = bitmap;
    while (Math.max(last.width, last.height) > 2 * SMALLEST_COPY) {
      last = await createImageBitmap(last, {
        resizeWidth: Math.ceil(last.width / 2),
        resizeHeight: Math.ceil(last.height / 2), resizeQuality: 'medium'});
      if (!isCurrent()) {
        last.close();
        return;
      }
      this.copies.push(last);
    }
    this.draw();
  }

  /** Draws everything before the next frame, after a move of the picture. */
  drawMoved() {
    if (this.strokes.length > FEW_STROKES) {
      this.isMoving = true;
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.draw(), REST);
      this.request();
    } else {
      this.draw();
    }
  }

  /** Draws everything before the next frame. */
  draw() {
    this.isMoving = false;
    this.request();
  }

  request() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (!this.isMoving) this.drawInk();
      this.drawScene();
      this.drawLive();
      this.afterwards();
    });
  }

  /** Sets a canvas' units to pixels of the picture; returns its context. */
  start(canvas) {
    const context = canvas.getContext('2d');
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const {scale, x, y} = this.camera;
    context.setTransform(scale * this.ratio, 0, 0, scale * this.ratio,
                         x * this.ratio, y * this.ratio);
    return context;
  }

  drawScene() {
    const context = this.start(this.canvas);
    const {width, height} = this.camera.picture;
    this.drawPhotograph(context);
    context.globalAlpha = this.maskOpacity;
    if (this.mask) {
      context.imageSmoothingEnabled = false;
      context.drawImage(this.mask, 0, 0, width, height);
    }
    if (this.isNothing) {
      context.fillStyle = this.colour(0);
      context.globalAlpha = 0.45;
      context.fillRect(0, 0, width, height);
    }
    // Moves the strokes from the camera they were drawn for to the current one.
    const {scale, x, y} = this.camera, before = this.inkCamera;
    const factor = scale / before.scale;
    context.setTransform(factor, 0, 0, factor,
                         (x - before.x * factor) * this.ratio,
                         (y - before.y * factor) * this.ratio);
    context.globalAlpha = this.inkOpacity;
    context.drawImage(this.ink, 0, 0);
    context.globalAlpha = 1;
  }

  drawPhotograph(context) {
    if (!this.copies.length) return;
    const {scale, x, y, picture, stage} = this.camera;
    const factor = scale * this.ratio;
    let level = 0;
    while (level + 1 < this.copies.length && factor * 2 ** (level + 1) <= 1) {
      level++;
    }
    const copy = this.copies[level];
    // The visible part, in pixels of the picture.
    const left = Math.max(0, Math.floor(-x / scale));
    const top = Math.max(0, Math.floor(-y / scale));
    const right = Math.min(picture.width, Math.ceil((stage.width - x) / scale));
    const bottom = Math.min(
        picture.height, Math.ceil((stage.height - y) / scale));
    if (right <= left || bottom <= top) return;
    const across = copy.width / picture.width;
    const down = copy.height / picture.height;
    context.imageSmoothingEnabled = factor < 4;
    context.drawImage(
        copy, left * across, top * down, (right - left) * across,
        (bottom - top) * down, left, top, right - left, bottom - top);
  }

  drawInk() {
    const context = this.start(this.ink);
    const {scale, x, y} = this.camera;
    this.inkCamera = {scale, x, y};
    if (this.imported && !this.isNothing) {
      context.imageSmoothingEnabled = false;
      context.drawImage(this.imported, 0, 0, this.camera.picture.width,
                        this.camera.picture.height);
    }
    for (const stroke of this.strokes) this.drawStroke(context, stroke);
    context.globalCompositeOperation = 'source-over';
  }

  drawStroke(context, {class: label, width, points}) {
    context.globalCompositeOperation =
        label === ERASER ? 'destination-out' : 'source-over';
    context.lineCap = context.lineJoin = 'round';
    const path = this.path(points);
    if (label !== ERASER) {  // A casing, in case the mask has this colour.
      context.lineWidth = width + 2 * CASING / this.camera.scale;
      context.strokeStyle = '#fffc';
      context.stroke(path);
    }
    context.lineWidth = width;
    context.strokeStyle = label === ERASER ? '#000' : this.colour(label);
    context.stroke(path);
  }

  path(points) {
    const path = this.paths.get(points) ?? pathOf(points);
    this.paths.set(points, path);
    return path;
  }

  /** Draws the current stroke and the pen. */
  drawLive() {
    const context = this.start(this.live);
    if (this.stroke) {
      const {class: label, width, points} = this.stroke;
      context.globalAlpha = label === ERASER ? 0.6 : this.inkOpacity || 1;
      context.lineCap = context.lineJoin = 'round';
      context.lineWidth = width;
      context.strokeStyle = label === ERASER ? '#fff' : this.colour(label);
      context.stroke(pathOf(points));
    }
    if (this.pointer) this.drawPen(context);
  }

  drawPen(context) {
    const {at, width, label, isKeyboard} = this.pointer;
    const {scale} = this.camera;
    context.globalAlpha = 1;
    const radius = Math.max(width / 2, 2 / scale);
    for (const [colour, line] of [
      ['#000a', 3.5], [label === ERASER ? '#fff' : this.colour(label), 1.8]]) {
      context.strokeStyle = colour;
      context.lineWidth = line / scale;
      context.beginPath();
      context.arc(...at, radius, 0, 2 * Math.PI);
      if (isKeyboard) {
        const reach = radius + 9 / scale;
        context.moveTo(at[0] - reach, at[1]);
        context.lineTo(at[0] + reach, at[1]);
        context.moveTo(at[0], at[1] - reach);
        context.lineTo(at[0], at[1] + reach);
      }
      context.stroke();
    }
  }

  /** Draws the current stroke and the pen before the next frame. */
  drawLiveSoon() {
    if (this.waiting || this.waitingLive) return;
    this.waitingLive = true;
    requestAnimationFrame(() => {
      this.waitingLive = false;
      this.drawLive();
    });
  }
}
