// Mouse, touch, keys and buttons.

const KEYS = { // held down: [right, up, ahead] of a move, or [across, upwards] of a turn
  KeyW: {move: [0, 0, 1]}, KeyS: {move: [0, 0, -1]}, KeyA: {move: [-1, 0, 0]}, KeyD: {move: [1, 0, 0]},
  KeyE: {move: [0, 1, 0]}, KeyQ: {move: [0, -1, 0]},
  ArrowLeft: {turn: [-1, 0]}, ArrowRight: {turn: [1, 0]}, ArrowUp: {turn: [0, 1]}, ArrowDown: {turn: [0, -1]},
};
const MOVE_SPEED = 0.5, TURN_SPEED = 1.2; // a second: parts of the distance to the focus, radians
const HURRY = 4;                          // times as fast with Shift

class Controls {
  constructor(viewer) {
    this.viewer = viewer;
    this.pointers = new Map();
    this.held = new Set();
    this.place = -1; // among the cameras of the scene
    this._pointers(viewer.canvas);
    this._keys();
    this._buttons();
  }

  _change(change) {
    change(this.viewer.camera);
    this.viewer.changed({moving: true});
  }

  _pointers(canvas) {
    const at = (event) => ({x: event.clientX, y: event.clientY, pan: event.button > 0 || event.shiftKey});
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, at(event));
    });
    for (const end of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener('pointermove', (event) => {
      const before = this.pointers.get(event.pointerId);
      if (!before) return;
      const now = {x: event.clientX, y: event.clientY, pan: before.pan};
      if (this.pointers.size === 1) this._drag(before, now);
      else if (this.pointers.size === 2) this._pinch(event.pointerId, before, now);
      this.pointers.set(event.pointerId, now);
    });
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      this._nearer(Math.exp(Math.max(-100, Math.min(100, event.deltaY * lines)) * 0.002));
    }, {passive: false});
  }

  /** Nearer by a factor below 1: the walker steps ahead. */
  _nearer(factor) {
    this._change((camera) => this.viewer.walking ? camera.move(0, 0, 1 - factor) : camera.zoom(factor));
  }

  _drag(before, now) {
    const {canvas, walking} = this.viewer, side = Math.min(canvas.clientWidth, canvas.clientHeight);
    const across = (now.x - before.x) / side, down = (now.y - before.y) / side;
    this._change((camera) => {
      const wide = 2 * Math.tan(0.5 * camera.fov);
      if (before.pan) camera.move(-across * wide, down * wide, 0);
      else if (walking) camera.look(across * camera.fov, -down * camera.fov);
      else camera.orbit(-across * Math.PI, down * Math.PI);
    });
  }

  _pinch(id, before, now) {
    const other = [...this.pointers].find(([key]) => key !== id)[1];
    const apart = (a) => Math.hypot(a.x - other.x, a.y - other.y);
    this._nearer(Math.max(apart(before), 1) / Math.max(apart(now), 1));
    const half = {x: 0.5 * (before.x + now.x), y: 0.5 * (before.y + now.y)};
    this._drag({...before, pan: true}, half);
  }

  _keys() {
    const actions = {
      KeyM: () => this.walk(!this.viewer.walking), KeyV: () => this.showDepth(!this.viewer.depth),
      KeyR: () => this.reset(), KeyF: () => this.fullScreen(), KeyH: () => this.help(element('help').hidden),
      KeyN: () => this.camera(1), KeyP: () => this.camera(-1), KeyI: () => this.interface(),
      Escape: () => this.help(false), Equal: () => this._nearer(0.9), NumpadAdd: () => this._nearer(0.9),
      BracketRight: () => this._nearer(0.9), Minus: () => this._nearer(1 / 0.9), NumpadSubtract: () => this._nearer(1 / 0.9),
    };
    window.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.code in KEYS) {
        event.preventDefault();
        if (this.held.size === 0) this._hold();
        this.held.add(event.code);
        this.hurry = event.shiftKey;
      } else if (event.key === '?') {
        this.help(element('help').hidden);
      } else if (!event.repeat) {
        actions[event.code]?.();
      }
    });
    window.addEventListener('keyup', (event) => {
      this.held.delete(event.code);
      this.hurry = event.shiftKey;
    });
    window.addEventListener('blur', () => this.held.clear());
  }

  /** Move for as long as keys are held down. */
  _hold() {
    let before = performance.now();
    const step = (now) => {
      if (this.held.size === 0) return;
      const time = Math.min(Math.max(now - before, 0) / 1000, 0.1) * (this.hurry ? HURRY : 1);
      before = now;
      this._change((camera) => {
        for (const {move, turn} of [...this.held].map((code) => KEYS[code])) {
          if (move) camera.move(...times(move, time * MOVE_SPEED));
          else if (this.viewer.walking) camera.look(...times(turn, -time * TURN_SPEED));
          else camera.orbit(...times(turn, time * TURN_SPEED));
        }
      });
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  _buttons() {
    const press = (id, action) => {
      element(id).addEventListener('click', () => {
        action();
        element(id).blur();
      });
    };
    press('walk', () => this.walk(!this.viewer.walking));
    press('depth', () => this.showDepth(!this.viewer.depth));
    press('previous', () => this.camera(-1));
    press('next', () => this.camera(1));
    press('reset', () => this.reset());
    press('full', () => this.fullScreen());
    press('ask', () => this.help(element('help').hidden));
    press('close', () => this.help(false));
    element('full').hidden = !document.fullscreenEnabled;
    for (const id of ['previous', 'next']) element(id).hidden = this.viewer.scene.cameras.length === 0;
    document.body.classList.add('ready');
  }

  walk(walking) {
    this.viewer.walking = walking;
    element('walk').setAttribute('aria-pressed', walking);
  }

  showDepth(depth) {
    this.viewer.showDepth(depth);
    element('depth').setAttribute('aria-pressed', depth);
  }

  reset() {
    this.place = -1;
    this._change((camera) => camera.reset());
  }

  /** On to another camera of the scene. */
  camera(step) {
    const {cameras} = this.viewer.scene;
    if (cameras.length === 0) return;
    this.place = (Math.max(this.place, step > 0 ? -1 : 0) + step + cameras.length) % cameras.length;
    const {pose, fov} = cameras[this.place];
    this._change((camera) => camera.setPose(pose, fov));
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen?.().catch(() => {});
  }

  help(open) { element('help').hidden = !open; }

  interface() { document.body.classList.toggle('bare'); }
}
