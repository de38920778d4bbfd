"""The cameras that are drawn: their small pictures, and a jump to where one of them stood."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from taichi_nerf.data import Images
from taichi_nerf.viewer.door import Picture

from ..test_paths import make_cameras, make_scene, ring
from .conftest import visit
from .test_studio import Clock, SlowDoor

pytest.importorskip("viser", reason="the viewer's library is not installed: pip install 'taichi-nerf[view]'")

from taichi_nerf.viewer.face.cameras import MOST_CAMERAS, THUMBNAIL
from taichi_nerf.viewer.thumbnails import put_images, rendered_thumbnails

COUNT, BACKGROUND = 6, 0.4


def scene_of(images, cameras=None, time=None):
    """One whose cameras took `images` [H, W, 4], at a time each where that is known."""
    scene = make_scene(make_cameras(ring(len(images))) if cameras is None else cameras)
    train = dataclasses.replace(scene.splits["train"], images=Images.from_list(images), time=time)
    return dataclasses.replace(scene, splits={"train": train})


def images_of_one_colour(size=(40, 30)):
    """Each its own, the right half transparent."""
    images = []
    for n in range(COUNT):
        image = np.full((*size[::-1], 4), (40 * n, 200, 255 - 40 * n, 255), np.uint8)
        image[:, size[0] // 2 :, 3] = 0
        images.append(image)
    return images


def thumbnails(page):
    return {number: handle.image for (_, number), handle in page.cameras._frusta.items()}


def click(page, number, client):
    """As the server does when somebody clicks on what is drawn of a camera."""
    for entry in page.cameras._frusta["train", number]._impl.click_cb:
        entry.callback(SimpleNamespace(client=client))


def test_small_pictures_are_the_images_over_the_background(served):
    scene = scene_of(images_of_one_colour())
    page = served(scene=scene)
    assert all(image is None for image in thumbnails(page).values())
    put_images(page, scene, BACKGROUND)
    for n, image in thumbnails(page).items():
        assert image.shape == (36, 48, 3) and image.dtype == np.uint8 and max(image.shape) == THUMBNAIL
        assert (image[:, :23] == (40 * n, 200, 255 - 40 * n)).all()
        assert (image[:, 25:] == round(255 * BACKGROUND)).all()


def test_small_pictures_of_upright_images_are_upright(served):
    scene = scene_of([np.full((60, 20, 4), 255, np.uint8)] * 3, make_cameras(ring(3), size=(20, 60)))
    page = served(scene=scene)
    put_images(page, scene, BACKGROUND)
    assert {image.shape for image in thumbnails(page).values()} == {(48, 16, 3)}


class Recording(SlowDoor):
    """Shows each look in a shade of its own, and keeps what it was asked for."""

    def __init__(self):
        super().__init__(Clock())
        self.asked = []

    def picture(self, look, shown, size, stopped, supersample=False):
        self.asked.append((look, shown, size))
        return Picture(image=np.full((*size[::-1], 3), 10 * len(self.asked), np.uint8))


@pytest.mark.parametrize("time", [None, np.linspace(0, 1, COUNT)])
def test_small_pictures_that_are_rendered_come_one_after_the_other(served, time):
    door, scene = Recording(), scene_of(images_of_one_colour(), time=time)
    page = served(door, scene=scene)
    page._picture._what.value = "depth"  # which those who look see, not the small pictures
    render_one = rendered_thumbnails(page, page._picture.studio)
    for n in range(COUNT):
        assert render_one() and sum(image is not None for image in thumbnails(page).values()) == n + 1
    assert not render_one() and len(door.asked) == COUNT
    cameras = scene.model_cameras("train")
    for n, (look, shown, size) in enumerate(door.asked):
        assert np.allclose(look.pose, cameras.camera_to_world[n])
        assert look.time == (None if time is None else pytest.approx(time[n]))
        assert shown.what == "colour" and size == look.window == (48, 36)
        assert (thumbnails(page)[n] == 10 * (n + 1)).all()


def test_of_very_many_cameras_some_are_drawn_and_all_are_in_the_menu(served):
    count = 2 * MOST_CAMERAS + 1
    scene = scene_of([np.zeros((3, 4, 4), np.uint8)] * count, make_cameras(ring(count), size=(4, 3)))
    page = served(scene=scene)
    assert sorted(number for _, number in page.cameras._frusta) == list(range(0, count, 3))
    put_images(page, scene, BACKGROUND)
    assert all(image is not None for image in thumbnails(page).values())


def test_a_click_on_a_camera_leads_there_at_its_time(served):
    time = np.linspace(0, 1, COUNT)
    door = SlowDoor(Clock())
    door.moves = True
    scene = scene_of(images_of_one_colour(), make_cameras(ring(COUNT), focal=30.0), time)
    page = served(door, scene=scene)
    client, cameras = visit(page), scene.model_cameras("train")
    click(page, 4, client)
    pose, camera = cameras.camera_to_world[4], client.camera
    assert np.allclose(camera.position, pose[:, 3]) and np.allclose(camera.up_direction, pose[:, 1])
    ahead = camera.look_at - camera.position
    assert np.allclose(ahead / np.linalg.norm(ahead), -pose[:, 2], atol=1e-6)
    assert camera.fov == pytest.approx(2 * np.arctan(15 / 30)) and page._visitors._fov[0].value == 53
    assert page._visitors._times[0].value == pytest.approx(time[4])


def test_cameras_are_drawn_when_that_is_asked_for_and_pictures_bring_distances_then(served):
    page = served()
    studio, frusta = page._picture.studio, page.cameras._frusta.values()
    assert not any(handle.visible for handle in frusta) and not studio.shown.distances
    page.cameras._shown.value = True
    assert all(handle.visible for handle in frusta) and studio.shown.distances
    page.cameras._shown.value = False
    assert not any(handle.visible for handle in frusta) and not studio.shown.distances
