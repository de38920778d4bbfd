// What a ray sees of the octree. The tree lies in the cube [0, SIDE]^3, in which its smallest cells have the side 1;
// a ray is origin + t * direction there, and t is a length in the world.
//
// The page puts before this: DEPTH (levels of nodes), BASIS (harmonics of a channel), BANDS (bands but for the first);
// CONTRACTED where all of space is in the tree.

precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler2DArray;

uniform usampler2DArray nodes;   // (first child << 8 | mask of children, first leaf << 8 | mask of leaves)
uniform usampler2DArray leaves;  // (sigma, red, green, blue), a byte each
uniform usampler2DArray rows;    // the row of each band's codebook
uniform sampler2D codebook;      // all codebooks, one after the other; a texel is a harmonic of red, green, blue
uniform int firstRow[4];         // of each band, the first texel of its codebook
uniform vec2 sigmaRange;         // (low, log(high / low))
uniform vec3 treeOffset, treeScale;  // tree = offset + scale * world, in [0, 1]^3
uniform mat4 cameraToWorld;      // columns right, up, back, position
uniform vec2 halfExtent;         // tangents of half of the field of view
uniform vec2 middle;             // tangents of where the picture has its middle: 0, but for an eye of a headset
uniform vec2 pictureSize;        // pixels
uniform float near;              // where rays begin
uniform vec3 background;
uniform int showDepth;
uniform vec2 depthRange;         // nearest, farthest
uniform vec3 heat[16];           // colours of depth, from far to near

out vec4 colour;

const int SIDE = 1 << DEPTH;
const int STEPS = 16 * SIDE;      // more than a ray can have
const int WIDTH_BITS = 11;       // textures are 2048 wide, and at most as high
const float OPAQUE = 0.002;      // of what is behind: it is no longer looked at

ivec3 texel(int i) {
  return ivec3(i & 2047, (i >> WIDTH_BITS) & 2047, i >> (2 * WIDTH_BITS));
}

int ones(uint mask) {
  mask = mask - ((mask >> 1) & 0x55u);
  mask = (mask & 0x33u) + ((mask >> 2) & 0x33u);
  return int((mask + (mask >> 4)) & 0x0fu);
}

// Real spherical harmonics but for the first, Y[l^2 + l + m - 1], of a unit direction.
void harmonics(vec3 d, out float y[BASIS]) {
  float x = d.x, v = d.y, z = d.z;
#if BANDS > 0
  y[0] = -0.48860251190291992 * v;
  y[1] = 0.48860251190291992 * z;
  y[2] = -0.48860251190291992 * x;
#endif
#if BANDS > 1
  y[3] = 1.0925484305920792 * x * v;
  y[4] = -1.0925484305920792 * v * z;
  y[5] = 0.31539156525252005 * (3.0 * z * z - 1.0);
  y[6] = -1.0925484305920792 * x * z;
  y[7] = 0.54627421529603959 * (x * x - v * v);
#endif
#if BANDS > 2
  y[8] = -0.59004358992664352 * v * (3.0 * x * x - v * v);
  y[9] = 2.8906114426405538 * x * v * z;
  y[10] = -0.45704579946446572 * v * (5.0 * z * z - 1.0);
  y[11] = 0.3731763325901154 * z * (5.0 * z * z - 3.0);
  y[12] = -0.45704579946446572 * x * (5.0 * z * z - 1.0);
  y[13] = 1.4453057213202769 * z * (x * x - v * v);
  y[14] = -0.59004358992664352 * x * (x * x - 3.0 * v * v);
#endif
#if BANDS > 3
  y[15] = 2.5033429417967046 * x * v * (x * x - v * v);
  y[16] = -1.7701307697799304 * v * z * (3.0 * x * x - v * v);
  y[17] = 0.94617469575756008 * x * v * (7.0 * z * z - 1.0);
  y[18] = -0.66904654355728921 * v * z * (7.0 * z * z - 3.0);
  y[19] = 0.10578554691520431 * (35.0 * z * z * z * z - 30.0 * z * z + 3.0);
  y[20] = -0.66904654355728921 * x * z * (7.0 * z * z - 3.0);
  y[21] = 0.47308734787878004 * (x * x - v * v) * (7.0 * z * z - 1.0);
  y[22] = -1.7701307697799304 * x * z * (x * x - 3.0 * v * v);
  y[23] = 0.62583573544917614 * (x * x * (x * x - 3.0 * v * v) - v * v * (3.0 * x * x - v * v));
#endif
}

#define ADD_BAND(l)                                                                     \
  first = firstRow[l - 1] + int(row[l - 1]) * (2 * l + 1);                              \
  for (int m = 0; m < 2 * l + 1; m++) {                                                 \
    sum += y[l * l - 1 + m] * texelFetch(codebook, texel(first + m).xy, 0).rgb;         \
  }

vec3 leafColour(int leaf, vec3 bytes, float y[BASIS]) {
  vec3 part = (bytes + 0.5) / 256.0;
  vec3 sum = 2.0 * log(part / (1.0 - part));
#if BANDS > 0
  uvec4 row = texelFetch(rows, texel(leaf), 0);
  int first;
  ADD_BAND(1)
#endif
#if BANDS > 1
  ADD_BAND(2)
#endif
#if BANDS > 2
  ADD_BAND(3)
#endif
#if BANDS > 3
  ADD_BAND(4)
#endif
  return 1.0 / (1.0 + exp(-sum));
}

// A straight piece of a ray's way through the tree: origin + s * direction, in cells.
struct Piece {
  vec3 origin, direction, inverse;
  float begin;        // t where it begins
#ifdef CONTRACTED
  float h, k;         // |u|inf where it begins, and its slope; 1 and 0 in the core
  float last, whole;  // s and t - begin where it ends
  int following;      // the region behind, or NONE
#endif
};

#ifdef CONTRACTED
// All of space in the cube of the tree, as kernels/taichi_nerf_kernels/octree_rendering/pieces.py has it: u is the place in
// units of the core, [-1, 1]^3; outside of it u is divided by |u|inf, but for its largest component, which becomes
// sign (2 - 1 / |u|inf). In each region, the core or 2 axis + (sign > 0) of the largest component, a ray is straight.
const int CORE = -1, NONE = -2;
const int MOST_PIECES = 32;
const float FARTHEST = 1e4;
const float TINY = 1e-12, FAR = 1e30;

int regionOf(vec3 u) {
  int region = CORE;
  float largest = 1.0;
  for (int axis = 0; axis < 3; axis++) {
    if (abs(u[axis]) > largest) {
      largest = abs(u[axis]);
      region = 2 * axis + int(u[axis] > 0.0);
    }
  }
  return region;
}

// t - begin where the piece from u on, with the slope v, ends, and the region behind.
float endOfPiece(vec3 u, vec3 v, int region, float h, float k, out int following) {
  float last = FAR;
  following = NONE;
  for (int next = 0; next < 6; next++) {  // where another component becomes the largest
    float along = float(2 * (next & 1) - 1), gain = along * v[next >> 1] - k;
    if (next >> 1 == region >> 1 || gain <= TINY) continue;
    float t = max((h - along * u[next >> 1]) / gain, 0.0);
    if (t < last) {
      last = t;
      following = next;
    }
  }
  float t = k == 0.0 ? FAR : max(((k < 0.0 ? 1.0 : FARTHEST) - h) / k, 0.0);
  if (t < last) {
    last = t;
    following = k < 0.0 ? CORE : NONE;
  }
  return last;
}

// The piece from u on, in a region, of a ray with the slope v.
Piece pieceOf(vec3 u, vec3 v, int region, float begin) {
  Piece piece;
  vec3 above = u, slope = v;  // contract(u) |u|inf, and its slope
  piece.begin = begin;
  piece.h = 1.0;
  piece.k = 0.0;
  if (region != CORE) {
    int axis = region >> 1;
    float along = float(2 * (region & 1) - 1);
    piece.h = max(along * u[axis], 1.0);
    piece.k = abs(v[axis]) > TINY ? along * v[axis] : 0.0;
    above[axis] = along * (2.0 * piece.h - 1.0);
    slope[axis] = 2.0 * v[axis];
  }
  piece.whole = endOfPiece(u, v, region, piece.h, piece.k, piece.following);
  piece.last = piece.whole / (piece.h + piece.k * piece.whole);
  vec3 start = above / piece.h;
  piece.origin = (0.5 + 0.25 * start) * float(SIDE);
  piece.direction = 0.25 * (slope - piece.k * start) * float(SIDE);
  piece.inverse = mix(vec3(FAR), 1.0 / piece.direction, greaterThan(abs(piece.direction), vec3(TINY * float(SIDE))));
  return piece;
}
#endif

// The piece that a ray begins with, and s and t on it; nothing is seen if s is not below `end`.
Piece firstPiece(vec3 origin, vec3 direction, out float s, out float end) {
#ifdef CONTRACTED
  vec3 u = 4.0 / float(SIDE) * (origin + near * direction) - 2.0;
  s = 0.0;
  end = FAR;
  return pieceOf(u, 4.0 / float(SIDE) * direction, regionOf(u), near);
#else
  vec3 inverse = 1.0 / direction;
  vec3 low = -origin * inverse, high = (float(SIDE) - origin) * inverse;
  vec3 first = min(low, high), last = max(low, high);
  s = max(max(max(first.x, first.y), first.z), near);
  end = min(min(last.x, last.y), last.z);
  return Piece(origin, direction, inverse, 0.0);
#endif
}

ivec3 placeAt(Piece piece, float s) {  // the smallest cell there
  return clamp(ivec3(floor(piece.origin + s * piece.direction)), 0, SIDE - 1);
}

// Colour in rgb, what is left of the light from behind in a; `depth` becomes the mean distance of what is seen.
vec4 march(vec3 origin, vec3 direction, vec3 viewed, out float depth) {
  float s, end;
  Piece piece = firstPiece(origin, direction, s, end);
  vec3 sum = vec3(0.0);
  float left = 1.0;
  depth = 0.0;
  if (s >= end) return vec4(sum, left);

  float y[BASIS];
  harmonics(viewed, y);
  float t = piece.begin + s;
  int pieces = 1;
  ivec3 place = placeAt(piece, s);
  int path[DEPTH];                         // the node whose cells have the side 2^level, on the way down to `place`
  int level = DEPTH - 1;
  path[level] = 0;
  for (int step = 0; step < STEPS; step++) {
    // From the smallest node that holds both where the ray was and where it is, down to a leaf
    int node = path[level];
    uvec2 entry;
    uint bit;
    for (; level >= 0; level--) {
      path[level] = node;
      entry = texelFetch(nodes, texel(node), 0).xy;
      ivec3 octant = (place >> level) & 1;
      bit = 1u << (4 * octant.x + 2 * octant.y + octant.z);
      if ((entry.x & bit) == 0u) break;
      node = int(entry.x >> 8) + ones(entry.x & (bit - 1u));
    }
    // Through it, to the nearest of the three planes ahead, or to where the way bends
    bvec3 forward = greaterThan(piece.inverse, vec3(0.0));
    ivec3 corner = (place >> level) << level;
    ivec3 beyond = corner + (1 << level);
    vec3 exits = (mix(vec3(corner), vec3(beyond), forward) - piece.origin) * piece.inverse;
    s = max(s, min(min(exits.x, exits.y), exits.z));
#ifdef CONTRACTED
    bool bend = s >= piece.last;
    s = min(s, piece.last);
    float leave = max(t, piece.begin + (bend ? piece.whole : s * piece.h / (1.0 - piece.k * s)));
#else
    float leave = s;
#endif
    if ((entry.y & bit) != 0u) {
      int leaf = int(entry.y >> 8) + ones(entry.y & (bit - 1u));
      uvec4 bytes = texelFetch(leaves, texel(leaf), 0);
      float sigma = sigmaRange.x * exp(sigmaRange.y * float(bytes.x) / 255.0);
      float passed = exp(-sigma * (leave - t));
      float weight = left * (1.0 - passed);
      if (showDepth == 0) sum += weight * leafColour(leaf, vec3(bytes.yzw), y);
      depth += weight * 0.5 * (t + leave);
      left *= passed;
      if (left < OPAQUE) break;
    }
    t = leave;
#ifdef CONTRACTED
    if (bend) {
      if (piece.following == NONE || pieces++ == MOST_PIECES) break;
      vec3 u = 4.0 / float(SIDE) * (origin + t * direction) - 2.0;
      piece = pieceOf(u, 4.0 / float(SIDE) * direction, piece.following, t);
      s = 0.0;
      place = placeAt(piece, s);
      level = DEPTH - 1;
      continue;
    }
#endif
    // In whole numbers, so that no ray is held up by rounding
    ivec3 next = clamp(ivec3(floor(piece.origin + s * piece.direction)), corner, beyond - 1);
    if (exits.x <= exits.y && exits.x <= exits.z) next.x = forward.x ? beyond.x : corner.x - 1;
    else if (exits.y <= exits.z) next.y = forward.y ? beyond.y : corner.y - 1;
    else next.z = forward.z ? beyond.z : corner.z - 1;
    if (any(lessThan(next, ivec3(0))) || any(greaterThanEqual(next, ivec3(SIDE)))) break;
    ivec3 changed = place ^ next;
    level = (floatBitsToInt(float(changed.x | changed.y | changed.z)) >> 23) - 127;  // the highest bit
    place = next;
  }
  depth /= max(1.0 - left, 1e-6);
  return vec4(sum, left);
}

vec3 depthColour(float depth) {
  float far = 1.0 / depthRange.y;
  float near = clamp((1.0 / max(depth, 1e-6) - far) / (1.0 / depthRange.x - far), 0.0, 1.0) * 15.0;
  int at = min(int(near), 14);
  return mix(heat[at], heat[at + 1], near - float(at));
}

void main() {
  vec2 screen = middle + (2.0 * gl_FragCoord.xy / pictureSize - 1.0) * halfExtent;
  vec3 viewed = normalize(mat3(cameraToWorld) * vec3(screen, -1.0));
  vec3 away = mix(vec3(-1e-9), vec3(1e-9), greaterThanEqual(viewed, vec3(0.0)));
  vec3 along = mix(viewed, away, lessThan(abs(viewed), vec3(1e-9)));  // a ray along a face divides by no zero
  vec3 origin = (treeOffset + treeScale * cameraToWorld[3].xyz) * float(SIDE);
  float depth;
  vec4 seen = march(origin, along * treeScale * float(SIDE), viewed, depth);
  if (showDepth == 1) colour = vec4(mix(depthColour(depth), vec3(1.0), seen.a), 1.0);
  else colour = vec4(seen.rgb + seen.a * background, 1.0);
}
