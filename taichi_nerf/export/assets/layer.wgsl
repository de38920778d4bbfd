
// A layer of the $network network: the rectified products of $inputs vec4f with a matrix, as $outputs vec4f.
fn $name(x: ptr<function, array<vec4f, $inputs>>) -> array<vec4f, $outputs> {
  var y: array<vec4f, $outputs>;
  for (var row = 0u; row < ${outputs}u; row++) {
    var sum = vec4f(0.0);
    for (var i = 0u; i < ${inputs}u; i++) {
      sum += weights[${first}u + row * ${inputs}u + i] * (*x)[i];
    }
    y[row] = $activation;
  }
  return y;
}
