// A field for a headset. The framebuffers of one belong to WebGL, and the field is drawn by WebGPU: on a canvas aside, whose
// picture becomes a texture of WebGL. It never leaves the graphics device.

class FieldEyes {
  /** `source` is the shader present.frag. */
  constructor(renderer, source) {
    this.renderer = renderer;
    this.canvas = new OffscreenCanvas(1, 1);
    this.context = null;  // of the canvas
    this.device = null;   // of that context
    this.picture = null;  // the texture of WebGL: {texture, width, height}
    this.gl = document.createElement('canvas').getContext('webgl2', {
      alpha: false, antialias: false, depth: false, stencil: false, xrCompatible: true, powerPreference: 'high-performance'});
    if (!this.gl) throw new Error('this browser has no WebGL2');
    this.present = programOf(this.gl, source);
  }

  /** A picture of `width` x `height` pixels, shown at `place`, {x, y, width, height}, of a framebuffer. */
  draw(view, width, height, framebuffer, place) {
    const {renderer, gl, canvas} = this;
    this._target(place);
    renderer.draw(view, width, height, 0, height, place);
    renderer.show(width, height, this.context);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.picture.texture);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, gl.RGBA, gl.UNSIGNED_BYTE, canvas);
    showPicture(gl, this.present, 0, this.picture, place.width, place.height, framebuffer, place);
  }

  /** See to it that canvas and texture have the size of an eye, and are of the device there is: one may be lost. */
  _target({width, height}) {
    const {renderer, gl, canvas} = this;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    if (this.device !== renderer.device) {
      this.context = renderer.contextOf(canvas);
      this.device = renderer.device;
    }
    if (this.picture?.width === width && this.picture?.height === height) return;
    if (this.picture) gl.deleteTexture(this.picture.texture);
    this.picture = {texture: pictureTexture(gl, 0, width, height), width, height};
  }

  release() {
    this.context?.unconfigure();
    this.gl.getExtension('WEBGL_lose_context')?.loseContext();
  }
}
