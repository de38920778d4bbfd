// WebXR: the scene for two eyes, in a headset. A session gives each eye a projection and a place, in metres and in the
// axes of a room: x to the right, y up, z to the back, from where the head was in the beginning. The room stands in the
// world where the camera of the page was, upright, and looks where that did.

const BEGIN_PART = 0.5, LEAST_PART = 0.2; // of an eye's resolution, along either side
const IN_TIME = [17.5, 21];               // milliseconds a frame: below the first pictures grow, above the second they shrink
const STRIDE = 1.5;                       // metres a second, with a stick pushed all the way
const STILL = 0.15;                       // part of that way that is none

/** Whether the page comes from a server that browsers trust with a headset: an encrypted one, or this very machine. */
const isServed = () => window.isSecureContext && location.protocol !== 'file:';

/** Put a button there, if there is a headset. */
async function offerVr(viewer) {
  if (!isServed() || !await navigator.xr?.isSessionSupported('immersive-vr').catch(() => false)) return;
  const button = document.createElement('button');
  button.id = 'vr';
  button.title = 'Look around in the headset';
  button.textContent = 'VR';
  button.addEventListener('click', () => viewer.vr ? viewer.vr.session.end() : enterVr(viewer).catch(noVr));
  element('full').before(button);
}

function noVr(error) { tell(`The headset shows nothing: ${error.message}.`); }

async function enterVr(viewer) {
  tell('');
  const session = await navigator.xr.requestSession('immersive-vr');
  let eyes = null;
  try {
    eyes = viewer.renderer.headset();
    await eyes.gl.makeXRCompatible();
    const baseLayer = new XRWebGLLayer(session, eyes.gl, {alpha: false, antialias: false, depth: false, stencil: false});
    await session.updateRenderState({baseLayer});
    viewer.vr = new Vr(viewer, session, await session.requestReferenceSpace('local'), eyes);
  } catch (error) {
    eyes?.release();
    session.end();
    throw error;
  }
}

class Vr {
  /** `eyes` draw what the headset shows: they are of the page's renderer. */
  constructor(viewer, session, space, eyes) {
    this.viewer = viewer;
    this.session = session;
    this.space = space;
    this.eyes = eyes;
    this.room = roomOf(viewer.camera);
    this.metres = viewer.scene.metres; // that a unit of the world is long
    this.part = BEGIN_PART;
    this.before = null;                // when the last frame was
    session.addEventListener('end', () => {
      viewer.vr = null;
      eyes.release();
      viewer.changed();
    });
    session.requestAnimationFrame((now, frame) => this._frame(now, frame));
  }

  _frame(now, frame) {
    this.session.requestAnimationFrame((...next) => this._frame(...next));
    const seen = frame.getViewerPose(this.space);
    if (!seen || !this.viewer.ready) return;
    if (this.before !== null) {
      this._adapt(now - this.before);
      this._walk(seen.transform.matrix, Math.min(now - this.before, 100) / 1000);
    }
    this.before = now;
    const layer = this.session.renderState.baseLayer;
    for (const eye of seen.views) this._draw(eye, layer.framebuffer, layer.getViewport(eye));
  }

  /** What one eye sees, into its part of the framebuffer: {x, y, width, height}. */
  _draw(eye, framebuffer, place) {
    const side = (length) => Math.max(1, Math.round(this.part * length));
    const view = {pose: this.poseOf(eye.transform.matrix), ...windowOf(eye.projectionMatrix)};
    this.eyes.draw(view, side(place.width), side(place.height), framebuffer, place);
  }

  /** The pose in the world of a matrix of the room, 4 columns one after the other. */
  poseOf(matrix) {
    const {position} = this.room, column = (k) => this._turned([...matrix.slice(4 * k, 4 * k + 3)]);
    return {right: column(0), up: column(1), back: column(2), position: plus(position, column(3), 1 / this.metres)};
  }

  /** A vector of the room, in the world. */
  _turned([x, y, z]) {
    const {right, up, back} = this.room;
    return plus(plus(times(right, x), up, y), back, z);
  }

  /** Step where the head looks, or to its side, as the sticks of the controllers say; level, as on a floor. */
  _walk(head, seconds) {
    const {up} = this.room, pose = this.poseOf(head);
    const level = (direction) => plus(direction, up, -dot(direction, up));
    for (const {gamepad} of this.session.inputSources ?? []) {
      const [across, back] = gamepad?.axes.slice(-2) ?? [0, 0];
      if (!(Math.hypot(across, back) > STILL)) continue;
      const step = plus(times(level(pose.right), across), level(pose.back), back);
      this.room.position = plus(this.room.position, step, STRIDE * seconds / this.metres);
    }
  }

  /** Smaller pictures where they come late: who turns his head is sick of that sooner than of what is coarse. */
  _adapt(milliseconds) {
    const [quick, slow] = IN_TIME;
    if (milliseconds > slow) this.part = Math.max(LEAST_PART, 0.85 * this.part);
    else if (milliseconds < quick) this.part = Math.min(1, 1.01 * this.part);
  }
}

/** A pose that stands upright where the camera is, and looks where that does. */
function roomOf({pose, worldUp: up}) {
  const level = (direction) => plus(direction, up, -dot(direction, up)), back = level(pose.back);
  // who looks straight down has ahead of him what is the upper side of the picture
  const behind = unit(norm(back) > 1e-3 ? back : times(level(pose.up), -Math.sign(dot(pose.back, up))));
  return {right: cross(up, behind), up, back: behind, position: pose.position};
}

/** Of a projection, 4 columns one after the other: tangents of half of the picture, and of its middle. */
function windowOf(projection) {
  return {halfExtent: [1 / projection[0], 1 / projection[5]],
          middle: [projection[8] / projection[0], projection[9] / projection[5]]};
}
