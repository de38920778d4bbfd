// What the pages have in common of WebGL2: programs that fill a rectangle, and textures that hold a picture.

const TRIANGLE = `#version 300 es
void main() { gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0); }`;

/** {program, uniforms: their places by name} of a fragment shader, over all of the viewport. */
function programOf(gl, fragment) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, TRIANGLE], [gl.FRAGMENT_SHADER, '#version 300 es\n' + fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    gl.deleteShader(shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
    throw new Error('the shader does not compile here: ' + [...logs, gl.getProgramInfoLog(program)].join(' '));
  }
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
    const name = gl.getActiveUniform(program, i).name;
    uniforms[name.replace('[0]', '')] = gl.getUniformLocation(program, name);
  }
  return {program, uniforms};
}

/** A texture of `width` x `height` pixels for a picture, bound to `unit`. */
function pictureTexture(gl, unit, width, height) {
  const texture = gl.createTexture();
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, width, height);
  for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.LINEAR);
  for (const wrap of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, wrap, gl.CLAMP_TO_EDGE);
  return texture;
}

/** Show what the first `width` x `height` pixels of a picture {texture, width, height} hold, at `place`, {x, y, width,
 * height}, of a framebuffer; `present` is the program of present.frag. */
function showPicture(gl, present, unit, picture, width, height, framebuffer, place) {
  const {program, uniforms: at} = present;
  gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
  gl.useProgram(program);
  gl.viewport(place.x, place.y, place.width, place.height);
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, picture.texture);
  gl.uniform1i(at.picture, unit);
  gl.uniform2f(at.part, width / picture.width, height / picture.height);
  gl.uniform2f(at.corner, place.x, place.y);
  gl.uniform2f(at.size, place.width, place.height);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
}
