/** The dialogs of the training and of the export. */

import * as api from './api.js';
import {
  answers, button, close, icon, make, makeSvg, show, toast,
} from './dialogs.js';

const POLL = 2000;  // Milliseconds.
const STAGES = {
  preparing: 'Preparing', training: 'Training',
  predicting: 'Predicting all pictures',
  stopping: 'Stopping, after a checkpoint is saved',
  done: 'Done: all pictures are predicted', failed: 'Failed',
  stopped: 'Stopped', lost: 'Interrupted', none: ''};
const MINUTES = {50: 'a minute or two, to try', 100: 'about 4 minutes',
                 300: 'about 12 minutes, the usual',
                 1000: 'about 40 minutes'};

export class Training {
  /** `finished()` is called when the pictures have been predicted. */
  constructor(finished) {
    this.finished = finished;
    this.status = null;
    this.parts = null;
    this.button = document.querySelector('[data-do="train"]');
    this.poll();
  }

  async poll() {
    clearTimeout(this.timer);
    try {
      this.take(await api.job());
    } catch { /* The state line shows it. */ }
    if (this.status?.running || this.parts) {
      this.timer = setTimeout(() => this.poll(), POLL);
    }
  }

  take(status) {
    const before = this.status;
    this.status = status;
    this.button.setAttribute('aria-pressed', String(status.running));
    if (before?.running && !status.running) {
      toast(status.stage === 'done' ? STAGES.done : `The training: ${
        STAGES[status.stage] ?? status.stage}`);
      if (status.stage === 'done') this.finished();
    }
    if (this.parts) this.fill();
  }

  async open() {
    const lengths = Object.entries(MINUTES).map(
        ([value, text]) => make('option', {value}, `${value} steps, ${text}`));
    const steps = make('select', {name: 'steps'}, ...lengths);
    steps.value = '300';
    const curve = makeSvg('polyline');
    const plot = makeSvg('svg', {
      id: 'loss', viewBox: '0 0 100 100', preserveAspectRatio: 'none'}, curve);
    this.parts = {
      steps, curve, plot, field: make('label', {className: 'field'},
                                      'Length, on two cores', steps),
      stage: make('strong'), bar: make('progress', {max: 100, value: 0}),
      facts: make('div', {className: 'facts'}, make('span'), make('span')),
      text: make('p', {className: 'mistake'}),
      start: button('Start', 'start', 'primary'),
      resume: button('Go on', 'resume'),
      stop: button('Stop', 'stop', 'danger')};
    const {parts} = this;
    this.fill();
    this.poll();
    await show([
      make('h1', {}, 'Train and predict'),
      make('p', {}, 'Trains a network on the strokes of all pictures, then ' +
           'predicts every picture. Predictions become the masks that you ' +
           'correct; they are never used as strokes. The training continues ' +
           'when this page is closed.'),
      parts.field, parts.stage, parts.bar, plot, parts.facts, parts.text,
      answers(button('Close', ''), parts.stop, parts.resume, parts.start)],
    {wide: true, check: (value) => this.change(value)});
    this.parts = null;
  }

  /** Sends a change; the dialog stays open. */
  async change(kind) {
    try {
      this.take(await api.changeJob(
          {change: kind, steps: Number(this.parts.steps.value)}));
      this.poll();
    } catch (error) {
      return error.message;
    }
    return ' ';
  }

  fill() {
    const {status, parts} = this;
    if (!status) return;
    const {running, stage, loss} = status;
    parts.field.hidden = parts.start.hidden = running;
    parts.stop.hidden = !running;
    parts.resume.hidden = running ||
        !['stopped', 'lost', 'failed'].includes(stage);
    parts.start.textContent = stage === 'none' ? 'Start' : 'Train again';
    parts.stage.textContent = STAGES[stage] ?? stage;
    parts.bar.hidden = !running;
    parts.bar.value = status.percent;
    parts.text.textContent = stage === 'failed' || stage === 'lost' ?
      status.text : '';
    parts.plot.toggleAttribute('hidden', loss.length < 2);
    const highest = Math.max(...loss.map(([, value]) => value));
    const end = Math.max(status.steps ?? 1, ...loss.map(([step]) => step));
    parts.curve.setAttribute('points', loss.map(([step, value]) => `${
      100 * step / end},${96 - 90 * value / highest}`).join(' '));
    const last = loss.at(-1);
    parts.facts.children[0].textContent = running && status.what ?
      `${status.what}: ${status.percent} %` : '';
    parts.facts.children[1].textContent = last ?
      `Step ${last[0]} of ${status.steps}, loss ${last[1]}` : '';
  }
}

/** Offers the zips of results. */
export function offerExport() {
  const link = (kind, title, text) => make('a', {
    href: `/export?kind=${kind}`, download: '', onclick: () => {
      close();
      toast('The zip is being made; the browser shows how far it is.');
    }}, icon('export'), title, make('small', {}, text));
  return show([
    make('h1', {}, 'Export'),
    make('div', {className: 'choices'},
         link('masks', 'Masks', 'Class index of each pixel, as PNG'),
         link('overlays', 'Overlays', 'Masks over the photographs, to look at'),
         link('all', 'Everything', 'Strokes, masks, overlays, predictions')),
    make('p', {}, 'Pictures with strokes or with a prediction are in it.'),
    answers(button('Close', ''))]);
}
