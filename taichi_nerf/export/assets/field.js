// WebGPU: the buffers of a field, and pictures of it. A picture is drawn aside, in bands of rows if it is large, and shown
// when it is complete.

const TILE = 8;            // pixels along a side of a workgroup
const VIEW_BYTES = 368;    // of the shader's View
const BINDINGS = ['levels', 'table', 'bits', 'blocks', 'weights'];
const MISSING = 'This page needs WebGPU, which this browser does not have, or has not for this device or address; a current ' +
  'Chrome, Edge or Safari has it. taichi-nerf octree RUN makes a scene for every browser.';

class Renderer {
  /** Why this browser cannot draw a field, in a sentence; empty if it may. */
  static missing() { return navigator.gpu ? '' : MISSING; }

  /** The bytes of the page as they are kept. */
  static unpack() {}

  /** `sources` are the shaders {field, present, eye}, of which the last is for headsets. */
  constructor(canvas, scene, sources) {
    this.canvas = canvas;
    this.scene = scene;
    this.sources = sources;
    this.forget();
  }

  /** Call `lost` when the device is taken away, and `restored` when it is to be loaded again. */
  watch(lost, restored) { this.watchers = {lost, restored}; }

  /** Bring the field in `bytes` onto the device, with a rest after each piece. */
  async load(bytes, onProgress, rest) {
    const {scene} = this, parts = partsOf(scene, bytes);
    await this._open();
    const {device} = this;
    device.pushErrorScope('out-of-memory');
    const rows = rowsOfLevels(scene.levels), blocks = blocksOf(parts.bits);
    this._buffer('levels', rows.byteLength, rows);
    this._buffer('blocks', blocks.byteLength, blocks);
    this._buffer('bits', parts.bits.length, parts.bits);
    this._buffer('weights', parts.weights.length, parts.weights);
    this._buffer('table', 2 * parts.codes.reduce((sum, codes) => sum + codes.length, 0));
    for (const [level, {first}] of scene.levels.entries()) {
      device.queue.writeBuffer(this.buffers.table, 2 * first * scene.features,
                               levelOfTable(parts, level, scene.features));
      onProgress((level + 1) / scene.levels.length);
      await rest();
      if (this.device !== device) throw new DeviceLost();
    }
    this.view = device.createBuffer({size: VIEW_BYTES, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST});
    this.sizes = device.createBuffer({size: 16, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST});
    if (await device.popErrorScope()) throw new Error('the graphics device has too little memory');
    await this._pipelines();
  }

  async _open() {
    const adapter = await navigator.gpu.requestAdapter({powerPreference: 'high-performance'});
    if (!adapter) throw new Missing(MISSING);
    const device = await adapter.requestDevice();
    this.device = device;
    this.largest = device.limits.maxTextureDimension2D; // side of a picture, in pixels
    device.lost.then(() => {
      if (this.device !== device) return; // it was given back
      this.watchers.lost();
      this.watchers.restored();
    });
    this.format = navigator.gpu.getPreferredCanvasFormat();
    this.context = this.contextOf(this.canvas);
  }

  /** Of a canvas on which this device shows pictures. */
  contextOf(canvas) {
    const context = canvas.getContext('webgpu');
    context.configure({device: this.device, format: this.format, alphaMode: 'opaque'});
    return context;
  }

  /** What draws for a headset. */
  headset() { return new FieldEyes(this, this.sources.eye); }

  async _pipelines() {
    const {device, sources} = this;
    const modules = ['field', 'present'].map((name) => device.createShaderModule({code: sources[name]}));
    try {
      [this.render, this.present] = await Promise.all([
        device.createComputePipelineAsync({layout: 'auto', compute: {module: modules[0], entryPoint: 'render'}}),
        device.createRenderPipelineAsync({layout: 'auto', vertex: {module: modules[1], entryPoint: 'corner'},
                                          fragment: {module: modules[1], entryPoint: 'show',
                                                     targets: [{format: this.format}]}}),
      ]);
    } catch (error) {
      if (this.device !== device) throw new DeviceLost();
      throw new Error('the shader does not compile here: ' + error.message);
    }
    this.linear = device.createSampler({magFilter: 'linear', minFilter: 'linear'});
  }

  _buffer(name, size, content) {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    this.buffers[name] = this.device.createBuffer({size, usage});
    this.bytes += size;
    if (content) this.device.queue.writeBuffer(this.buffers[name], 0, content);
  }

  /** Draw rows `from` to `to` of a picture of `width` x `height` pixels, no more than `whole` has; `view` is {pose,
   * halfExtent, middle, depthRange}, of which the last two may be missing. */
  draw(view, width, height, from, to, whole = this.canvas) {
    const {device} = this;
    this._target(whole);
    device.queue.writeBuffer(this.view, 0, this._viewOf(view, width, height, from, to));
    const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
    pass.setPipeline(this.render);
    pass.setBindGroup(0, this.picture.rendering);
    pass.dispatchWorkgroups(Math.ceil(width / TILE), Math.ceil((to - from) / TILE));
    pass.end();
    device.queue.submit([encoder.finish()]);
  }

  /** The shader's View. */
  _viewOf({pose, halfExtent, middle, depthRange}, width, height, from, to) {
    const bytes = new ArrayBuffer(VIEW_BYTES), floats = new Float32Array(bytes), whole = new Uint32Array(bytes);
    const {background, heat} = this.scene, [near, far] = depthRange ?? [1, 2];
    floats.set(pose.right, 0);
    floats.set(pose.up, 4);
    floats.set(pose.back, 8);
    floats.set([...pose.position, near, ...background, far, width, height, ...halfExtent], 12);
    floats.set(heat.flatMap((colour) => [...colour, 1]), 24);
    floats.set(middle ?? [0, 0], 88);
    whole[3] = from;
    whole[7] = to;
    whole[11] = depthRange ? 1 : 0;
    return bytes;
  }

  /** Show the picture of `width` x `height` pixels that was drawn: all over a canvas, that of the page or another of
   * this device. */
  show(width, height, context = this.context) {
    const {device} = this, {canvas} = context;
    device.queue.writeBuffer(this.sizes, 0, new Float32Array([width, height, canvas.width, canvas.height]));
    const encoder = device.createCommandEncoder(), view = context.getCurrentTexture().createView();
    const pass = encoder.beginRenderPass({colorAttachments: [{view, loadOp: 'clear', storeOp: 'store'}]});
    pass.setPipeline(this.present);
    pass.setBindGroup(0, this.picture.showing);
    pass.draw(3);
    pass.end();
    device.queue.submit([encoder.finish()]);
  }

  /** What the device has been told is done when the returned function says so. */
  fence() {
    let done = false;
    this.device.queue.onSubmittedWorkDone().catch(() => {}).then(() => { done = true; });
    return () => done;
  }

  /** See to it that the picture aside has a size. */
  _target({width, height}) {
    const {device} = this;
    if (this.picture?.texture.width === width && this.picture?.texture.height === height) return;
    this.picture?.texture.destroy();
    const texture = device.createTexture({
      size: [width, height], format: 'rgba8unorm',
      usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.TEXTURE_BINDING});
    const group = (pipeline, resources) => device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0), entries: resources.map((resource, binding) => ({binding, resource}))});
    const buffers = [this.view, ...BINDINGS.map((name) => this.buffers[name])].map((buffer) => ({buffer}));
    this.picture = {texture, rendering: group(this.render, [...buffers, texture.createView()]),
                    showing: group(this.present, [texture.createView(), this.linear, {buffer: this.sizes}])};
  }

  /** Forget what a lost device took along. */
  forget() {
    this.device = null;
    this.buffers = {};
    this.picture = null;
    this.bytes = 0;
  }

  /** Give all memory of the device back. */
  release() {
    const {device} = this;
    for (const buffer of Object.values(this.buffers)) buffer.destroy();
    this.picture?.texture.destroy();
    this.context?.unconfigure();
    this.forget();
    device?.destroy();
  }
}
