// WebGL2: the textures of a tree, and pictures of it. A picture is drawn aside, in bands of rows if it is large, and
// shown when it is complete.

const WIDTH = 2048;      // of a texture, and its greatest height: what every device has
const UPLOAD_ROWS = 128; // a piece: whole textures at once are too much for some drivers

class Renderer {
  /** Why this browser cannot draw an octree, in a sentence; empty if it may. */
  static missing() {
    return window.WebGL2RenderingContext ? '' : 'This browser has no WebGL2; open the file in a current one.';
  }

  /** The bytes of the page as they are kept: differences from leaf to leaf become values. */
  static unpack(scene, bytes) { accumulate(partsOf(scene, bytes)); }

  /** `sources` are the shaders {octree, present}. Throws where there is no WebGL2. */
  constructor(canvas, scene, sources) {
    this.canvas = canvas;
    this.scene = scene;
    this.sources = sources;
    this.gl = canvas.getContext('webgl2', {alpha: false, antialias: false, depth: false, stencil: false,
                                           powerPreference: 'high-performance'});
    if (!this.gl) throw new Error('this browser has no WebGL2');
    this.largest = this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE); // side of a picture, in pixels
    this.textures = [];
    this.bytes = 0;
    this.picture = null;
  }

  /** Call `lost` when the device is taken away, and `restored` when it is to be loaded again. */
  watch(lost, restored) {
    this.canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault();
      lost();
    });
    this.canvas.addEventListener('webglcontextrestored', restored);
  }

  /** Bring the tree `bytes` onto the device, with a rest after each piece. */
  async load(bytes, onProgress, rest) {
    const {gl, scene} = this, parts = partsOf(scene, bytes), bands = scene.rows.length;
    const numbers = {DEPTH: scene.depth, BASIS: scene.basis, BANDS: bands, ...(scene.unbounded ? {CONTRACTED: 1} : {})};
    const defines = Object.entries(numbers).map(([name, value]) => `#define ${name} ${value}\n`);
    this.octree = programOf(gl, defines.join('') + this.sources.octree);
    this.present = programOf(gl, this.sources.present);
    const rowFormats = [null, [gl.R16UI, gl.RED_INTEGER], [gl.RG16UI, gl.RG_INTEGER], [gl.RGBA16UI, gl.RGBA_INTEGER],
                        [gl.RGBA16UI, gl.RGBA_INTEGER]];
    const channels = [0, 1, 2, 4, 4][bands];
    const plans = [
      {name: 'nodes', count: scene.nodes, format: [gl.RG32UI, gl.RG_INTEGER, gl.UNSIGNED_INT], channels: 2,
       array: Uint32Array, fill: nodeFiller(parts)},
      {name: 'leaves', count: scene.leaves, format: [gl.RGBA8UI, gl.RGBA_INTEGER, gl.UNSIGNED_BYTE], channels: 4,
       array: Uint8Array, fill: leafFiller(parts)},
    ];
    if (bands > 0) {
      const widths = scene.rows.map((count, band) => count * (2 * band + 3));
      this.firstRow = widths.map((_, band) => widths.slice(0, band).reduce((sum, width) => sum + width, 0));
      plans.push(
        {name: 'rows', count: scene.leaves, format: [...rowFormats[bands], gl.UNSIGNED_SHORT], channels,
         array: Uint16Array, fill: rowFiller(parts, channels)},
        {name: 'codebook', count: widths.reduce((sum, width) => sum + width), flat: true,
         format: [gl.RGB16F, gl.RGB, gl.HALF_FLOAT], channels: 3, array: Uint16Array, fill: codebookFiller(parts)});
    }
    const total = plans.reduce((sum, plan) => sum + plan.count, 0);
    let done = 0;
    for (const plan of plans) {
      await this._upload(plan, async (count) => {
        done += count;
        onProgress(done / total);
        await rest();
      });
    }
  }

  async _upload({name, count, format: [internal, format, type], channels, array, fill, flat}, afterPiece) {
    const {gl} = this, target = flat ? gl.TEXTURE_2D : gl.TEXTURE_2D_ARRAY;
    const rows = Math.ceil(count / WIDTH), layers = Math.ceil(rows / WIDTH), height = Math.min(rows, WIDTH);
    const unit = this.textures.length, texture = gl.createTexture();
    this.textures.push({name, texture, target});
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(target, texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    if (flat) gl.texStorage2D(target, 1, internal, WIDTH, height);
    else gl.texStorage3D(target, 1, internal, WIDTH, height, layers);
    gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    this.bytes += WIDTH * height * layers * channels * array.BYTES_PER_ELEMENT;
    const texels = new array(WIDTH * UPLOAD_ROWS * channels);
    for (let row = 0; row < rows; row += UPLOAD_ROWS) {
      const high = Math.min(UPLOAD_ROWS, rows - row), texelCount = Math.min(count - row * WIDTH, high * WIDTH);
      fill(texels, row * WIDTH, texelCount);
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(target, texture);
      if (flat) gl.texSubImage2D(target, 0, 0, row, WIDTH, high, format, type, texels);
      else gl.texSubImage3D(target, 0, 0, row % WIDTH, Math.floor(row / WIDTH), WIDTH, high, 1, format, type, texels);
      await afterPiece(texelCount);
      if (gl.isContextLost()) throw new DeviceLost();
    }
  }

  /** Draw rows `from` to `to` of a picture of `width` x `height` pixels, no more than `whole` has; `view` is {pose,
   * halfExtent, middle, depthRange}, of which the last two may be missing. */
  draw(view, width, height, from, to, whole = this.canvas) {
    const {gl, scene} = this, {program, uniforms: at} = this.octree, {right, up, back, position} = view.pose;
    this._target(whole);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.picture.framebuffer);
    gl.useProgram(program);
    gl.viewport(0, 0, width, height);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(0, from, width, to - from);
    this.textures.forEach(({name, texture, target}, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(target, texture);
      gl.uniform1i(at[name], unit);
    });
    if (this.firstRow) gl.uniform1iv(at.firstRow, this.firstRow);
    gl.uniform2f(at.sigmaRange, scene.sigma[0], Math.log(scene.sigma[1] / scene.sigma[0]));
    gl.uniform3fv(at.treeOffset, scene.offset);
    gl.uniform3fv(at.treeScale, scene.scale);
    gl.uniformMatrix4fv(at.cameraToWorld, false, [...right, 0, ...up, 0, ...back, 0, ...position, 1]);
    gl.uniform2fv(at.halfExtent, view.halfExtent);
    gl.uniform2fv(at.middle, view.middle ?? [0, 0]);
    gl.uniform2f(at.pictureSize, width, height);
    gl.uniform1f(at.near, scene.near);
    gl.uniform3fv(at.background, scene.background);
    gl.uniform1i(at.showDepth, view.depthRange ? 1 : 0);
    gl.uniform2fv(at.depthRange, view.depthRange ?? [1, 2]);
    gl.uniform3fv(at.heat, scene.heat.flat());
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.disable(gl.SCISSOR_TEST);
  }

  /** Show the picture of `width` x `height` pixels that was drawn: all over the canvas, or at {x, y, width, height} of
   * another framebuffer. */
  show(width, height, framebuffer = null, place = {x: 0, y: 0, width: this.canvas.width, height: this.canvas.height}) {
    showPicture(this.gl, this.present, this.textures.length, this.picture, width, height, framebuffer, place);
  }

  /** What draws for a headset. */
  headset() { return new OctreeEyes(this); }

  /** What the device has been told is done when the returned function says so. */
  fence() {
    const {gl} = this, sync = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    return () => {
      const done = gl.isContextLost() || gl.getSyncParameter(sync, gl.SYNC_STATUS) === gl.SIGNALED;
      if (done) gl.deleteSync(sync);
      return done;
    };
  }

  /** See to it that the picture aside has a size. */
  _target({width, height}) {
    const {gl} = this;
    if (this.picture?.width === width && this.picture?.height === height) return;
    this._dropPicture();
    const texture = pictureTexture(gl, this.textures.length, width, height), framebuffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    this.picture = {texture, framebuffer, width, height};
  }

  _dropPicture() {
    if (!this.picture) return;
    this.gl.deleteTexture(this.picture.texture);
    this.gl.deleteFramebuffer(this.picture.framebuffer);
    this.picture = null;
  }

  /** Forget what a lost context took along. */
  forget() {
    this.textures = [];
    this.bytes = 0;
    this.picture = null;
  }

  /** Give all memory of the device back. */
  release() {
    const {gl} = this;
    this._dropPicture();
    for (const {texture} of this.textures) gl.deleteTexture(texture);
    this.forget();
    gl.getExtension('WEBGL_lose_context')?.loseContext();
  }
}

/** An octree for a headset, whose framebuffers belong to the very context that draws. */
class OctreeEyes {
  constructor(renderer) {
    this.renderer = renderer;
    this.gl = renderer.gl;
  }

  /** A picture of `width` x `height` pixels, shown at `place`, {x, y, width, height}, of a framebuffer. */
  draw(view, width, height, framebuffer, place) {
    this.renderer.draw(view, width, height, 0, height, place);
    this.renderer.show(width, height, framebuffer, place);
  }

  release() {}
}
