// What rays see of a trained field: Instant-NGP's hash grid, networks and occupancy grid, one ray a thread. It is what
// kernels/taichi_nerf_kernels/field_rendering computes on a GPU, in the same steps.
//
//     ray         origin, direction, in model space; t is a length there
//     x           place of a sample in the hash grid's cube, [0, 1]^3
//     lattice     a ray has its samples where u - u_0 is whole, t = time_of_step(u); cells of the occupancy grid that are
//                 empty are stepped over
//
// The page puts before this the two networks, `density_network` and `colour_network`, and the numbers of the field:
//
//     LEVELS, FEATURES         of the hash grid; SIDE: of its cube, in model units
//     INPUTS, GEOMETRY, VIEW   vec4f of the hash grid's features, of the density network's outputs, of the harmonics
//     SEEN, OUTPUTS            vec4f that the colour network is given, and gives
//     HARMONIC, WIDE           whether the colour is in harmonics, and whether samples have widths
//     RESOLUTION, CASCADES     of the occupancy grid; LOW, HIGH: corners of all that is occupied
//     STEP, CONE, NEAR         the shortest step, its growth with the distance, and where rays begin; GROWTH: log(1 + CONE)
//     MAX_SAMPLES, THICKEST    of a ray: samples, and the optical thickness behind which it ends
//     RAYS                     of a pixel, along a side

struct Level {
  first: u32,       // entry in the table
  size: u32,        // entries
  resolution: u32,  // vertices along a side
  hashed: u32,
  scale: f32,       // cells along a side
}

struct View {
  right: vec3f,
  first_row: u32,      // of those that are rendered
  up: vec3f,
  end_row: u32,
  back: vec3f,
  show_depth: u32,
  position: vec3f,
  near: f32,           // of the depths' colours
  background: vec3f,
  far: f32,
  size: vec2f,         // pixels of the picture
  half_extent: vec2f,  // tangents of half of the field of view
  heat: array<vec4f, 16>,  // colours of depth, from far to near
  middle: vec2f,       // tangents of where the picture has its middle: 0, but for an eye of a headset
}

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> levels: array<Level>;
@group(0) @binding(2) var<storage, read> table: array<u32>;        // two half floats each
@group(0) @binding(3) var<storage, read> bits: array<u32>;         // of the cells, in Morton order
@group(0) @binding(4) var<storage, read> blocks: array<u32>;       // a bit for 4 x 4 x 4 cells
@group(0) @binding(5) var<storage, read> weights: array<mat4x4f>;  // of the networks
@group(0) @binding(6) var picture: texture_storage_2d<rgba8unorm, write>;

const UNBOUNDED = 1e10;
const TINY = 1e-12;
const SLOPE = max(CONE, TINY);  // a compiler divides by no zero, wherever it stands
const SHORT = 0.51;     // a jump stays this many steps short of an exit: half an interval, and a little for rounding
const FARTHEST = 4.0;   // sides of the outermost cube
const PIXEL = 0.57735;  // radius of the disc whose variance is that of a pixel
const DISC = 0.5;       // standard deviation along an axis of a disc with radius 1

// Hash grid

// Of the level.
fn vertex_entry(vertex: vec3u, level: Level) -> u32 {
  if (level.hashed == 1u) {
    return (vertex.x ^ (vertex.y * 2654435761u) ^ (vertex.z * 805459861u)) & (level.size - 1u);
  }
  let entry = vertex.x + level.resolution * (vertex.y + level.resolution * vertex.z);
  return select(entry, entry - level.size, entry >= level.size);
}

// Features 4 part .. 4 part + 3 of an entry, or all there are.
fn features_of(entry: u32, part: u32) -> vec4f {
  if (FEATURES == 1u) {
    return vec4f(unpack2x16float(table[entry >> 1u])[entry & 1u], 0.0, 0.0, 0.0);
  }
  if (FEATURES == 2u) {
    return vec4f(unpack2x16float(table[entry]), 0.0, 0.0);
  }
  let at = entry * (FEATURES / 2u) + 2u * part;
  return vec4f(unpack2x16float(table[at]), unpack2x16float(table[at + 1u]));
}

// How much a sample of a width sees of a level: erf(1 / (sqrt(8) width scale)), Abramowitz and Stegun 7.1.28.
fn level_weight(width: f32, scale: f32) -> f32 {
  let u = clamp(2.8284271 * width * scale, 0.0, 1e6);
  let series = (((((u + 0.0705230784) * u + 0.0422820123) * u + 0.0092705272) * u + 0.0001520143) * u + 0.0002765672)
    * u + 0.0000430638;
  var r = u * u * u * u * u * u / series;
  r *= r;
  r *= r;
  r *= r;
  return 1.0 - r * r;
}

// What stands at x: the mean of the eight corners of the cell.
fn look_up(x: vec3f, width: f32, number: u32, part: u32) -> vec4f {
  let level = levels[min(number, LEVELS - 1u)];
  let p = clamp(x, vec3f(0.0), vec3f(1.0)) * level.scale + 0.5;
  let cell = min(vec3u(p), vec3u(level.resolution - 1u));
  let f = p - vec3f(cell);
  var sum = vec4f(0.0);
  for (var corner = 0u; corner < 8u; corner++) {
    let far = vec3u(corner & 1u, (corner >> 1u) & 1u, corner >> 2u);
    let w = select(1.0 - f, f, far == vec3u(1u));
    sum += w.x * w.y * w.z * features_of(level.first + vertex_entry(cell + far, level), part);
  }
  if (WIDE) {
    sum *= level_weight(width, level.scale);
  }
  return sum;
}

fn encode(x: vec3f, width: f32) -> array<vec4f, INPUTS> {
  var y: array<vec4f, INPUTS>;
  for (var i = 0u; i < INPUTS; i++) {
    if (FEATURES == 1u) {
      y[i] = vec4f(look_up(x, width, 4u * i, 0u).x, look_up(x, width, 4u * i + 1u, 0u).x,
                   look_up(x, width, 4u * i + 2u, 0u).x, look_up(x, width, 4u * i + 3u, 0u).x);
    } else if (FEATURES == 2u) {
      y[i] = vec4f(look_up(x, width, 2u * i, 0u).xy, look_up(x, width, 2u * i + 1u, 0u).xy);
    } else if (FEATURES == 4u) {
      y[i] = look_up(x, width, i, 0u);
    } else {
      y[i] = look_up(x, width, i >> 1u, i & 1u);
    }
  }
  return y;
}

// The lattice of a ray's samples

fn time_of_step(u: f32) -> f32 {
  if (CONE > 0.0 && u * CONE > 1.0) {
    return STEP / SLOPE * exp(min((u - 1.0 / SLOPE) * GROWTH, log(UNBOUNDED / STEP)));
  }
  return u * STEP;
}

fn step_of_time(t: f32) -> f32 {
  if (CONE > 0.0 && t * CONE > STEP) {
    return 1.0 / SLOPE + log(min(t * CONE, UNBOUNDED) / STEP) / GROWTH;
  }
  return t / STEP;
}

fn step_size(t: f32) -> f32 {
  return max(CONE * t, STEP);
}

struct Ray {
  origin: vec3f,
  direction: vec3f,
  inverse: vec3f,
  u_0: f32,
  leave: f32,  // the occupied box
  end: i32,    // of the lattice
}

fn lattice_index(t: f32, u_0: f32) -> i32 {
  return i32(ceil(step_of_time(t) - u_0 - SHORT));
}

// (t, length) of a step.
fn lattice_interval(i: i32, u_0: f32) -> vec2f {
  let t = time_of_step(u_0 + f32(i));
  let dt = step_size(t);
  return vec2f(t + 0.5 * dt, dt);
}

// (t_0, t_1) in a box.
fn stretch(origin: vec3f, inverse: vec3f, low: vec3f, high: vec3f, near: f32, far: f32) -> vec2f {
  let a = (low - origin) * inverse;
  let b = (high - origin) * inverse;
  let first = min(a, b);
  let last = max(a, b);
  return vec2f(max(max(max(first.x, first.y), first.z), near), min(min(min(last.x, last.y), last.z), far));
}

// The occupancy grid

fn spread_bits(i: u32) -> u32 {
  var x = i;
  x = (x | (x << 16u)) & 0x030000ffu;
  x = (x | (x << 8u)) & 0x0300f00fu;
  x = (x | (x << 4u)) & 0x030c30c3u;
  return (x | (x << 2u)) & 0x09249249u;
}

// Side of an empty cube around a cell, in cells; 0 if it is occupied.
fn empty_cube(cell: u32) -> i32 {
  let block = cell >> 6u;
  let word = block >> 5u;
  if (((blocks[word] >> (block & 31u)) & 1u) == 0u) {
    if (((blocks[word] >> (block & 24u)) & 255u) != 0u) {
      return 4;
    }
    return select(8, 16, (blocks[word] | blocks[word ^ 1u]) == 0u);
  }
  return select(1, 0, ((bits[cell >> 5u] >> (cell & 31u)) & 1u) == 1u);
}

// The first samples from `start` on: they are i .. j - 1 of the result (i, j), and lie in one cell; i = end: there are none.
fn next_run(start: i32, ray: Ray) -> vec2i {
  var i = start;
  while (i < ray.end) {
    let interval = lattice_interval(i, ray.u_0);
    let middle = interval.x;
    if (middle >= ray.leave) {
      break;
    }
    // The finest cascade that has the point, and cells no shorter than the step
    let place = ray.origin + middle * ray.direction;
    let need = max(2.0 * max(max(abs(place.x), abs(place.y)), abs(place.z)), interval.y * f32(RESOLUTION));
    var cascade = 0u;
    var per_length = f32(RESOLUTION);
    while (cascade < CASCADES - 1u && need >= f32(1u << cascade)) {
      cascade++;
      per_length *= 0.5;
    }
    let x = place * per_length + 0.5 * f32(RESOLUTION);
    let at = clamp(vec3i(x), vec3i(0), vec3i(RESOLUTION - 1));
    let morton = spread_bits(u32(at.x)) | (spread_bits(u32(at.y)) << 1u) | (spread_bits(u32(at.z)) << 2u);
    let empty = empty_cube(cascade * u32(RESOLUTION * RESOLUTION * RESOLUTION) + morton);
    // As far as that holds; a longer cube could reach into the next finer cascade
    let side = clamp(empty, 1, RESOLUTION / 4);
    let face = (at & vec3i(-side)) + select(vec3i(0), vec3i(side), ray.inverse > vec3f(0.0));
    let exits = (vec3f(face) - x) * ray.inverse;
    var beyond = middle + min(min(exits.x, exits.y), exits.z) / per_length;
    if (CONE > 0.0 && cascade < CASCADES - 1u) {
      beyond = min(beyond, 1.0 / (per_length * SLOPE));
    }
    let j = max(i + 1, lattice_index(min(beyond, ray.leave), ray.u_0));
    if (empty == 0) {
      return vec2i(i, j);
    }
    i = j;
  }
  return vec2i(ray.end);
}

// Colour

// Real spherical harmonics of a unit direction, of degree 5.
fn harmonics(d: vec3f) -> array<vec4f, 7> {
  let x = d.x;
  let y = d.y;
  let z = d.z;
  let c = x * x - y * y;
  return array<vec4f, 7>(
    vec4f(0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x),
    vec4f(1.09254843 * x * y, -1.09254843 * y * z, 0.31539157 * (3.0 * z * z - 1.0), -1.09254843 * x * z),
    vec4f(0.54627422 * c, -0.59004359 * y * (3.0 * x * x - y * y), 2.89061144 * x * y * z,
          -0.45704580 * y * (5.0 * z * z - 1.0)),
    vec4f(0.37317633 * z * (5.0 * z * z - 3.0), -0.45704580 * x * (5.0 * z * z - 1.0), 1.44530572 * z * c,
          -0.59004359 * x * (x * x - 3.0 * y * y)),
    vec4f(2.50334294 * x * y * c, -1.77013077 * y * z * (3.0 * x * x - y * y),
          0.94617470 * x * y * (7.0 * z * z - 1.0), -0.66904654 * y * z * (7.0 * z * z - 3.0)),
    vec4f(0.10578555 * (35.0 * z * z * z * z - 30.0 * z * z + 3.0), -0.66904654 * x * z * (7.0 * z * z - 3.0),
          0.47308735 * c * (7.0 * z * z - 1.0), -1.77013077 * x * z * (x * x - 3.0 * y * y)),
    vec4f(0.62583574 * (x * x * (x * x - 3.0 * y * y) - y * y * (3.0 * x * x - y * y)), 0.0, 0.0, 0.0));
}

fn colour_of(geometry: array<vec4f, GEOMETRY>, basis: array<vec4f, 7>) -> vec3f {
  var given = geometry;
  var seen: array<vec4f, SEEN>;
  for (var i = 0u; i < GEOMETRY; i++) {
    seen[i] = given[i];
  }
  var functions = basis;
  for (var i = GEOMETRY; i < SEEN; i++) {
    seen[i] = select(functions[(i - GEOMETRY) % 7u], vec4f(1.0, 0.0, 0.0, 0.0), HARMONIC);
  }
  var outputs = colour_network(&seen);
  var raw = outputs[0].xyz;
  if (HARMONIC) {
    raw = vec3f(0.0);
    for (var i = 0u; i < VIEW; i++) {
      raw += vec3f(dot(outputs[i % OUTPUTS], functions[i]), dot(outputs[(VIEW + i) % OUTPUTS], functions[i]),
                   dot(outputs[(2u * VIEW + i) % OUTPUTS], functions[i]));
    }
  }
  return 1.0 / (1.0 + exp(-raw));
}

struct Seen {
  colour: vec3f,
  left: f32,   // of the light from behind
  depth: f32,  // sum of weights times distances
}

// `spread` is the width of what the ray sees at distance 1.
fn trace(origin: vec3f, direction: vec3f, spread: f32) -> Seen {
  var seen = Seen(vec3f(0.0), 1.0, 0.0);
  let inverse = 1.0 / select(direction, vec3f(TINY), abs(direction) < vec3f(TINY));
  let side = f32(1u << (CASCADES - 1u));
  let outer = stretch(origin, inverse, vec3f(-0.5 * side), vec3f(0.5 * side), NEAR, UNBOUNDED);
  let inner = stretch(origin, inverse, LOW, HIGH, outer.x, min(outer.y, outer.x + FARTHEST * side));
  if (inner.x >= inner.y) {
    return seen;
  }
  let u_0 = step_of_time(outer.x);
  let ray = Ray(origin, direction, inverse, u_0, inner.y, lattice_index(inner.y, u_0) + 2);
  let basis = harmonics(direction);
  var at = max(lattice_index(inner.x, u_0), 0);
  var behind = at;
  var thickness = 0.0;
  for (var taken = 0; taken < MAX_SAMPLES; taken++) {
    if (at >= behind) {
      let run = next_run(at, ray);
      at = run.x;
      behind = run.y;
    }
    if (at >= ray.end) {
      break;
    }
    let interval = lattice_interval(at, u_0);
    var features = encode((origin + interval.x * direction) / SIDE + 0.5, spread * interval.x / SIDE);
    let geometry = density_network(&features);
    thickness += exp(min(geometry[0].x, 80.0)) * interval.y;
    let passed = exp(-thickness);
    let weight = seen.left - passed;
    seen.left = passed;
    if (view.show_depth == 0u) {
      seen.colour += weight * colour_of(geometry, basis);
    }
    seen.depth += weight * interval.x;
    at++;
    if (thickness > THICKEST) {
      break;
    }
  }
  return seen;
}

fn depth_colour(depth: f32) -> vec3f {
  let far = 1.0 / view.far;
  let near = clamp((1.0 / max(depth, 1e-6) - far) / (1.0 / view.near - far), 0.0, 1.0) * 15.0;
  let at = min(u32(near), 14u);
  return mix(view.heat[at].rgb, view.heat[at + 1u].rgb, near - f32(at));
}

fn shown(seen: Seen) -> vec3f {
  if (view.show_depth == 1u) {
    return mix(depth_colour(seen.depth / max(1.0 - seen.left, 1e-6)), vec3f(1.0), seen.left);
  }
  return seen.colour + seen.left * view.background;
}

@compute @workgroup_size(8, 8)
fn render(@builtin(global_invocation_id) id: vec3u) {
  let pixel = id.xy + vec2u(0u, view.first_row);
  if (f32(pixel.x) >= view.size.x || pixel.y >= view.end_row) {
    return;
  }
  var sum = vec3f(0.0);
  for (var i = 0u; i < RAYS * RAYS; i++) {
    let within = (vec2f(vec2u(i % RAYS, i / RAYS)) + 0.5) / f32(RAYS);
    let screen = view.middle
      + (2.0 * (vec2f(pixel) + within) / view.size - 1.0) * vec2f(1.0, -1.0) * view.half_extent;
    let along = screen.x * view.right + screen.y * view.up - view.back;
    let spread = DISC * PIXEL * 2.0 * view.half_extent.y / view.size.y / length(along) / f32(RAYS);
    sum += shown(trace(view.position, normalize(along), spread));
  }
  textureStore(picture, pixel, vec4f(sum / f32(RAYS * RAYS), 1.0));
}
