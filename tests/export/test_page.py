"""The page shows in a real browser what its octree shows, asks nobody for anything, and stays within its bound."""

import re

import numpy as np
import pytest

from taichi_nerf import cli
from taichi_nerf.data.svox import write_svox
from taichi_nerf.errors import UserError
from taichi_nerf.export import codebooks, packing
from taichi_nerf.export import page as pages
from taichi_nerf.export.packing import pack
from taichi_nerf.export.page import octree_scene, poster_camera, write_page

from .browser import FLAGS, browser
from .scenes import OFFSET, SCALE, around, ball_and_box, seen, seen_contracted, svox_tree, tree_of

PATIENT = 10_000  # milliseconds until the first frame, on a machine that does much besides


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(max(np.square(a - b).mean(), 1e-12)))


@pytest.fixture(scope="module")
def grid():
    return ball_and_box()


@pytest.fixture(scope="module")
def page(tmp_path_factory, grid):
    path, cameras = tmp_path_factory.mktemp("page") / "scene.html", around()
    poster = seen(grid, poster_camera(cameras).resized((64, 64)), 0)
    write_page(path, octree_scene(tree_of(grid)), name="a ball", start=cameras, cameras=cameras, poster=poster)
    return path


@pytest.fixture(scope="module")
def small():
    """A tree of three levels, for what does not depend on its size."""
    return tree_of(ball_and_box(3, 4))


@pytest.mark.slow
def test_a_browser_shows_what_the_tree_shows(page, grid):
    cameras = around()
    with browser(cameras.size[0]) as view:
        view.open(page)
        for n in range(len(cameras)):
            assert psnr(view.look(cameras, n), seen(grid, cameras, n)) > 45, n
        assert 0 < view.page.evaluate("viewer.seen") < PATIENT
        assert view.said == []
        assert not [address for address in view.asked if not address.startswith(("file:", "data:"))]
        with pytest.raises(Exception, match="Failed to fetch"):
            view.page.evaluate("fetch('https://example.com')")
        assert any("Content Security Policy" in message for message in view.said)


@pytest.mark.slow
@pytest.mark.parametrize("basis", [1, 4, 16, 25])
def test_colours_of_every_degree(basis, tmp_path):
    grid, cameras = ball_and_box(3, basis), around(1, (100, 80))
    write_page(tmp_path / "page.html", octree_scene(tree_of(grid)), name="few", start=cameras)
    with browser(cameras.size[0]) as view:
        view.open(tmp_path / "page.html")
        assert psnr(view.picture(), seen(grid, cameras, 0)) > 45
        assert view.said == []


@pytest.mark.slow
def test_from_within_and_along_faces(page, grid):
    """A camera in the mist of the box, and one whose rays lie in the planes of cells and look straight down."""
    cameras = around(2, (81, 61))
    poses = cameras.camera_to_world.copy()
    poses[0, :, 3] = (0.2, 0.3, -0.9)
    poses[1] = np.concatenate([np.eye(3), [[0.0], [0.3226], [3.0]]], axis=1)
    cameras = type(cameras)(**{**vars(cameras), "camera_to_world": poses})
    with browser(cameras.size[0]) as view:
        view.open(page)
        for n in range(2):
            assert psnr(view.look(cameras, n), seen(grid, cameras, n)) > 45, n


@pytest.mark.slow
@pytest.mark.parametrize("distance", [0.3, 1.4])  # within the core, and outside of it
def test_all_of_space_in_a_tree(distance, tmp_path):
    grid, cameras = ball_and_box(5, 4), around(3, (64, 48), distance)
    shown = octree_scene(tree_of(grid), contracted=True, near=0.2, empty=0.0)
    write_page(tmp_path / "page.html", shown, name="without end", start=cameras)
    with browser(cameras.size[0]) as view:
        view.open(tmp_path / "page.html")
        for n in range(len(cameras)):
            assert psnr(view.look(cameras, n), seen_contracted(grid, cameras, n, near=0.2)) > 38, n
        view.page.keyboard.press("KeyV")
        assert view.picture().std() > 0.05
        assert view.said == []


def test_a_tree_of_all_space_is_looked_at_in_its_core_and_empties_what_the_model_does(small):
    shown = octree_scene(small, contracted=True, near=0.2, empty=50.0)
    assert shown.unbounded and shown.numbers["near"] == 0.2
    assert np.all(np.abs(OFFSET + SCALE * shown.box - 0.5) < 0.25 + 1e-9)
    assert shown.numbers["leaves"] == np.sum((small.density > 50) & (small.child.reshape(-1) == 0))
    assert not octree_scene(small).unbounded


@pytest.mark.slow
def test_mouse_touch_and_keys(page, grid):
    cameras = around()
    with browser(cameras.size[0], has_touch=True) as view:
        view.open(page)
        start, mouse, keys = view.picture(), view.page.mouse, view.page.keyboard
        assert psnr(start, seen(grid, cameras, 0)) > 45

        def after(action) -> np.ndarray:
            action()
            view.page.wait_for_timeout(50)
            return view.picture()

        def drag():
            mouse.move(60, 20)
            mouse.down()
            mouse.move(120, 40, steps=4)
            mouse.up()

        def pinch():
            view.page.evaluate("""() => {
                const send = (kind, id, x) => document.getElementById('canvas').dispatchEvent(new PointerEvent(kind,
                  {pointerId: id, pointerType: 'touch', clientX: x, clientY: 20, bubbles: true}));
                document.getElementById('canvas').setPointerCapture = () => {};
                send('pointerdown', 8, 90); send('pointerdown', 9, 110); send('pointermove', 9, 160);
                send('pointerup', 9, 160); send('pointerup', 8, 90); }""")

        def hold():
            keys.down("KeyW")
            view.page.wait_for_timeout(200)
            keys.up("KeyW")

        for action in (drag, pinch, hold, lambda: mouse.wheel(0, 300), lambda: keys.press("KeyV")):
            moved = after(action)
            assert psnr(moved, start) < 35, action
            assert np.abs(moved - moved[0, 0]).max() > 0.1  # there is still something to see
            keys.press("KeyR")
            if view.page.evaluate("viewer.depth"):
                keys.press("KeyV")
            assert psnr(after(lambda: None), start) > 45, action
        keys.press("KeyN")
        assert psnr(after(lambda: keys.press("KeyN")), seen(grid, cameras, 1)) > 45
        view.page.click("#walk")
        assert view.page.evaluate("viewer.walking")
        position = "JSON.stringify(viewer.camera.pose.position)"
        before = view.page.evaluate(position)
        assert psnr(after(drag), seen(grid, cameras, 1)) < 35
        assert view.page.evaluate(position) == before  # who walks looks around from where he is
        view.page.click("#ask")
        assert view.page.is_visible("#help")
        keys.press("Escape")
        assert not view.page.is_visible("#help")
        assert view.said == []


@pytest.mark.slow
def test_fingers_on_a_screen(page):
    """By what the browser makes of touches, not by events that are made up."""
    with browser((400, 300), has_touch=True) as view:
        view.open(page)
        start, fingers = view.picture(), view.page.context.new_cdp_session(view.page)

        def touch(*ways, steps=4):
            """Each finger goes from (x, y) to (x, y)."""
            places = [[{"id": n, "x": a[0] + (b[0] - a[0]) * k / steps, "y": a[1] + (b[1] - a[1]) * k / steps}
                       for n, (a, b) in enumerate(ways)] for k in range(steps + 1)]
            for kind, points in [("touchStart", places[0]), *(("touchMove", each) for each in places[1:]),
                                 ("touchEnd", [])]:
                fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            view.settle()
            return camera()

        def camera():
            return view.page.evaluate("({...viewer.camera.pose, distance: viewer.camera.distance})")

        def back():
            view.page.keyboard.press("KeyR")

        home = camera()
        orbited = touch(((100, 100), (200, 120)))
        assert orbited["distance"] == pytest.approx(home["distance"])
        assert np.linalg.norm(np.subtract(orbited["position"], home["position"])) > 0.3 * home["distance"]
        assert psnr(view.picture(), start) < 35
        back()
        nearer = touch(((160, 120), (120, 120)), ((240, 120), (280, 120)))
        assert nearer["distance"] == pytest.approx(0.5 * home["distance"], rel=0.05)
        assert np.allclose(nearer["back"], home["back"], atol=1e-3)
        back()
        shifted = touch(((160, 80), (160, 140)), ((240, 80), (240, 140)))
        moved = np.subtract(shifted["position"], home["position"])
        assert moved @ home["up"] > 0.05 * home["distance"] and abs(moved @ home["back"]) < 0.02 * home["distance"]
        back()
        assert psnr(view.picture(), start) > 45 and view.said == []


@pytest.mark.slow
def test_full_screen_by_button_and_by_key(page):
    with browser((320, 240)) as view:
        view.open(page)
        view.settle()
        is_full, is_not = (f"document.fullscreenElement {how} null" for how in ("!==", "==="))
        assert view.page.evaluate(is_not)
        view.page.click("#full")
        view.page.wait_for_function(is_full)
        view.settle()
        view.page.keyboard.press("KeyF")
        view.page.wait_for_function(is_not)
        view.page.keyboard.press("KeyF")
        view.page.wait_for_function(is_full)
        view.page.click("#full")
        view.page.wait_for_function(is_not)
        assert view.picture().shape == (240, 320, 3) and view.said == []


NOTING = """
    window.made = [];    // [kind, width, height, layers] of each texture
    window.pieces = {};  // by the layers of textures: texels of each upload
    for (const name of ['texStorage2D', 'texStorage3D']) {
      const make = WebGL2RenderingContext.prototype[name];
      WebGL2RenderingContext.prototype[name] = function (...given) {
        window.made.push([name, given[3], given[4], given[5] ?? 1]);
        return make.apply(this, given);
      };
    }
    const upload = WebGL2RenderingContext.prototype.texSubImage3D;
    WebGL2RenderingContext.prototype.texSubImage3D = function (...given) {
      (window.pieces[given[4]] ??= []).push(given[5] * given[6]);
      return upload.apply(this, given);
    };
"""


def noisy_slab(levels: int, *corner) -> np.ndarray:
    """A dense box of cells none of which is like another, up to `corner`."""
    side, draw = 2**levels, np.random.default_rng(0)
    grid, box = np.zeros((side, side, side, 4), np.float32), tuple(slice(end) for end in corner)
    grid[box] = draw.normal(size=(*corner, 4)) * (2, 2, 2, 0) + (0, 0, 0, 4)
    return grid


@pytest.mark.slow
def test_a_large_tree_is_brought_in_pieces_into_textures_that_every_device_has(tmp_path):
    """2048 is the least greatest side of a texture that WebGL2 grants, and 256 the least number of layers."""
    grid, cameras = noisy_slab(7, 128, 128, 20), around(1)
    assert packing.MOST / 2048**2 < 256 and packing.ROWS * (3 + 5 + 7 + 9) < 2048**2
    write_page(tmp_path / "page.html", octree_scene(tree_of(grid)), name="much", start=cameras)
    with browser(cameras.size[0], before=NOTING) as view:
        view.open(tmp_path / "page.html")
        assert psnr(view.picture(), seen(grid, cameras, 0)) > 40
        made, pieces = view.page.evaluate("made"), view.page.evaluate("pieces")
        assert made and all(max(width, height) <= 2048 and layers <= 256 for _, width, height, layers in made)
        assert len(pieces["0"]) > 2 and max(pieces["0"]) <= 2048 * 128  # of the leaves more than one
        assert view.page.evaluate("viewer.renderer.gl.getError()") == 0 and view.said == []


@pytest.mark.slow
def test_a_tree_of_several_layers(tmp_path, monkeypatch):
    """In textures of 64 instead of 2048 texels across, for a tree that needs several of theirs takes long to make."""
    asset = pages._asset

    def narrow(name):
        text = asset(name)
        for wide, small in {"octree.js": {"WIDTH = 2048": "WIDTH = 64", "UPLOAD_ROWS = 128": "UPLOAD_ROWS = 16"},
                            "octree.frag": {"WIDTH_BITS = 11": "WIDTH_BITS = 6", "2047": "63"}}.get(name, {}).items():
            assert wide in text
            text = text.replace(wide, small)
        return text

    monkeypatch.setattr(pages, "_asset", narrow)
    grid, cameras = noisy_slab(5, 32, 32, 12), around(1)
    write_page(tmp_path / "page.html", octree_scene(tree_of(grid)), name="layers", start=cameras)
    with browser(cameras.size[0], before=NOTING) as view:
        view.open(tmp_path / "page.html")
        assert psnr(view.picture(), seen(grid, cameras, 0)) > 40
        assert max(layers for *_, layers in view.page.evaluate("made")) == 3
        assert [len(view.page.evaluate("pieces")[layer]) > 1 for layer in "012"] == [True] * 3
        assert view.said == []


@pytest.mark.slow
def test_no_picture_is_larger_than_a_texture_may_be(page):
    with browser((320, 240)) as view:
        view.open(page)
        view.settle()
        assert view.page.evaluate("viewer.renderer.largest") >= 2048
        sizes = view.page.evaluate("""async () => {
            viewer.renderer.largest = 160;
            viewer._resize();
            await viewer.settled();
            return [viewer.canvas.width, viewer.canvas.height]; }""")
        assert sizes == [160, 120] and view.picture().shape == (240, 320, 3) and view.said == []


@pytest.mark.slow
def test_resolution_follows_the_frame_time(page):
    with browser((400, 300)) as view:
        view.open(page)
        view.settle()
        slow = view.page.evaluate("() => { viewer.pixels = 1e5; viewer._adapt(80, 1e5); return viewer.pixels; }")
        quick = view.page.evaluate("() => { viewer.pixels = 1e4; viewer._adapt(10, 1e4); return viewer.pixels; }")
        assert slow == 5e4 and quick == 1.5e4
        parts = view.page.evaluate("""async () => {
            viewer._adapt = () => { viewer.pixels = 12000; };
            const parts = [], show = viewer.renderer.show.bind(viewer.renderer);
            viewer.renderer.show = (width, height) => { parts.push(width); show(width, height); };
            viewer.pixels = 12000;
            viewer.camera.orbit(0.3, 0);
            viewer.changed({moving: true});
            await viewer.settled();
            return parts; }""")
        assert parts[0] < 200 and parts[-1] == 400 and parts == sorted(parts)


@pytest.mark.slow
def test_a_lost_device_comes_back_and_memory_is_given_back(page, grid):
    cameras = around()
    with browser(cameras.size[0]) as view:
        view.open(page)
        start = view.picture()
        assert not view.page.is_visible("#poster")
        view.page.evaluate("() => { window.lost = viewer.renderer.gl.getExtension('WEBGL_lose_context'); }")
        view.page.evaluate("lost.loseContext()")
        view.page.wait_for_selector("#message:not([hidden])")
        assert "taken away" in view.page.inner_text("#message")
        view.page.evaluate("lost.restoreContext()")
        view.page.wait_for_selector("#message", state="hidden")
        assert psnr(view.picture(), start) > 60
        assert view.page.evaluate("viewer.bytes") > 0
        view.page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide'))")
        assert view.page.evaluate("viewer.bytes") == 0
        assert view.page.evaluate("viewer.stream === null && viewer.renderer.gl.isContextLost()")


@pytest.mark.slow
@pytest.mark.parametrize(("before", "sentence"), [
    ("HTMLCanvasElement.prototype.getContext = () => null", "no WebGL2"),
    ("delete window.WebGL2RenderingContext", "no WebGL2"),
    ("delete window.DecompressionStream", "too old"),
])
def test_what_a_browser_lacks_is_said_over_the_poster(page, before, sentence):
    with browser((320, 240), before=before) as view:
        view.open(page)
        assert sentence in view.page.inner_text("#message")
        assert view.page.is_visible("#poster") and view.page.evaluate("poster.naturalWidth") == 64
        assert view.said == []


@pytest.mark.slow
@pytest.mark.parametrize("without", ["--disable-3d-apis", "--disable-webgl2"])
def test_a_browser_that_has_no_webgl2_says_so_over_the_poster(page, without):
    with browser((320, 240), flags=[*FLAGS, without]) as view:
        view.open(page)
        view.page.wait_for_selector("#message:not([hidden])")
        assert "no WebGL2" in view.page.inner_text("#message")
        assert view.page.is_visible("#poster") and not view.page.is_visible("#progress")
        assert not [message for message in view.said if "rror" in message]


def test_a_name_is_text_and_no_markup(small, tmp_path):
    name = '"><script>alert(1)</script> & \'$name\' \udce9'
    write_page(tmp_path / "page.html", octree_scene(small), name=name)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and "&quot;&gt;&lt;script&gt;" in text
    with browser((100, 80)) as view:
        view.open(tmp_path / "page.html")
        view.settle()
        assert view.page.title().startswith('"><script>alert(1)</script> & \'$name\'')
        assert view.page.inner_text("h1") == view.page.title()
        assert view.said == []


def test_the_page_is_one_file_that_lets_nothing_in(page):
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text and "unsafe" not in text
    assert not re.search(r"https?:|url\(|@import|\bimport\(|<link[^>]*stylesheet|src=\"(?!data:)", text)


def test_a_page_beyond_its_bound_says_what_to_lower(small, tmp_path):
    with pytest.raises(UserError, match=r"would have 0\.\d MB .* may have 0\.01: .*--depth.*--megabytes"):
        write_page(tmp_path / "page.html", octree_scene(small), name="much", megabytes=0.01)
    assert list(tmp_path.iterdir()) == []


def test_more_leaves_than_can_be_numbered_are_refused(small, monkeypatch):
    monkeypatch.setattr(packing, "MOST", 40)
    with pytest.raises(UserError, match=r"can number 40; .*--depth"):
        packing.pack(small)


def test_a_page_that_cannot_be_written(small, tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_page(tmp_path / "none" / "page.html", octree_scene(small), name="nowhere")


def test_neither_numbering_nor_what_is_empty_costs_anything(small):
    child, data = small.child, joined(small)
    packed, order = pack(small), np.random.default_rng(1).permutation(np.arange(1, len(child)))
    place = np.empty(len(child), int)  # where each node goes: to twice its number, and every other is empty
    place[np.concatenate([[0], order])] = 2 * np.arange(len(child))
    further, values = np.zeros((2 * len(child), 8), np.int32), np.zeros((2 * len(child), *data.shape[1:]), np.float32)
    node, cell = np.nonzero(child)
    further[place[node], cell] = place[node + child[node, cell]] - place[node]
    values[place] = data
    node, cell = np.argwhere((child == 0) & (data[..., -1] == 0))[0]
    further[place[node], cell] = 1  # an empty leaf is divided
    assert pack(svox_tree(further, values)).content == packed.content


def joined(tree) -> np.ndarray:
    """[n, 8, 3 B + 1]: coefficients, then the density."""
    return np.concatenate([tree.coefficients, tree.density[:, None]], axis=1).reshape(len(tree.child), 8, -1)


def broken(child, data, offset, scale):
    """What `svox_tree` makes no trees of, and what is said of them."""
    def changed(array, value, *index):
        array = array.copy()
        array[index] = value
        return array

    full = np.argwhere((data[..., -1] > 0) & (child == 0))[0]
    yield "children of shape", child[:, :4], data, offset, scale
    yield "harmonics of shape", child, data[..., :-2], offset, scale
    yield "densities of shape", child, data[:-1], offset, scale
    yield "where it lies", child, data, offset, scale * 0
    yield "where it lies", child, data, offset * np.nan, scale
    yield "child of two", changed(child, len(child), 0, 0), data, offset, scale
    yield "child of two", changed(child, 1, 0, slice(None)), data, offset, scale
    yield "not finite", child, changed(data, np.nan, *full, 3), offset, scale
    yield "not finite", child, changed(data, np.inf, *full, -1), offset, scale
    yield "empty", child, data * 0, offset, scale
    chain = np.eye(8, dtype=np.int32)[np.zeros(40, int)]
    chain[-1] = 0
    yield "deeper than 16", chain, np.ones((40, 8, 4)), offset, scale


def test_what_is_no_tree_is_refused_in_one_sentence(small):
    for sentence, *arrays in broken(small.child, joined(small), OFFSET, SCALE):
        with pytest.raises(UserError, match=sentence):
            pack(svox_tree(*arrays))


def test_a_codebook_of_few_vectors_has_them_all_and_of_many_the_best_rows():
    draw = np.random.default_rng(0)
    few, weights = draw.normal(size=(50, 9)).astype(np.float32), np.ones(5000)
    book = codebooks.codebook(few, weights[:50], 64)
    assert len(book) == 50 and np.array_equal(book[codebooks.nearest_rows(few, book)], few)
    clusters = (few[draw.integers(0, 50, 5000)] + 0.01 * draw.normal(size=(5000, 9))).astype(np.float32)
    book = codebooks.codebook(clusters, weights, 64)
    assert np.square(clusters - book[codebooks.nearest_rows(clusters, book)]).mean() < 0.05


def test_the_command_takes_a_file_of_svox(small, tmp_path, capsys):
    write_svox(tmp_path / "tree.npz", small)
    assert cli.main(["page", str(tmp_path / "tree.npz"), "-o", str(tmp_path / "scene.html"), "--name", "mine"]) == 0
    assert re.search(r"0\.\d MB: .*scene\.html", capsys.readouterr().out)
    assert "<title>mine</title>" in (tmp_path / "scene.html").read_text(encoding="utf-8")
    assert cli.main(["page", str(tmp_path / "tree.npz")]) == 0
    assert "<title>tree</title>" in (tmp_path / "tree.html").read_text(encoding="utf-8")


def test_the_command_refuses_in_one_sentence(small, tmp_path, capsys):
    write_svox(tmp_path / "tree.npz", small)
    (tmp_path / "broken.npz").write_bytes((tmp_path / "tree.npz").read_bytes()[:500])
    (tmp_path / "there.html").write_text("mine")
    tree = str(tmp_path / "tree.npz")
    for arguments, sentence in [
        ((tree, "-o", str(tmp_path / "there.html")), "there.html exists"),
        ((tree, "-o", str(tmp_path / "picture.png")), "ends in .html"),
        ((tree, "--megabytes", "0.01"), "allow more --megabytes"),
        ((tree, "--megabytes", "-1"), "megabytes must be above 0"),
        ((tree, "--up", "0", "0", "0"), "up must be a direction"),
        ((str(tmp_path / "broken.npz"),), "broken.npz cannot be read"),
        ((str(tmp_path / "none.npz"),), "none.npz does not exist"),
        ((str(tmp_path),), "is no run"),
        ((tree, "--field"), "--field wants a run of instant-ngp"),
    ]:
        assert cli.main(["page", *arguments]) == 2, arguments
        said = capsys.readouterr().err
        assert sentence in said.splitlines()[-1], said
    assert (tmp_path / "there.html").read_text() == "mine"
    assert not (tmp_path / "tree.html").exists()
