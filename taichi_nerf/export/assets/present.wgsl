// The picture, of whatever size it was rendered in, over the canvas.

@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var linear: sampler;
@group(0) @binding(2) var<uniform> size: vec4f;  // pixels of the picture, and of the canvas

@vertex
fn corner(@builtin(vertex_index) index: u32) -> @builtin(position) vec4f {
  return vec4f(select(-1.0, 3.0, index == 1u), select(-1.0, 3.0, index == 2u), 0.0, 1.0);
}

@fragment
fn show(@builtin(position) place: vec4f) -> @location(0) vec4f {
  let at = clamp(place.xy / size.zw * size.xy, vec2f(0.5), size.xy - 0.5);
  return textureSample(picture, linear, at / vec2f(textureDimensions(picture)));
}
