"""Each model of the family against its reference in plain PyTorch: fixed weights, the same rays, every pixel."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from taichi_nerf.config import (
    FieldConfig,
    HashGridConfig,
    HashProposalConfig,
    InstantNGPConfig,
    MipNeRF360Config,
    MipNeRFConfig,
    NeRFConfig,
    PositionalFieldConfig,
    PositionalProposalConfig,
    RangeConfig,
)
from taichi_nerf.data.scene import Cameras, Images, Scene, Split
from taichi_nerf.errors import UserError
from taichi_nerf.fields import mlp, positional_field
from taichi_nerf.models.family import box_of, build_model, check_scene, settled
from taichi_nerf.models.model import Box
from taichi_nerf.reference.contraction import contract
from taichi_nerf.reference.models import family as reference
from taichi_nerf.reference.models.fields import deep_colour, deep_density, hash_colour, part
from taichi_nerf.reference.positional_encoding import encode
from taichi_nerf.reference.ray_aabb import intersect_ray_aabb
from taichi_nerf.types import Rays, Seeds, Shot, Standing
from taichi_nerf.viewer.door import Door

RAYS, LEVELS, DIRECTION_LEVELS, SKIP, DEGREE = 9, 4, 2, 1, 3
DEEP = PositionalFieldConfig(levels=LEVELS, direction_levels=DIRECTION_LEVELS, width=24, depth=4, skip=SKIP,
                             bottleneck=12, view_width=16)
GRID = {"levels": 3, "log2_entries": 8, "base_resolution": 4}
HASH = FieldConfig(hash_grid=HashGridConfig(features=2, max_resolution=8, **GRID), geometry_features=5,
                   density_width=16, colour_width=16, direction_degree=DEGREE)
PROPOSAL = HashProposalConfig(hash_grid=HashGridConfig(features=2, max_resolution=4, **GRID), width=8)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Products are taken in the type of the weights."""
    for module in (mlp, positional_field):
        monkeypatch.setattr(module, "fastest_precision", lambda device: torch.float32)


@pytest.fixture
def rays(rng):
    return make_rays(rng)


def make_rays(rng):
    """Towards the middle from all around, and one that misses the box; with the radii of their cones."""
    origins = torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=rng, dtype=torch.float64), dim=1) * 1.3
    aims = 0.5 * torch.rand(RAYS, 3, generator=rng, dtype=torch.float64) - 0.25
    aims[0] += 3
    directions = torch.nn.functional.normalize(aims - origins, dim=1)
    radius = 0.002 + 0.01 * torch.rand(RAYS, generator=rng, dtype=torch.float64)
    index = torch.arange(RAYS, dtype=torch.int32) % 3
    values = (x.float().double() for x in (origins, directions, radius))  # the same numbers in either precision
    return Rays(*values, Shot(image=index, ids={"appearance": index}))


def prepared(backend, config, box, seed=3):
    """A model whose weights are larger than at the start, in the precision of the backend; and its state."""
    model = build_model(config, box, seed, {"appearance": 3})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_((0.5 if "table" in name else 0.2) * noise)
    model = model.to(backend.device, backend.dtype)
    state = {name: value.double().cpu() for name, value in model.state_dict().items()}
    return model, state


def rendered(backend, model, rays, seed):
    given = Rays(*(backend.tensor(x) for x in (rays.origins, rays.directions, rays.radius)),
                 rays.shot.map(lambda values: values.to(backend.device)), rays.per_pixel)
    standing = None if seed is None else Standing(step=40, progress=0.4, seeds=Seeds(0, seed, 0))
    with torch.no_grad():
        return model.render(given, standing)


def assert_pictures(backend, pixels, expected, scale):
    """Levels against the reference's (colour, opacity, depth, weights)."""
    for level, (colour, opacity, depth, weights) in zip(pixels, expected):
        assert 0.05 < opacity.mean() <= 1.0 + 1e-9
        for name, value in (("colour", colour), ("opacity", opacity), ("depth", depth / scale), ("weights", weights)):
            backend.assert_close(getattr(level if name == "weights" else level.pixels, name), value, name)


@pytest.mark.parametrize("seed", [None, 5])
def test_nerf_renders_what_its_reference_does(backend, rays, seed):
    model, state = prepared(backend, NeRFConfig(field=DEEP, coarse_samples=8, fine_samples=6), Box(bounded=True))
    near, far = box_bounds(rays)
    with torch.no_grad():
        expected = reference.nerf(state, 2 * rays.origins, rays.directions, near, far, coarse=8, fine=6, skip=SKIP,
                                  levels=LEVELS, direction_levels=DIRECTION_LEVELS, last="bounded", seed=seed)
    assert_pictures(backend, rendered(backend, model, rays, seed).levels, expected, 2)


@pytest.mark.parametrize("config", [
    NeRFConfig(field=DEEP, coarse_samples=8, fine_samples=6, rays_per_pixel=4),
    MipNeRF360Config(field=HASH, proposal=PROPOSAL, samples=6, proposal_samples=(8,), rays_per_pixel=4),
])
def test_a_pixel_of_several_rays_is_their_mean_at_every_level(backend, rays, config):
    model, _ = prepared(backend, config, Box())
    rays = rays[:8]
    one = rendered(backend, model, rays, 5)
    several = rendered(backend, model, dataclasses.replace(rays, per_pixel=4), 5)
    for found, of_rays in zip(several.levels, one.levels):
        assert torch.equal(found.weights, of_rays.weights)
        if of_rays.pixels is not None:
            for name in ("colour", "opacity", "depth"):
                values = getattr(of_rays.pixels, name)
                mean = values.view(2, 4, *values.shape[1:]).mean(dim=1)
                backend.assert_close(getattr(found.pixels, name), mean, name)
    background = torch.full((2, 3), 0.3).to(one.colour)
    assert several.over(background).shape == several.colour.shape == (2, 3)
    assert several.samples.ray_total == 8


@pytest.mark.parametrize("config", [
    MipNeRFConfig(field=HASH, samples=6, widths="level"),
    MipNeRF360Config(field=HASH, proposal=PROPOSAL, samples=6, proposal_samples=(8,), widths="six")])
def test_each_of_several_rays_of_a_pixel_is_as_wide_as_its_part_of_the_area(backend, rays, config):
    model, _ = prepared(backend, config, Box())
    several = dataclasses.replace(rays[:8], per_pixel=4)
    narrow = dataclasses.replace(rays[:8], radius=rays.radius[:8] / 2)
    for found, expected in zip(rendered(backend, model, several, 5).levels, rendered(backend, model, narrow, 5).levels):
        assert torch.equal(found.weights, expected.weights)


@pytest.mark.parametrize("config", [
    MipNeRFConfig(field=HASH, samples=6), MipNeRF360Config(field=HASH, proposal=PROPOSAL, samples=6)])
@pytest.mark.parametrize("widths", ["level", "six"])
def test_the_finest_level_of_a_hash_grid_counts_less_the_wider_a_cone_is(backend, rays, config, widths):
    model, _ = prepared(backend, dataclasses.replace(config, widths=widths), Box())
    assert model.sees_cones

    def colours():
        """Of narrow cones and of wide ones."""
        wide = (dataclasses.replace(rays, radius=torch.full_like(rays.radius, radius)) for radius in (1e-4, 30.0))
        return [rendered(backend, model, given, None).levels[-1].pixels.colour for given in wide]

    before = colours()
    with torch.no_grad():
        for table, *_ in (table for field in model.fields().values() for table in field.tables()):
            table[-256:] = 0  # as many entries as a level may have
    narrow, wide = ((a - b).abs().mean() for a, b in zip(before, colours()))
    assert narrow > 3 * wide and narrow > 1e-4  # next to the camera every cone is narrow


def test_points_of_no_ray_are_as_wide_as_the_median_camera_sees_them(backend, rays):
    """Whose pixels have a width of 1 / 9 at distance 1, and which stands at the middle of the scene."""
    scene = facing(count=1)
    for config in (MipNeRFConfig(field=HASH, widths="level"),
                   MipNeRF360Config(field=HASH, proposal=PROPOSAL, widths="six", contraction=False)):
        model, _ = prepared(backend, config, Box())
        positions = backend.tensor(rays.origins)
        points = model.density(positions)  # before it knows of cameras
        model.before_training(scene.model_cameras("train"))
        distance = positions.norm(dim=1)
        backend.assert_close(model.view, torch.tensor([2 / 12**0.5 / 9, 0.0]), "view")
        widths = 0.5 * model.view[0] * distance * model.scale
        expected = model.scale * model.field.density((positions * model.scale, widths))[0]
        initial = getattr(config, "initial_density", 1.0)
        backend.assert_close(model.density(positions), initial * expected.double())
        assert not torch.allclose(points, model.density(positions))


def test_points_in_a_hash_grid_are_cones_without_width(backend, rays):
    for config in (MipNeRFConfig(field=HASH, samples=6), MipNeRF360Config(field=HASH, proposal=PROPOSAL, samples=6)):
        points, _ = prepared(backend, config, Box())
        narrow, _ = prepared(backend, dataclasses.replace(config, widths="level"), Box())
        assert not points.sees_cones
        given = dataclasses.replace(rays, radius=torch.zeros_like(rays.radius))
        for a, b in zip(rendered(backend, points, rays, 5).levels, rendered(backend, narrow, given, 5).levels):
            backend.assert_close(a.weights, b.weights.double(), "weights")


@pytest.mark.parametrize("seed", [None, 5])
def test_mip_nerf_renders_what_its_reference_does(backend, rays, seed):
    model, state = prepared(backend, MipNeRFConfig(field=DEEP, samples=7), Box(bounded=True))
    near, far = box_bounds(rays)
    hit = near < far  # the textbook moments of an interval without length are 0 / 0
    rays, near, far = rays[hit], near[hit], far[hit]
    with torch.no_grad():
        expected = reference.mip_nerf(state, 2 * rays.origins, rays.directions, rays.radius, near, far, samples=7,
                                      skip=SKIP, levels=LEVELS, direction_levels=DIRECTION_LEVELS, seed=seed)
    assert_pictures(backend, rendered(backend, model, rays, seed).levels, expected, 2)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("widths", ["level", "six"])
def test_mip_nerf_with_a_hash_grid_renders_what_its_reference_does(backend, rays, widths, seed):
    model, state = prepared(backend, MipNeRFConfig(field=HASH, samples=7, widths=widths), Box(bounded=True))
    near, far = box_bounds(rays)
    hit = near < far  # the textbook points of an interval without length are 0 / 0
    rays, near, far = rays[hit], near[hit], far[hit]
    o, d, weights = 2 * rays.origins, rays.directions, part(state, "field")
    density = reference.width_density(state, o, d, rays.radius, grids={"field": {**GRID, "max_resolution": 16}},
                                      factor=1.0, six=widths == "six", seed=seed, side=2.0)
    with torch.no_grad():
        expected = reference.two_looks(near, far, density, lambda hidden: hash_colour(weights, hidden, d, DEGREE),
                                       samples=7, seed=seed)
    assert_pictures(backend, rendered(backend, model, rays, seed).levels, expected, 2)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("encoding, widths, spacing, shared", [
    ("positional", "off", "disparity", True), ("hash", "off", "disparity", True), ("hash", "level", "disparity", True),
    ("hash", "six", "power-ladder", True), ("hash", "six", "power-ladder", False)])
def test_mip_nerf_360_renders_what_its_reference_does(backend, rays, encoding, widths, spacing, shared, seed):
    """Proposals that are not shared have grids of their own, the first without the finest level of the second."""
    hashed = encoding == "hash"
    config = MipNeRF360Config(
        field=HASH if hashed else DEEP, proposal=PROPOSAL if hashed else PositionalProposalConfig(width=12, depth=2),
        proposal_samples=(8, 6), samples=5, radius=0.5, appearance=2, initial_density=0.5, widths=widths,
        shared_proposal=shared, proposal_levels=() if shared else (2, 3),
        range=RangeConfig(spacing=spacing, near=0.1, far=50.0))
    model, state = prepared(backend, config, Box(aabb_scale=16))
    o, d, radius = 2 * rays.origins, rays.directions, rays.radius
    near, far = torch.full((RAYS,), 0.2, dtype=torch.float64), torch.full((RAYS,), 100.0, dtype=torch.float64)
    weights, appearance = part(state, "field"), state["codes.appearance.table"][rays.shot.image.long()]
    if hashed:
        grids = {name: {**GRID, "max_resolution": size} for name, size in (("field", 32), ("proposals.0", 16))}
        if not shared:
            grids |= {"proposals.0": {**GRID, "levels": 2, "max_resolution": 8}, "proposals.1": grids["proposals.0"]}
        density = reference.point_density(state, o, d, grids=grids, factor=0.5)
        if widths != "off":
            density = reference.width_density(state, o, d, radius, grids=grids, factor=0.5, six=widths == "six",
                                              seed=seed)
    else:
        density = reference.cone_density(state, o, d, radius, model.basis.double().cpu(), levels=LEVELS, skip=SKIP)

    def colour(hidden):
        if hashed:
            return hash_colour(weights, hidden, d, DEGREE, appearance)
        return deep_colour(weights, hidden, d, DIRECTION_LEVELS, 0.001, appearance)

    progress = 1.0 if seed is None else 0.4  # a picture is of the end of the training
    with torch.no_grad():
        expected, levels = reference.mip_nerf_360(state, o, d, near, far, density, colour, counts=(8, 6, 5),
                                                  spacing=spacing, anneal=10 * progress / (9 * progress + 1),
                                                  seed=seed, shared=shared)
    pixels = rendered(backend, model, rays, seed)
    for level, (s, found) in zip(pixels.levels, levels):
        backend.assert_close(level.s, s, "fenceposts")
        backend.assert_close(level.weights, found, "weights")
    assert_pictures(backend, pixels.levels[-1:], [expected], 2)


@pytest.mark.parametrize("encoding", ["positional", "hash"])
def test_density_at_points_is_that_of_the_field_per_model_unit(backend, rays, encoding):
    positions = 4 * rays.directions
    model, state = prepared(backend, NeRFConfig(field=DEEP), Box(bounded=True))
    expected = 2 * deep_density(part(state, "fine"), encode(2 * positions, LEVELS), SKIP)[0]
    backend.assert_close(model.density(backend.tensor(positions)), expected)
    config = MipNeRF360Config(radius=0.5) if encoding == "positional" else MipNeRF360Config(
        field=HASH, proposal=PROPOSAL, radius=0.5)
    if encoding == "hash":
        model, state = prepared(backend, config, Box())
        grids = {"field": {**GRID, "max_resolution": 32}}
        found = reference.point_density(state, 2 * positions, 0 * positions, grids=grids, factor=1.0)
        fenceposts = torch.zeros(RAYS, 2, dtype=torch.float64)
        backend.assert_close(model.density(backend.tensor(positions)), 2 * found(0, "field", fenceposts)[0])
        assert contract(2 * positions).norm(dim=1).min() > 1


def box_bounds(rays):
    """Near and far [R] in unit space of the box [-1, 1]^3."""
    corners = torch.tensor([[-1.0] * 3, [1.0] * 3], dtype=torch.float64)
    near, far = intersect_ray_aabb(2 * rays.origins, rays.directions, corners)
    assert (far < 0).any() and (far > 0).any()
    return near, torch.maximum(near, far)


def facing(count=5, lens=0, turn=0.0):
    """A scene whose cameras stand in a plane and look along -z, each turned about y by `turn` more than the last."""
    poses = np.tile(np.eye(3, 4, dtype=np.float32), (count, 1, 1))
    for n, pose in enumerate(poses):
        angle = n * turn
        pose[:, :3] = [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
        pose[:2, 3] = 0.1 * n, -0.05 * n
    size = np.tile([8, 6], (count, 1))
    cameras = Cameras(camera_to_world=poses, focal=np.full((count, 2), 9.0), principal=size / 2,
                      distortion=np.zeros((count, 6)), lens=np.full(count, lens), size=size)
    images = Images.from_list([np.full((6, 8, 4), 255, np.uint8)] * count)
    split = Split(name="train", cameras=cameras, images=images, bounds=np.tile([1.0, 9.0], (count, 1)))
    return Scene(name="wall", format="transforms", splits={"train": split},
                 centre=np.zeros(3), scale=1.0, aabb_scale=16, near=0.05, background="black")


@pytest.mark.parametrize("config", [
    NeRFConfig(field=DEEP, coarse_samples=8, fine_samples=6),
    MipNeRFConfig(field=DEEP, samples=7),
    MipNeRF360Config(field=HASH, proposal=PROPOSAL, samples=6, proposal_samples=(8,))])
def test_cropped_to_a_box_nothing_is_seen_but_what_lies_in_it(backend, rays, config):
    model, _ = prepared(backend, config, Box(aabb_scale=4))
    before = rendered(backend, model, rays, None)
    lower, upper = (-0.3, -0.2, -0.3), (0.1, 0.3, 0.2)
    with model.cropped(lower, upper):
        part = rendered(backend, model, rays, None)
    corners = torch.tensor([lower, upper], dtype=torch.float64)
    entry, exit_ = intersect_ray_aabb(rays.origins, rays.directions, corners)
    for level in part.levels:
        t, hit = level.t.double().cpu(), exit_ > entry
        assert hit.any() and not hit.all()
        assert (t[hit, 0] > entry[hit] - 1e-5).all() and (t[hit, -1] < exit_[hit] + 1e-5).all()
        assert not level.weights[~hit].any()  # of a model without end the last interval is opaque, but for these
    assert part.opacity.mean() < before.opacity.mean()
    assert torch.equal(rendered(backend, model, rays, None).colour, before.colour)


def test_cropped_in_device_coordinates_rays_end_at_the_box(backend):
    scene = facing()
    model = build_model(NeRFConfig(ndc=True, field=DEEP, coarse_samples=50, fine_samples=0), box_of(scene))
    model.before_training(scene.model_cameras("train"))
    model = model.to(backend.device, backend.dtype)
    directions = torch.nn.functional.normalize(torch.tensor([[0.1, 0.2, -1.0], [-0.2, 0.0, -1.0]]), dim=1)
    rays = Rays(backend.tensor([[0.2, -0.1, 0.0], [0.1, 0.0, 0.0]]), backend.tensor(directions))
    with torch.no_grad(), model.cropped((-1.0, -1.0, -3.0), (1.0, 1.0, -2.0)):
        t = model.render(rays).levels[-1].t
    reach = t[:, [0, -1]].float().cpu() * -directions[:, 2:]
    torch.testing.assert_close(reach, torch.tensor([[2.0, 3.0]] * 2), atol=0.03, rtol=0)  # t begins within a part


def test_normalised_device_coordinates_are_for_perspective_cameras_that_face_one_way():
    config = NeRFConfig(ndc=True)
    check_scene(config, facing(turn=0.05))
    with pytest.raises(UserError, match="do not all face one way"):
        check_scene(config, facing(turn=1.2))
    with pytest.raises(UserError, match="fisheye lenses: normalised device coordinates"):
        check_scene(config, facing(lens=1))


def test_device_coordinates_begin_at_a_distance_that_is_known():
    scene = facing()
    split = dataclasses.replace(scene.splits["train"], bounds=None)
    unknown = dataclasses.replace(scene, splits={"train": split})
    with pytest.raises(UserError, match=r"how near to the cameras wall begins.*--model\.range\.near"):
        check_scene(NeRFConfig(ndc=True), unknown)
    config = NeRFConfig(ndc=True, range=RangeConfig(near=0.7))
    check_scene(config, unknown)
    for settings, near in ((config, 0.7), (NeRFConfig(ndc=True), scene.near)):
        model = build_model(settings, box_of(scene))
        model.before_training(scene.model_cameras("train"))
        assert model.frustum[2] == pytest.approx(near, abs=1e-5)


def test_cones_are_not_for_fisheye_lenses():
    for config in (MipNeRFConfig(), MipNeRF360Config()):
        with pytest.raises(UserError, match=r"the cone of a pixel is not round.*--model\.no-integrated"):
            check_scene(config, facing(lens=1))
        check_scene(dataclasses.replace(config, integrated=False), facing(lens=1))
    check_scene(MipNeRF360Config(field=HASH, proposal=PROPOSAL, widths="six"), facing(lens=1))
    check_scene(MipNeRFConfig(field=HASH, widths="level"), facing(lens=1))


def test_depth_in_device_coordinates_is_a_distance_from_the_camera(rng):
    """Of a wall at z = -2, of which the field knows nothing: all weight is put on the interval that holds it."""
    scene = facing()
    model = build_model(NeRFConfig(ndc=True, field=DEEP, coarse_samples=2000, fine_samples=0), box_of(scene))
    model.before_training(scene.model_cameras("train"))
    directions = torch.nn.functional.normalize(torch.tensor([[0.1, 0.2, -1.0], [-0.2, 0.0, -1.0]]), dim=1)
    rays = Rays(torch.tensor([[0.2, -0.1, 0.0], [0.1, 0.0, 0.0]]), directions)
    t = torch.linspace(0, 0.99, 2000).expand(2, -1)
    distance = model._distance(rays, t) / model.scale
    unit = model._device_rays(rays)
    ndc = unit.origins[:, None] + t[..., None] * unit.directions[:, None]
    z = -2 * model.frustum[2] / (1 - ndc[..., 2])  # of the inverse projection, in the frame of the cameras
    torch.testing.assert_close(rays.origins[:, None, 2] + distance * directions[:, None, 2], z, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"normals and --sparsity are not for --model\.ndc"):
        model.density(rays.origins)
    assert not Door(model).has_normals  # which the viewer does not offer then


def test_a_coarse_network_alone_and_raw_coordinates_are_models_too(rays):
    """The arms of an ablation: each renders, and has what it says."""
    given = Rays(rays.origins.float(), rays.directions.float(), rays.radius.float())
    plain = dataclasses.replace(DEEP, levels=0, view_dependent=False)
    for config in (NeRFConfig(field=plain, fine_samples=0), MipNeRFConfig(field=DEEP, integrated=False),
                   MipNeRF360Config(field=DEEP, contraction=False, integrated=False, distortion_weight=0.0,
                                    range=RangeConfig(spacing="linear", near=0.1, far=20.0))):
        pixels = build_model(config, Box(aabb_scale=16), 0).render(given)
        assert torch.isfinite(pixels.colour).all() and pixels.visible == len(pixels.weights)
    assert list(build_model(NeRFConfig(field=plain, fine_samples=0), Box()).fields()) == ["coarse"]


def test_the_finest_level_of_a_hash_grid_follows_the_pixels():
    """Whatever the units are that the model works in; one that is given stays."""
    scene = facing()
    pixels = scene.pixels_per_unit
    assert pixels == 18 and not box_of(scene).bounded
    open_grid = dataclasses.replace(HASH, hash_grid=HashGridConfig(log2_entries=8, base_resolution=4))
    wanted = {InstantNGPConfig(field=open_grid): 1.25 * pixels,
              NeRFConfig(field=open_grid): 1.25 * pixels * scene.aabb_scale / 2,  # the whole box has a side of 2
              MipNeRF360Config(field=open_grid, proposal=PROPOSAL, radius=0.5): 1.25 * pixels / 2}
    for config, finest in wanted.items():
        found = settled(config, scene)
        assert found.field.hash_grid.max_resolution == min(round(finest), 2048)
        assert settled(found, scene) == found
        layout = next(table.layout for table in build_model(found, box_of(scene)).modules() if hasattr(table, "layout"))
        side = {"instant-ngp": scene.aabb_scale, "nerf": 2, "mip-nerf-360": 4}[config.kind]
        assert layout.scales[-1] + 1 == pytest.approx(found.field.hash_grid.max_resolution * side, rel=1e-6)
    given = InstantNGPConfig(field=HASH, widths="off", rays_per_pixel=1)
    assert settled(given, scene) == given and settled(NeRFConfig(field=DEEP), scene) == NeRFConfig(field=DEEP)
    assert HashGridConfig().settled(1e6).max_resolution == 2048
    assert HashGridConfig(base_resolution=32).settled(3).max_resolution == 32
