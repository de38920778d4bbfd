// As much of WebXR as the page asks for: a headset of two eyes, whose frames come when the test calls for them.
// Before this stands `const headset = {eyes: [{matrix, projection}], size: [width, height] of an eye}`. An address that ends in ?absent
// has none, and one in ?busy one that shows nothing.

const still = Array.from({length: 16}, (_, i) => Number(i % 5 === 0));

window.headset = {...headset, sessions: 0, head: still, axes: null, waiting: null};

class FakeSession extends EventTarget {
  constructor() {
    super();
    this.renderState = {};
  }
  get inputSources() { return window.headset.axes ? [{gamepad: null}, {gamepad: {axes: window.headset.axes}}] : []; }
  async updateRenderState(state) { Object.assign(this.renderState, state); }
  async requestReferenceSpace(kind) { return {kind}; }
  requestAnimationFrame(callback) { window.headset.waiting = callback; }
  async end() {
    window.headset.waiting = null;
    this.dispatchEvent(new Event('end'));
  }
}

window.XRWebGLLayer = class {
  constructor(session, gl) {
    const [width, height] = window.headset.size, texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE15);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, 2 * width, height);
    this.framebuffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    window.headset.gl = gl;
    window.headset.framebuffer = this.framebuffer;
  }
  getViewport(view) {
    const [width, height] = window.headset.size;
    return {x: view.number * width, y: 0, width, height};
  }
};
WebGL2RenderingContext.prototype.makeXRCompatible = async () => {};

Object.defineProperty(navigator, 'xr', {value: {
  isSessionSupported: async (mode) => mode === 'immersive-vr' && location.search !== '?absent',
  requestSession: async () => {
    if (location.search === '?busy') throw new Error('it is busy');
    window.headset.sessions++;
    return new FakeSession();
  },
}});

/** One frame, `now` in milliseconds: the bytes of what the headset shows, both eyes beside each other, from below. */
window.headset.step = (now) => {
  const {gl, eyes, head, size: [width, height]} = window.headset, callback = window.headset.waiting;
  const views = eyes.map(({matrix, projection}, number) => (
    {number, transform: {matrix: new Float32Array(matrix)}, projectionMatrix: new Float32Array(projection)}));
  callback(now, {getViewerPose: (space) => space.kind === 'local' ? {views, transform: {matrix: new Float32Array(head)}} : null});
  const bytes = new Uint8Array(8 * width * height);
  gl.bindFramebuffer(gl.FRAMEBUFFER, window.headset.framebuffer);
  gl.readPixels(0, 0, 2 * width, height, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  return [...bytes];
};
