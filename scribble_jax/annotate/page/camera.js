/** The picture's position on the stage: screen = picture * scale + offset. */

const MAX_SCALE = 40;  // Screen pixels per pixel of the picture.
const MARGIN = 60;  // Screen pixels of the picture that stay visible.

export class Camera {
  constructor() {
    this.scale = 1;
    this.x = this.y = 0;
    this.picture = {width: 1, height: 1};
    this.stage = {width: 1, height: 1};
    this.isFitted = true;
  }

  get fitted() {
    const {picture, stage} = this;
    return Math.min((stage.width - 24) / picture.width,
                    (stage.height - 24) / picture.height);
  }

  fit() {
    this.scale = Math.max(0.001, this.fitted);
    this.x = (this.stage.width - this.picture.width * this.scale) / 2;
    this.y = (this.stage.height - this.picture.height * this.scale) / 2;
    this.isFitted = true;
  }

  /** Zooms around a point of the stage. */
  zoom(factor, x = this.stage.width / 2, y = this.stage.height / 2) {
    const least = Math.min(this.fitted, 1) / 2;
    const scale = Math.min(MAX_SCALE, Math.max(least, this.scale * factor));
    this.x = x - (x - this.x) * scale / this.scale;
    this.y = y - (y - this.y) * scale / this.scale;
    this.scale = scale;
    this.isFitted = false;
    this.keepInSight();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.isFitted = false;
    this.keepInSight();
  }

  keepInSight() {
    const keep = (offset, length, room) => Math.min(
        room - MARGIN, Math.max(MARGIN - length * this.scale, offset));
    this.x = keep(this.x, this.picture.width, this.stage.width);
    this.y = keep(this.y, this.picture.height, this.stage.height);
  }

  resize(width, height) {
    const dx = (width - this.stage.width) / 2;
    const dy = (height - this.stage.height) / 2;
    this.stage = {width, height};
    if (this.isFitted) this.fit(); else this.pan(dx, dy);
  }

  toPicture(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  toStage([x, y]) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }
}
