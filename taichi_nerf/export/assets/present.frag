// The picture, of whatever size it was rendered in, over the canvas, or over an eye's part of what a headset shows.
precision highp float;
precision highp sampler2D;

uniform sampler2D picture;
uniform vec2 part;          // of the texture, that the picture takes
uniform vec2 corner, size;  // of what it is shown on, in pixels
out vec4 colour;

void main() {
  vec2 texel = 1.0 / vec2(textureSize(picture, 0));
  vec2 place = (gl_FragCoord.xy - corner) / size * part;
  colour = texture(picture, clamp(place, 0.5 * texel, part - 0.5 * texel));
}
