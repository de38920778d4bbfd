// The page: loads the scene, draws it whenever something has changed, and hears mouse, touch and keys.

const MOVING = [25, 40];     // milliseconds a picture: below the first it grows, above the second it shrinks
const LEAST_PIXELS = 2 ** 12;
const RESTING = 200;         // milliseconds after the last move until the picture is refined
const MOST_LOSSES = 5;       // of the graphics device: from then on it is the scene that is too much for it
const SHARPEST = 2;          // pixels of the canvas for one of the page, at most
const element = (id) => document.getElementById(id);
const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));

class Viewer {
  constructor(scene, sources) {
    this.scene = scene;
    this.canvas = element('canvas');
    this.camera = new Camera(scene);
    this.renderer = new Renderer(this.canvas, scene, sources);
    this.walking = false;
    this.depth = false;
    this.ready = false;
    this.pixels = 2 ** 14;   // that a picture may have while the camera moves
    this.moved = -Infinity;  // when the camera moved last
    this.shown = 0;          // part of the canvas' resolution of the picture that is shown, of this very view
    this.drawing = null;     // the picture that is under way: {width, height, row, part}
    this.pending = null;     // what the device is at: {done, since, pixels}
    this.waiting = [];
    this.seen = -1;          // when the first picture stood there
    this.vr = null;          // what a headset is shown, while it is
  }

  async start() {
    const say = (part) => { element('progress').style.setProperty('--part', part); };
    this.stream = await readContent(this.scene, (part) => say(0.6 * part));
    Renderer.unpack(this.scene, this.stream);
    this._watchDevice();
    await this._load((part) => say(0.6 + 0.4 * part));
    new Controls(this);
    offerVr(this);
    new ResizeObserver(() => this._resize()).observe(this.canvas);
    this._resize();
    const loop = (now) => {
      if (this.released) return;
      this._frame(now);
      requestAnimationFrame(loop);
    };
    requestAnimationFrame(loop);
  }

  async _load(onProgress) {
    await this.renderer.load(this.stream, onProgress, nextFrame);
    this.ready = true;
    this.changed();
  }

  _watchDevice() {
    const lost = () => {
      this.ready = false;
      this.pending = null;
      this.changed();
      this.renderer.forget();
      if (!this.released) tell('The graphics device was taken away; waiting for it to come back.');
    };
    let losses = 0;
    const restored = () => {
      if (++losses > MOST_LOSSES) return failed(new Error('the graphics device was taken away again and again'));
      tell('');
      this._load(() => {}).catch(failed);
    };
    this.renderer.watch(lost, restored);
  }

  _resize() {
    const {clientWidth, clientHeight} = this.canvas;
    const most = this.renderer.largest / Math.max(clientWidth, clientHeight);
    const ratio = Math.min(window.devicePixelRatio || 1, SHARPEST, most);
    const width = Math.max(1, Math.round(clientWidth * ratio));
    const height = Math.max(1, Math.round(clientHeight * ratio));
    if (width === this.canvas.width && height === this.canvas.height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.changed();
  }

  /** The view is another one: what is under way is broken off. */
  changed({moving = false} = {}) {
    this.drawing = null;
    this.shown = 0;
    if (moving) {
      this.moved = performance.now();
      element('poster').hidden = true;
    }
  }

  _frame(now) {
    if (!this.ready || this.vr) return;
    if (this.pending) {
      if (!this.pending.done()) return;
      this._adapt(now - this.pending.since, this.pending.pixels);
      if (this.shown > 0 && this.seen < 0) this.seen = now;
      this.pending = null;
    }
    const {width, height} = this.canvas;
    if (!this.drawing) {
      if (this.shown === 1) return;
      const part = this._nextPart(now);
      if (part <= this.shown) return;
      const side = (length) => Math.max(1, Math.round(part * length));
      this.drawing = {part, row: 0, width: side(width), height: side(height)};
    }
    this._advance(this.drawing, now);
  }

  /** Draw the next rows of a picture, as many as there is time for, and show it when it has all. */
  _advance(picture, now) {
    const all = this.shown === 0;  // the first of a view: the next move must not break it off
    const rows = all ? picture.height : Math.max(1, Math.floor(this.pixels / picture.width));
    const end = Math.min(picture.height, picture.row + rows);
    const drawn = picture.width * (end - picture.row);
    this.renderer.draw(this._view(), picture.width, picture.height, picture.row, end);
    picture.row = end;
    if (end === picture.height) {
      this.renderer.show(picture.width, picture.height);
      this.drawing = null;
      this.shown = picture.part;
      this._hasShown();
    }
    this.pending = {done: this.renderer.fence(), since: now, pixels: drawn};
  }

  /** Part of the canvas' resolution that the next picture gets. */
  _nextPart(now) {
    const full = this.canvas.width * this.canvas.height;
    if (now - this.moved < RESTING || this.shown === 0) return Math.min(1, Math.sqrt(this.pixels / full));
    return Math.min(1, 2 * this.shown);
  }

  /** More pixels at a time where they were quick, fewer where they were slow. */
  _adapt(milliseconds, pixels) {
    const [quick, slow] = MOVING, full = this.canvas.width * this.canvas.height;
    if (milliseconds > slow) this.pixels = pixels * Math.max(0.5, slow / milliseconds);
    else if (milliseconds < quick && pixels > 0.5 * this.pixels) this.pixels *= 1.5;
    this.pixels = Math.min(Math.max(this.pixels, LEAST_PIXELS), full);
  }

  _hasShown() {
    if (this.shown < 1) return;
    element('poster').hidden = true;
    element('progress').hidden = true;
    for (const [resolve] of this.waiting.splice(0)) resolve();
  }

  _view() {
    const {width, height} = this.canvas;
    return {pose: this.camera.pose, halfExtent: this.camera.halfExtent(width, height),
            depthRange: this.depth ? this.camera.depthRange(this.scene.box, this.scene.unbounded) : null};
  }

  showDepth(depth) {
    this.depth = depth;
    this.changed();
  }

  /** Look from `matrix` (3 or 4 rows of 4, camera to world), through `fov` radians along the shorter side. */
  setPose(matrix, fov) {
    this.camera.setPose(matrix, fov);
    this.changed();
  }

  /** When the picture of the present view stands there in full resolution. */
  settled() {
    if (this.trouble) return Promise.reject(this.trouble);
    return this.shown === 1 ? Promise.resolve() : new Promise((...both) => this.waiting.push(both));
  }

  /** The scene can not be shown. */
  fail(error) {
    this.trouble = error;
    for (const [, reject] of this.waiting.splice(0)) reject(error);
  }

  /** Bytes of the scene on the device. */
  get bytes() { return this.renderer.bytes; }

  release() {
    this.released = true;
    this.ready = false;
    this.stream = null;
    this.renderer.release();
  }
}

function tell(sentence) {
  element('message').textContent = sentence;
  element('message').hidden = sentence === '';
}

/** What the browser lacks, in a sentence. */
class Missing extends Error {}

/** It is loaded again when the device is back. */
class DeviceLost extends Error {}

function failed(error) {
  if (error instanceof DeviceLost) return;
  window.viewer?.fail(error);
  element('progress').hidden = true;
  tell(error instanceof Missing ? error.message : `The scene cannot be shown: ${error.message}.`);
}

function why() {
  if (Renderer.missing()) return Renderer.missing();
  if (!window.DecompressionStream) return 'This browser is too old to unpack the scene; open the file in a current one.';
  return '';
}

function main() {
  const scene = JSON.parse(element('scene').textContent);
  const sources = Object.fromEntries([...document.querySelectorAll('script.shader')].map(
    (script) => [script.dataset.name, script.textContent]));
  const missing = why();
  if (missing) {
    element('progress').hidden = true;
    return tell(missing);
  }
  try {
    window.viewer = new Viewer(scene, sources);
  } catch (error) {
    return failed(error);
  }
  window.addEventListener('pagehide', () => window.viewer.release());
  window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
  window.viewer.start().catch(failed);
}

main();
