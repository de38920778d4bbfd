"""The page of a field shows in a browser with WebGPU what the field shows."""

import re

import numpy as np
import pytest
import torch

from taichi_nerf.config import FieldConfig, HashGridConfig, InstantNGPConfig
from taichi_nerf.errors import UserError
from taichi_nerf.export import field_packing
from taichi_nerf.export.field_packing import pack_field
from taichi_nerf.export.page import field_scene, write_page
from taichi_nerf.models.instant_ngp import InstantNGP
from taichi_nerf.models.model import Box
from taichi_nerf.reference.mlp import mlp
from taichi_nerf.reference.spherical_harmonics import spherical_harmonics

from .browser import WEBGPU, browser
from .fields import seen_field, small_field
from .scenes import around
from .test_page import psnr

KINDS = {
    "view": {},
    "harmonics": {"harmonics": 2, "features": 2, "levels": 5, "seed": 3},
    "appearance": {"harmonics": 1, "constant": True, "features": 1, "levels": 6, "geometry": 16},
    "cascades, widths, deep": {"features": 8, "levels": 3, "cascades": 3, "wide": True, "colour_layers": 3,
                               "degree": 5, "rays": 4},
    "one layer": {"colour_layers": 0, "degree": 1, "geometry": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_shows_what_the_field_shows(kind, tmp_path):
    field, occupied = small_field(**KINDS[kind])
    cameras = around(3, (144, 120), distance=1.2)
    write_page(tmp_path / "page.html", field_scene(field), name="a field", start=cameras, cameras=cameras)
    with browser(cameras.size[0], flags=WEBGPU) as view:
        view.open(tmp_path / "page.html")
        for n in range(len(cameras)):
            expected = seen_field(field, occupied, cameras, n)
            assert expected.std() > 0.05
            assert psnr(view.look(cameras, n), expected) > 35, n
        assert view.said == []


@pytest.mark.slow
def test_depth_a_device_that_comes_back_and_memory_that_is_given_back(tmp_path):
    cameras = around(1, (144, 120), distance=1.2)
    write_page(tmp_path / "page.html", field_scene(small_field()[0]), name="a field", start=cameras)
    with browser(cameras.size[0], flags=WEBGPU) as view:
        view.open(tmp_path / "page.html")
        colour = view.picture()
        view.page.keyboard.press("KeyV")
        depth = view.picture()
        assert psnr(depth, colour) < 30 and depth.std() > 0.05
        view.page.keyboard.press("KeyV")
        lose = """async () => { const {device} = viewer.renderer;
            device.destroy();
            await device.lost; }"""
        view.page.evaluate(lose)
        assert psnr(view.picture(), colour) > 50 and not view.page.is_visible("#message")
        assert view.page.evaluate("viewer.bytes") > 0
        view.page.evaluate("""() => { window.buffers = Object.values(viewer.renderer.buffers).map((buffer) => {
            buffer.destroy = new Proxy(buffer.destroy, {apply: (destroy, it) => { it.gone = true; destroy.call(it); }});
            return buffer; }); }""")
        view.page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide'))")
        assert view.page.evaluate("viewer.bytes === 0 && viewer.renderer.device === null")
        assert view.page.evaluate("buffers.length === 5 && buffers.every((buffer) => buffer.gone)")
        assert view.said == []


@pytest.mark.slow
def test_a_device_that_is_lost_again_and_again_is_given_up(tmp_path):
    write_page(tmp_path / "page.html", field_scene(small_field()[0]), name="a field")
    with browser((144, 120), flags=WEBGPU) as view:
        view.open(tmp_path / "page.html")
        view.settle()
        view.page.evaluate("viewer.renderer.load = async () => viewer.renderer.watchers.restored()")
        view.page.evaluate("viewer.renderer.device.destroy()")
        view.page.wait_for_selector("#message:not([hidden])")
        assert "taken away again and again" in view.page.inner_text("#message")


@pytest.mark.slow
@pytest.mark.parametrize("before", [
    "Object.defineProperty(Navigator.prototype, 'gpu', {value: undefined})",
    "GPU.prototype.requestAdapter = async () => null",
])
def test_a_browser_without_webgpu_says_what_to_do(before, tmp_path):
    write_page(tmp_path / "page.html", field_scene(small_field()[0]), name="a field", poster=np.zeros((64, 64, 3)))
    with browser((320, 240), before=before, flags=WEBGPU) as view:
        view.open(tmp_path / "page.html")
        view.page.wait_for_selector("#message:not([hidden])")
        assert re.search("needs WebGPU.*taichi-nerf octree RUN", view.page.inner_text("#message"))
        assert view.page.is_visible("#poster")
        assert view.said == []


def test_what_is_packed_comes_back():
    field, _ = small_field(harmonics=2, geometry=6)
    packed, content = pack_field(field), field_scene(field).content
    weights = np.frombuffer(content, np.float32, sum(blocks.size for blocks in packed.density + packed.colour))
    at, levels = weights.nbytes, field.layout.levels
    x = np.linspace(-1, 1, 16).astype(np.float32)
    blocks = weights[: packed.density[0].size].reshape(4, 4, 4, 4)  # of 16 features to 16 units
    y = np.einsum("rick,ic->rk", blocks, x.reshape(4, 4)).reshape(-1)
    np.testing.assert_allclose(y, field.density_weights[0] @ x, rtol=1e-5, atol=1e-5)
    books = np.frombuffer(content, np.float16, 64 * len(levels), at).reshape(-1, 64).astype(np.float32)
    at += books.nbytes // 2
    bits = np.frombuffer(content, np.int32, len(field.bits), at)
    assert np.array_equal(bits, field.bits)
    at += bits.nbytes
    for level, (first, size, *_) in enumerate(levels):
        codes = np.frombuffer(content, np.uint8, 4 * size, at).reshape(4, size)
        at += codes.size
        entries = field.table[first : first + size]
        assert np.abs(books[level][codes.T] - entries).mean() < 0.04 * entries.std()
    assert at == len(content)


@pytest.mark.parametrize("harmonics", [None, 1])
def test_the_mean_appearance_is_in_the_weights(harmonics):
    grid = HashGridConfig(levels=2, log2_entries=8, base_resolution=4, max_resolution=8)
    config = InstantNGPConfig(appearance=3, widths="level", rays_per_pixel=4,
                              field=FieldConfig(hash_grid=grid, geometry_features=5, harmonics=harmonics))
    model = InstantNGP(config, Box(), counts={"appearance": 6})
    with torch.no_grad():
        model.codes["appearance"].table.normal_()
    arrays = model.as_field()
    assert arrays.sees_cones and arrays.rays_per_pixel == 4
    geometry, direction = torch.randn(5), torch.tensor([[0.6, 0.0, 0.8]])
    view = torch.ones(1) if harmonics is not None else spherical_harmonics(direction, 4)[0]
    code = model.codes["appearance"].table.detach().mean(dim=0)
    known = [geometry, code] if harmonics is not None else [geometry, view, code]
    expected = mlp(torch.cat(known)[:, None], [weight.detach() for weight in model.field.colour_network.weights])
    found = mlp(torch.cat([geometry, view])[:, None], [torch.from_numpy(w) for w in arrays.colour_weights])
    torch.testing.assert_close(found, expected)


def test_the_shader_has_the_sizes_of_the_field():
    field, _ = small_field(**KINDS["cascades, widths, deep"])
    shader = field_scene(field).shaders["field"]
    for line in ("LEVELS = 3u", "FEATURES = 8u", "INPUTS = 6u", "GEOMETRY = 2u", "VIEW = 7u", "SEEN = 9u",
                 "OUTPUTS = 1u", "HARMONIC = false", "WIDE = true", "RESOLUTION = 16", "CASCADES = 3u",
                 "CONE = 0.015625f", "SIDE = 4.0f", "MAX_SAMPLES = 1024", "RAYS = 2u"):
        assert f"const {line};\n" in shader, line
    layers = re.findall(r"fn (\w+_layer_\d)\(x: ptr<function, array<vec4f, (\d+)>>\) -> array<vec4f, (\d+)>", shader)
    assert layers == [("density_layer_0", "6", "4"), ("density_layer_1", "4", "2"), ("colour_layer_0", "9", "4"),
                      ("colour_layer_1", "4", "4"), ("colour_layer_2", "4", "4"), ("colour_layer_3", "4", "1")]
    assert re.findall(r"weights\[(\d+)u", shader) == ["0", "24", "32", "68", "84", "100"]


def test_a_codebook_has_every_value_of_few_and_the_best_of_many():
    few = np.linspace(-1, 1, 30).astype(np.float32)
    book, codes = field_packing._coded(few[:, None])
    assert np.abs(book.astype(np.float32)[codes[0]] - few).max() < 1e-3
    many = np.random.default_rng(0).laplace(size=(50_000, 2)).astype(np.float32)
    book, codes = field_packing._coded(many)
    assert np.square(book.astype(np.float32)[codes.T] - many).mean() < 3e-3
    book, codes = field_packing._coded(np.zeros((8, 2), np.float32))
    assert not book[codes].any()


def test_what_no_page_can_hold_is_refused_in_one_sentence(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"density network has 300 numbers in a layer.*256; .*octree"):
        pack_field(small_field(width=300)[0])
    field, _ = small_field()
    with pytest.raises(UserError, match=r"would have 0\.\d+ MB .* features.* may have 0\.001: .*log2-entries"):
        write_page(tmp_path / "page.html", field_scene(field), name="much", megabytes=0.001)
    field.bits[:] = 0
    with pytest.raises(UserError, match="the field is empty"):
        pack_field(field)
    monkeypatch.setattr(field_packing, "LARGEST_BUFFER", 1000)
    with pytest.raises(UserError, match=r"hash table has .* MiB.*log2-entries.*octree"):
        pack_field(field)
