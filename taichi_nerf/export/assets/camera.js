// A camera that turns around a point, or walks. A pose is {right, up, back, position}: four vectors in the world.

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const plus = (a, b, factor = 1) => a.map((value, i) => value + factor * b[i]);
const times = (a, factor) => a.map((value) => value * factor);
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const norm = (a) => Math.hypot(...a);
const unit = (a) => times(a, 1 / norm(a));

/** `vector`, turned around the unit vector `axis` (Rodrigues). */
function turned(vector, axis, angle) {
  const cosine = Math.cos(angle), along = dot(axis, vector) * (1 - cosine);
  return plus(plus(times(vector, cosine), cross(axis, vector), Math.sin(angle)), axis, along);
}

const STEEPEST = 1.54; // radians above or below the horizon

class Camera {
  /** `home` is {pose, fov}: rows of [3, 4], and the angle along the shorter side of the picture. */
  constructor({up, focus, start}) {
    this.worldUp = unit(up);
    this.home = start;
    this.homeFocus = focus;
    this.reset();
  }

  reset() {
    this.focus = this.homeFocus;
    this.setPose(this.home.pose, this.home.fov);
  }

  /** `matrix`: 3 or 4 rows of 4; `fov` in radians, along the shorter side. The focus comes before the camera. */
  setPose(matrix, fov) {
    const column = (k) => [0, 1, 2].map((row) => matrix[row][k]);
    this.pose = {right: column(0), up: column(1), back: column(2), position: column(3)};
    this.fov = fov ?? this.fov;
    const away = plus(this.pose.position, this.focus, -1);
    this.distance = Math.max(dot(away, this.pose.back), 0.2 * norm(away), 1e-3);
    this._aim();
  }

  /** Tangents of half of the field of view of a picture: across, upwards. */
  halfExtent(width, height) {
    const side = Math.tan(0.5 * this.fov) / Math.min(width, height);
    return [side * width, side * height];
  }

  _aim() {
    this.focus = plus(this.pose.position, this.pose.back, -this.distance);
  }

  _turn(axis, angle, centre) {
    const {right, up, back, position} = this.pose;
    this.pose = {right: turned(right, axis, angle), up: turned(up, axis, angle), back: turned(back, axis, angle),
                 position: plus(centre, turned(plus(position, centre, -1), axis, angle))};
  }

  /** Turn by `across` and `upwards` radians around `centre`, but not over the poles. */
  _swing(across, upwards, centre) {
    this._turn(this.worldUp, across, centre);
    const level = cross(this.worldUp, this.pose.back);
    const axis = norm(level) > 1e-3 ? unit(level) : this.pose.right;
    const elevation = Math.asin(Math.max(-1, Math.min(1, dot(this.pose.back, this.worldUp))));
    const wanted = Math.max(-STEEPEST, Math.min(STEEPEST, elevation + upwards));
    this._turn(axis, elevation - wanted, centre);
  }

  /** Go around the focus. */
  orbit(across, upwards) { this._swing(across, upwards, this.focus); }

  /** Look around. */
  look(across, upwards) {
    this._swing(across, upwards, this.pose.position);
    this._aim();
  }

  /** Come nearer to the focus, or go away from it, by a factor. */
  zoom(factor) {
    this.distance *= factor;
    this.pose = {...this.pose, position: plus(this.focus, this.pose.back, this.distance)};
  }

  /** Move along right, up, and where the camera looks, in parts of the distance to the focus. */
  move(right, up, ahead) {
    const {pose, distance} = this;
    const step = plus(plus(times(pose.right, right), pose.up, up), pose.back, -ahead);
    this.pose = {...pose, position: plus(pose.position, step, distance)};
    this._aim();
  }

  /** Nearest and farthest distance to the box [low, high]; from within it, from a small part of its size on. Of a scene
   * without end from half of the way to the focus on. */
  depthRange([low, high], unbounded) {
    if (unbounded) return [0.5 * this.distance, 1e4 * this.distance];
    const {position} = this.pose, size = norm(plus(high, low, -1));
    const nearest = position.map((value, k) => Math.max(low[k] - value, value - high[k], 0));
    const farthest = position.map((value, k) => Math.max(Math.abs(low[k] - value), Math.abs(high[k] - value)));
    const near = Math.max(norm(nearest), 0.05 * size);
    return [near, Math.max(norm(farthest), 1.05 * near)];
  }
}
