"""A page of an octree, and one of a field, in a headset that the test plays: two eyes see what they should, and without
one there is no button."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from taichi_nerf import cli
from taichi_nerf.data.scene import Cameras
from taichi_nerf.data.svox import write_svox
from taichi_nerf.export.page import ARM, field_scene, octree_scene, write_page

from .browser import FLAGS, PATIENCE, WEBGPU, browser
from .fields import seen_field, small_field
from .scenes import around, ball_and_box, seen, tree_of
from .test_page import psnr

SIZE, FOCAL = (120, 100), 90.0  # pixels of an eye
APART = 0.064  # metres between the eyes
UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Served:
    """A page, and what its scene looks like to the plain renderer."""

    page: Path
    cameras: Cameras
    """The page begins at the first."""
    seen: Callable[[Cameras, int], np.ndarray]
    metres: float
    """Of a unit of the world."""
    flags: list[str]
    exact: float
    """dB: to how many the page shows it, values being packed."""


@pytest.fixture(scope="module")
def octree(tmp_path_factory):
    path, cameras, grid = tmp_path_factory.mktemp("vr") / "scene.html", around(), ball_and_box(5, 4)
    write_page(path, octree_scene(tree_of(grid)), name="a ball", start=cameras, cameras=cameras, metres=0.5)
    return Served(path, cameras, lambda eye, n: seen(grid, eye, n), 0.5, FLAGS, 45)


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    path, cameras = tmp_path_factory.mktemp("vr") / "field.html", around(distance=1.0).subset([1])
    mist, occupied = small_field()
    write_page(path, field_scene(mist), name="mist", start=cameras, cameras=cameras, metres=1.5)
    return Served(path, cameras, lambda eye, n: seen_field(mist, occupied, eye, n), 1.5, WEBGPU, 35)


@pytest.fixture(params=["octree", "field"])
def scene(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def page(octree):
    return octree.page


def eyes(head: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """[4, 4] place in the room and [2] principal point of either eye of a head [4, 4]; they look a little outwards, as
    lenses of headsets do."""
    found = []
    for side in (-1, 1):
        shift = np.eye(4)
        shift[0, 3] = side * APART / 2
        found.append((head @ shift, np.array([SIZE[0] / 2 - side * 11.0, SIZE[1] / 2 + 7.0])))
    return found


def projection(principal: np.ndarray) -> np.ndarray:
    """[4, 4], as of WebGL."""
    width, height = SIZE
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[1, 1] = 2 * FOCAL / width, 2 * FOCAL / height
    matrix[0, 2], matrix[1, 2] = 1 - 2 * principal[0] / width, 2 * principal[1] / height - 1
    matrix[2, 2:], matrix[3, 2] = (-1.0002, -0.2), -1
    return matrix


def headset(head: np.ndarray) -> str:
    """The program that a page runs before its own."""
    two = [{"matrix": place.T.reshape(-1).tolist(), "projection": projection(principal).T.reshape(-1).tolist()}
           for place, principal in eyes(head)]
    told = json.dumps({"eyes": two, "size": SIZE})
    return f"const headset = {told};\n" + (Path(__file__).parent / "headset.js").read_text(encoding="utf-8")


def served(view, page: Path, address: str = "http://127.0.0.1:8000/scene.html"):
    """Open a page as a server would give it; nothing is asked of a network."""
    view.page.route(address, lambda route: route.fulfill(path=page, content_type="text/html"))
    view.page.goto(address)
    view.settle()


def shown(view, now: float = 0.0) -> np.ndarray:
    """[2, H, W, 3] in [0, 1]: what the eyes see in the next frame."""
    (width, height), values = SIZE, view.page.evaluate("(now) => headset.step(now)", now)
    both = np.array(values, np.uint8).reshape(height, 2 * width, 4)[::-1, :, :3] / 255
    return np.stack([both[:, :width], both[:, width:]])


def until(view, condition: str):
    """Wait until it holds. The page's policy lets no browser poll for it by itself."""
    view.page.evaluate(f"""async () => {{
        for (const start = performance.now(); !({condition});) {{
            if (performance.now() - start > {PATIENCE}) throw new Error('waited in vain');
            await new Promise((resolve) => setTimeout(resolve, 10));
        }}
    }}""")


def trouble(view) -> list[str]:
    """What the browser says, but for what it says of the test, which reads what the headset shows."""
    return [line for line in view.said if "GPU stall due to ReadPixels" not in line]


def entered(view):
    view.page.click("#vr")
    until(view, "viewer.vr !== null")
    view.page.evaluate("() => { viewer.vr.part = 1; viewer.vr._adapt = () => {}; }")


def expected(scene: Served, head: np.ndarray, stepped=(0.0, 0.0, 0.0)) -> np.ndarray:
    """[2, H, W, 3]: by the plain renderer, of eyes that stand upright where the page begins."""
    camera = scene.cameras.subset([0])
    pose = camera.camera_to_world[0].astype(float)
    back = pose[:, 2] - UP * pose[2, 2]
    back /= np.linalg.norm(back)
    room = np.stack([np.cross(UP, back), UP, back], axis=1)
    pictures = []
    for place, principal in eyes(head):
        in_world = np.concatenate([room @ place[:3, :3],
                                   (pose[:, 3] + stepped + room @ place[:3, 3] / scene.metres)[:, None]], axis=1)
        eye = replace(camera, camera_to_world=in_world[None], focal=np.full((1, 2), FOCAL), principal=principal[None],
                      size=np.array([SIZE]))
        pictures.append(scene.seen(eye, 0))
    return np.stack(pictures)


def looking_down() -> np.ndarray:
    """[4, 4]: a head that is nearer by a metre, and tilted and turned."""
    head, (a, b) = np.eye(4), (-0.4, 0.12)
    head[:3, :3] = (np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
                    @ np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]))
    head[:3, 3] = (0.05, -0.1, -0.6)
    return head


@pytest.mark.slow
@pytest.mark.parametrize("head", [np.eye(4), looking_down()], ids=["still", "looking down"])
def test_each_eye_sees_the_scene_from_its_place(scene, head):
    with browser((200, 150), before=headset(head), flags=scene.flags) as view:
        served(view, scene.page)
        before = view.picture()
        entered(view)
        pictures = shown(view)
        for number, picture in enumerate(expected(scene, head)):
            assert psnr(pictures[number], picture) > scene.exact, number
            assert picture.std() > 0.05 and psnr(pictures[1 - number], picture) < 30, "the eyes differ"
        view.page.click("#vr")  # a session ends as it began
        until(view, "viewer.vr === null")
        assert psnr(view.picture(), before) > 60
        assert trouble(view) == []


@pytest.mark.slow
def test_a_stick_walks_through_the_scene_by_metres(octree):
    camera, head = octree.cameras.subset([0]), np.eye(4)
    with browser((200, 150), before=headset(head)) as view:
        served(view, octree.page)
        entered(view)
        shown(view, 1000.0)
        view.page.evaluate("() => { headset.axes = [0, 0, 0, -1]; }")
        for frame in range(1, 11):
            pictures = shown(view, 1000.0 + 20 * frame)
        pose = camera.camera_to_world[0]
        ahead = -(pose[:, 2] - UP * pose[2, 2])
        stepped = 1.5 * 0.2 / octree.metres * ahead / np.linalg.norm(ahead)  # 1.5 m/s for 0.2 s
        for picture, exact in zip(pictures, expected(octree, head, stepped)):
            assert psnr(picture, exact) > 45


@pytest.mark.slow
def test_pictures_are_coarser_where_they_come_late(scene):
    with browser((200, 150), before=headset(np.eye(4)), flags=scene.flags) as view:
        served(view, scene.page)
        view.page.click("#vr")
        until(view, "viewer.vr !== null")
        first, parts = None, []
        for now in (0, 40, 80, 91, 102):
            pictures = shown(view, float(now))
            first = pictures if first is None else first
            parts.append(view.page.evaluate("viewer.vr.part"))
        assert parts[0] == 0.5 and parts[2] < parts[1] < parts[0] and parts[2] < parts[3] < parts[4]
        assert first.std() > 0.04 and 20 < psnr(pictures, first) < 60, "at whatever resolution an eye sees the same"


@pytest.mark.slow
def test_a_headset_goes_on_when_the_device_comes_back_and_gives_its_own_back(field):
    with browser((200, 150), before=headset(np.eye(4)), flags=WEBGPU) as view:
        served(view, field.page)
        entered(view)
        before = shown(view)
        view.page.evaluate("""async () => { const {device} = viewer.renderer;
            device.destroy();
            await device.lost; }""")
        until(view, "viewer.ready")
        assert psnr(shown(view), before) > 50 and before.std() > 0.05
        view.page.click("#vr")
        until(view, "viewer.vr === null && headset.gl.isContextLost()")
        assert trouble(view) == []


@pytest.mark.slow
def test_the_button_is_there_where_a_headset_is(page):
    with browser((200, 150), before=headset(np.eye(4))) as view:
        for address, there in (("http://127.0.0.1:8000/scene.html", True), ("http://localhost:8000/scene.html", True),
                               ("https://example.org/scene.html", True), ("http://example.org/scene.html", False),
                               ("http://127.0.0.1.example.org/scene.html", False),
                               ("http://localhost:8000/scene.html?absent", False), (None, False)):
            if address is None:
                view.open(page)  # a file
                view.settle()
            else:
                served(view, page, address)
            view.page.wait_for_timeout(50)
            assert (view.page.query_selector("#vr") is not None) == there, address
        assert trouble(view) == []
        served(view, page, "http://localhost:8000/scene.html?busy")
        view.page.click("#vr")
        view.page.wait_for_selector("#message:not([hidden])")
        assert view.page.inner_text("#message") == "The headset shows nothing: it is busy."
        assert view.page.evaluate("viewer.vr") is None and trouble(view) == []


@pytest.mark.slow
def test_a_browser_without_webxr_has_no_button(page):
    with browser((200, 150), before="Object.defineProperty(navigator, 'xr', {value: undefined})") as view:
        served(view, page)
        view.page.wait_for_timeout(50)
        assert view.page.query_selector("#vr") is None and trouble(view) == []


def metres(path: Path) -> float:
    return json.loads(re.search(r'id="scene">(.*?)</script>', path.read_text(encoding="utf-8"))[1])["metres"]


def test_the_page_knows_how_long_a_metre_is(tmp_path, capsys):
    tree, cameras = tree_of(ball_and_box(3, 4)), around()
    write_page(tmp_path / "a.html", octree_scene(tree), name="a", start=cameras, metres=3.0)
    write_page(tmp_path / "b.html", octree_scene(tree), name="b", start=cameras, cameras=cameras)
    assert metres(tmp_path / "a.html") == 3
    assert metres(tmp_path / "b.html") * 3.6 == pytest.approx(ARM, rel=0.05), "what cameras look at is an arm away"
    write_svox(tmp_path / "tree.npz", tree)
    command = ["page", str(tmp_path / "tree.npz"), "-o", str(tmp_path / "c.html"), "--unit"]
    assert cli.main([*command, "0.25"]) == 0 and metres(tmp_path / "c.html") == 0.25
    assert cli.main([*command, "0"]) == 2
    assert "unit must be how many metres a unit of the scene has" in capsys.readouterr().err
