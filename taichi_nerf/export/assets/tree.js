// The packed tree: from bytes to what the textures hold. taichi_nerf/export/packing.py says what the bytes mean.

/** Make values of what is stored as differences from the leaf before. */
function accumulate({sigma, colour}) {
  for (const plane of [sigma, ...colour]) {
    for (let i = 1; i < plane.length; i++) plane[i] += plane[i - 1];
  }
}

/** The parts of the bytes, by name; none is copied. */
function partsOf(scene, bytes) {
  let at = 0;
  const take = (length) => bytes.subarray(at, at += length);
  const parts = {children: take(scene.nodes), leaves: take(scene.nodes), sigma: take(scene.leaves),
                 colour: [0, 1, 2].map(() => take(scene.leaves))};
  parts.codebooks = scene.rows.map((count, band) => take(count * (2 * band + 3) * 6));
  parts.rows = scene.rows.map(() => [take(scene.leaves), take(scene.leaves)]);
  return parts;
}

const ONES = Uint8Array.from({length: 256}, (_, mask) => mask.toString(2).replaceAll('0', '').length);

/** A filler of texels of the nodes: two numbers each, where the first child and the first leaf are, with the masks. */
function nodeFiller(parts) {
  let child = 1, leaf = 0;
  return (texels, first, count) => {
    for (let i = 0; i < count; i++) {
      const children = parts.children[first + i], leaves = parts.leaves[first + i];
      texels[2 * i] = child << 8 | children;
      texels[2 * i + 1] = leaf << 8 | leaves;
      child += ONES[children];
      leaf += ONES[leaves];
    }
  };
}

/** A filler of texels of the leaves: sigma, red, green, blue. */
function leafFiller(parts) {
  const planes = [parts.sigma, ...parts.colour];
  return (texels, first, count) => {
    for (let k = 0; k < 4; k++) {
      for (let i = 0; i < count; i++) texels[4 * i + k] = planes[k][first + i];
    }
  };
}

/** A filler of texels of `channels` numbers: the row of each band. */
function rowFiller(parts, channels) {
  return (texels, first, count) => {
    parts.rows.forEach(([low, high], band) => {
      for (let i = 0; i < count; i++) texels[channels * i + band] = low[first + i] | high[first + i] << 8;
    });
  };
}

/** A filler of texels of all codebooks, one after the other: half floats of red, green, blue. */
function codebookFiller(parts) {
  const halves = parts.codebooks.flatMap((book) => [...new Uint16Array(book.slice().buffer)]);
  return (texels, first, count) => texels.set(halves.slice(3 * first, 3 * (first + count)));
}
