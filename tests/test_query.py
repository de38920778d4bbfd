"""Questions to a field: distances, normals and densities of a ball that is known, in the units of a file far away."""

import numpy as np
import pytest
import torch

from taichi_nerf import query
from taichi_nerf.data.scene import Cameras, Images, Scene, Split
from taichi_nerf.fields.field import Radiance
from taichi_nerf.models.model import Box
from taichi_nerf.types import UNKNOWN

from .models.ball import Ball

TURN = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
SCALE, CENTRE, ORIGIN, RADIUS = 0.05, np.array([3.0, -1.0, 2.0]), np.array([4e5, 5e6, 100.0]), 6.0  # of the file
COLOUR = (0.5, 0.4, 0.2)


class Asked(Ball):
    """A ball that says what models say of themselves."""

    box, sees_cones, has_normals, moves = Box(), False, True, False

    def radiance(self, positions, shot=UNKNOWN):
        density, hidden = self.field.density(positions)
        return Radiance(density, self.field, hidden, shot)


def placed(size: int = 9) -> Scene:
    """A scene of one camera, 10 units away from the middle, that looks at it along the file's -x."""
    pose = np.array([[[0.0, 0.0, 1.0, CENTRE[0] + 10], [1.0, 0.0, 0.0, CENTRE[1]], [0.0, 1.0, 0.0, CENTRE[2]]]])
    cameras = Cameras(camera_to_world=pose, focal=[[size, size]], principal=[[size / 2, size / 2]],
                      distortion=np.zeros((1, 6)), lens=[0], size=[[size, size]])
    images = Images.from_list([np.zeros((size, size, 4), np.uint8)])
    return Scene(name="ball", format="test", splits={"train": Split(name="train", cameras=cameras, images=images)},
                 rotation=TURN, centre=CENTRE, origin=ORIGIN, scale=SCALE, aabb_scale=1, near=0.0, background="white",
                 bounded=True)


@pytest.fixture
def field(backend):
    return query.Field(Asked(backend.dtype, backend.device, colour=COLOUR, softness=3e-4, peak=2000.0), placed())


def rays_at_the_ball(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """From 9 units away, past the ball or not; directions of any length."""
    draw = np.random.default_rng(0)
    back = draw.normal(size=(count, 3))
    origins = 9 * back / np.linalg.norm(back, axis=1, keepdims=True)
    aims = draw.uniform(-6, 6, (count, 3))
    return origins + CENTRE + ORIGIN, (aims - origins) * draw.uniform(0.1, 3, (count, 1))


def exact(origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance and normal of the ball itself."""
    ways = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    away = origins - CENTRE - ORIGIN
    middle = -(away * ways).sum(axis=1)
    inside = RADIUS**2 - (away**2).sum(axis=1) + middle**2
    distance = np.where(inside > 0, middle - np.sqrt(np.maximum(inside, 0)), np.inf)
    with np.errstate(invalid="ignore"):
        return distance, (away + distance[:, None] * ways) / RADIUS


def test_distances_are_those_of_the_surface_in_the_units_of_the_file(field):
    origins, directions = rays_at_the_ball()
    seen, (distance, normal) = field.along(origins, directions, reach=0.3), exact(origins, directions)
    met = np.isfinite(distance) & ((normal * directions).sum(axis=1) < -0.2 * np.linalg.norm(directions, axis=1))
    assert met.sum() > 100 and (seen.opacity[met] > 0.99).all()
    for found in (seen.distance, seen.mean_distance, seen.free_distance):
        assert np.abs(found[met] - distance[met]).max() < 0.15  # a step of the march
    assert abs((seen.distance[met] - distance[met]).mean()) < 0.02
    assert np.abs(np.linalg.norm(seen.position[met] - CENTRE - ORIGIN, axis=1) - RADIUS).mean() < 0.05
    assert np.allclose(seen.colour[met], COLOUR, atol=0.01) and (seen.confidence[met] > 0.95).all()


def test_normals_are_those_of_a_surface_as_soft_as_trained_ones(backend):
    origins, directions = rays_at_the_ball(60)
    soft = Asked(backend.dtype, backend.device, softness=0.01, peak=300.0)
    distance, normal = exact(origins, directions)
    met = np.isfinite(distance)
    cosine = (query.Field(soft, placed()).along(origins, directions).normal[met] * normal[met]).sum(axis=1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 5


def test_a_smaller_share_lies_closer_to_the_boundary_by_what_the_density_says(backend):
    thin = query.Field(Asked(backend.dtype, backend.device, softness=1e-5, peak=100.0), placed())
    origins, directions = rays_at_the_ball()
    met = (exact(origins, directions)[1] * directions).sum(axis=1) < -0.5 * np.linalg.norm(directions, axis=1)
    half, fifth = (thin.along(origins[met], directions[met], normals=False, share=share) for share in (0.5, 0.2))
    deep = np.log(0.8 / 0.5) / (100 * SCALE)  # between 1 - exp(-density s) = 0.2 and 0.5
    apart = np.abs(half.distance - fifth.distance - deep)
    assert np.quantile(apart, 0.95) < 0.01 * deep and apart.max() < 0.015  # few end in the sample that has the boundary
    assert (half.opacity == fifth.opacity).all()
    with pytest.raises(ValueError, match="share must be above 0 and below 1, got 1"):
        thin.along(origins, directions, share=1)


def test_where_nothing_is_there_is_no_distance(field):
    seen = field.along(CENTRE + ORIGIN + (9.5, 9.5, 0), (0, 0, 1))
    assert np.isinf([seen.distance, seen.mean_distance, seen.free_distance]).all() and np.isnan(seen.position).all()
    assert (seen.opacity == 0).all() and (seen.confidence == 0).all() and (seen.normal == 0).all()
    assert len(field.along(np.zeros((0, 3)), np.zeros((0, 3))).distance) == 0


def test_the_median_sees_through_fog_that_moves_the_mean(backend):
    model = Asked(backend.dtype, backend.device, colour=COLOUR, softness=3e-4, peak=2000.0)
    clear = model.field.density

    def foggy(samples, shot=UNKNOWN, ray_index=None):
        density, hidden = clear(samples)
        return density + 0.8, hidden

    model.field.density = foggy
    origins, directions = rays_at_the_ball(40)
    distance, _ = exact(origins, directions)
    seen = query.Field(model, placed()).along(origins, directions, normals=False, threshold=0.05)
    met = np.isfinite(distance)
    assert seen.normal is None
    assert np.median(np.abs(seen.distance[met] - distance[met])) < 0.06
    assert np.median(np.abs(seen.mean_distance[met] - distance[met])) > 0.2
    # the fog alone reaches an opacity of 0.05 after -ln(0.95) / 0.8 model units, from where a ray enters the box
    ways = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    to_walls = (np.copysign(0.5 / SCALE, -ways) - (origins - CENTRE - ORIGIN)) / ways
    enters = np.maximum(to_walls, 0).max(axis=1)
    assert np.allclose(seen.free_distance, enters - np.log(0.95) / 0.8 / SCALE, atol=0.02)


def test_the_density_of_points_is_per_unit_of_the_file(field):
    inside = CENTRE + ORIGIN + np.array([[0, 0, 0], [3, -3, 1], [0, 0, 6.5]])
    found = field.at(inside)
    assert np.allclose(found.density[:2], 2000 * SCALE, rtol=1e-3) and found.density[2] < 1
    assert np.allclose(found.colour, COLOUR, atol=0.01)
    assert np.array_equal(field.at(inside, (0, 0, 2)).colour.shape, (3, 3))
    assert np.allclose(field.box, CENTRE + ORIGIN + np.array([[-10] * 3, [10] * 3]), atol=1e-5)


def test_rays_of_a_camera_go_through_its_pixels(field):
    origins, directions = field.rays_of(field.scene.splits["train"].cameras, 0)
    assert origins.shape == directions.shape == (81, 3)
    assert np.allclose(origins, CENTRE + ORIGIN + (10, 0, 0), atol=1e-4) and np.allclose(directions[40], (-1, 0, 0))
    assert field.along(origins, directions).distance[40] == pytest.approx(4, abs=0.1)


def test_a_ray_is_asked_alike_alone_and_among_others(field):
    origins, directions = rays_at_the_ball(30)
    together = field.along(origins, directions)
    alone = [field.along(origins[n], directions[n]).distance[0] for n in range(0, 30, 7)]
    assert np.allclose(together.distance[::7], alone, rtol=1e-4)


@pytest.mark.parametrize("origins, directions, options, sentence", [
    (np.zeros((2, 2)), np.ones((2, 2)), {}, r"origins must have shape \[N, 3\]"),
    (np.zeros((2, 3)), np.ones((3, 3)), {}, "origins and directions must be equally many, got 2 and 3"),
    (np.zeros((2, 3)), np.eye(3)[:2] * [[1], [0]], {}, "that of ray 1 has none"),
    (np.full((1, 3), np.nan), np.ones((1, 3)), {}, "origins must be finite, and row 0 is not"),
    (np.zeros(3), np.ones(3), {"threshold": 1.0}, "threshold must be above 0 and below 1, got 1"),
    (np.zeros(3), np.ones(3), {"reach": -1.0}, "reach must be above 0 and finite, got -1.0"),
    (np.zeros(3), np.ones(3), {"time": 2.0}, "time must be one number from 0 to 1, got 2.0"),
    (np.zeros(3), np.ones(3), {"time": float("nan")}, "time must be one number from 0 to 1, got nan"),
    (np.zeros(3), np.ones(3), {"time": np.zeros(3)}, r"time must be one number from 0 to 1, got \[0. 0. 0.\]"),
])
def test_what_is_no_ray_is_refused(origins, directions, options, sentence):
    field = query.Field(Asked(torch.float32, "cpu"), placed())
    with pytest.raises(ValueError, match=sentence):
        field.along(origins, directions, **options)


class Appearing(Asked):
    """The ball, which is there from the time 0.5 on."""

    def at_time_of(self, shot):
        self.field.peak = 2000.0 * float(shot.time[0] >= 0.5)

    def radiance(self, positions, shot=UNKNOWN):
        self.at_time_of(shot)
        return super().radiance(positions)

    def render(self, rays, standing=None):
        self.at_time_of(rays.shot)
        return super().render(rays)


def test_points_and_free_ways_are_asked_at_a_time(backend):
    field = query.Field(Appearing(backend.dtype, backend.device, colour=COLOUR, softness=3e-4), placed())
    middle = CENTRE + ORIGIN
    assert [float(field.at(middle, time=time).density[0]) > 0 for time in (0.0, 1.0)] == [False, True]
    ways = [float(field.free_distance(middle + (9, 0, 0), (-1, 0, 0), time=time)[0]) for time in (0.0, 1.0)]
    assert ways[0] == np.inf and ways[1] == pytest.approx(9 - RADIUS, abs=0.1)
    for points, options, said in ((middle, {"time": 1.5}, "time must be one number from 0 to 1, got 1.5"),
                                  (np.zeros((2, 3)), {"directions": np.ones((3, 3))},
                                   "directions must be one, or as many as points, 2, got 3")):
        with pytest.raises(ValueError, match=said):
            field.at(points, **options)
