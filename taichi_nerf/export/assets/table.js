// The packed field: from bytes to what the buffers hold. taichi_nerf/export/field_packing.py says what the bytes mean.

/** The parts of the bytes, by name; none is copied. */
function partsOf(scene, bytes) {
  let at = 0;
  const take = (length) => bytes.subarray(at, at += length);
  const parts = {weights: take(scene.weights * 4), codebooks: scene.levels.map(() => take(2 * scene.values)),
                 bits: take(scene.cells / 8)};
  parts.codes = scene.levels.map(({size}) => take(size * scene.features));
  return parts;
}

/** Half floats of one level of the table, entry after entry: each feature's numbers into the level's codebook follow one
 * another in the file. */
function levelOfTable({codes, codebooks}, level, features) {
  const values = new Uint16Array(codebooks[level].slice().buffer), planes = codes[level];
  const size = planes.length / features, halves = new Uint16Array(planes.length);
  for (let k = 0; k < features; k++) {
    for (let entry = 0; entry < size; entry++) halves[entry * features + k] = values[planes[k * size + entry]];
  }
  return halves;
}

/** A bit for each block of 64 cells, 4 x 4 x 4 of them: whether one of them is occupied. */
function blocksOf(bits) {
  const words = new Uint32Array(bits.slice().buffer), blocks = new Uint32Array(words.length / 64);
  for (let i = 0; i < words.length; i += 2) {
    if (words[i] | words[i + 1]) blocks[i >> 6] |= 1 << (i >> 1 & 31);
  }
  return blocks;
}

/** Rows of the hash grid's levels as the shader has them: first entry, entries, vertices, hashed, cells. */
function rowsOfLevels(levels) {
  const rows = new DataView(new ArrayBuffer(20 * levels.length));
  levels.forEach(({first, size, resolution, hashed, scale}, level) => {
    [first, size, resolution, hashed].forEach((value, k) => rows.setUint32(20 * level + 4 * k, value, true));
    rows.setFloat32(20 * level + 16, scale, true);
  });
  return new Uint8Array(rows.buffer);
}
