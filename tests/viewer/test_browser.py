"""The page in a real browser: Debian's chromium, driven by playwright, with WebGL2 in software."""

import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from taichi_nerf import cli, paths
from taichi_nerf.training.folder import RunFolder

from ..test_cli import SMALL

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
COMMON = ("--backend", "cpu", "--threads", "1")
WINDOW, FOV = (900, 600), 110  # pixels; degrees


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of some steps."""
    folder = tmp_path_factory.mktemp("viewed") / "run"
    assert cli.main(["train", "--downscale", "8", "--steps", "8", "--test-every", "0", "--orbit-frames", "0",
                     "--output", str(folder), *COMMON, *SMALL]) == 0
    return folder


@pytest.fixture
def viewing(run):
    """`viewing(*arguments)` starts a viewer of the run, or of another `folder`, in a process of its own: that, and its
    address."""
    started = []

    def start(*arguments, folder=run):
        process = subprocess.Popen([sys.executable, "-m", "taichi_nerf", "view", str(folder), *COMMON, *arguments],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, process.communicate()
        return process, found[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def browser():
    pytest.importorskip("viser", reason="the viewer's library is not installed: pip install 'taichi-nerf[view]'")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here (on Debian: apt install chromium)")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def training(tmp_path, browser, port):
    """A training that can be looked at, in a process of its own: that, and its address. The browser is there before."""
    process = subprocess.Popen([sys.executable, "-m", "taichi_nerf", "train", "--downscale", "8", "--seconds", "60",
                                "--test-every", "0", "--view", "--port", str(port), "--output", str(tmp_path / "run"),
                                *SMALL, "--orbit-frames", "0"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = iter(process.stderr.readline, "")
    yield process, next(found[1] for line in said if (found := re.match(r"look at it: (http://\S+)", line)))
    process.kill()
    process.communicate()


def shown(page):
    """[H, W, 3] what the page shows beside its panel."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return np.asarray(picture)[200:, : picture.width // 2]


def wait_for(what, seconds=30.0):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)
    return found


def assert_stopped_after_pictures(process):
    """All that it said is what rendered them, and that it was stopped."""
    renderer, *others = process.stderr.read().splitlines()
    assert renderer.startswith("renderer: ") and others == ["taichi-nerf: stopped"]


@pytest.mark.slow
def test_the_page_opens_from_loopback_shows_the_field_and_saves_a_path(viewing, browser, run, port):
    process, address = viewing("--port", str(port))
    assert address == f"http://127.0.0.1:{port}"
    page = browser.new_page(viewport={"width": 900, "height": 600})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    wait_for(lambda: shown(page).std() > 2)  # a picture, not a ground
    page.mouse.move(200, 400)
    page.mouse.down()
    page.mouse.move(260, 380, steps=5)
    before = shown(page)
    page.mouse.up()
    page.get_by_text("Camera path", exact=True).click()
    page.get_by_role("button", name="Add the camera").click()
    page.get_by_role("button", name="Save").click()
    file = run / "camera-paths" / "path.json"
    wait_for(file.is_file)
    page.get_by_text("taichi-nerf render").wait_for()
    assert before.std() > 2 and not said
    assert all(url.startswith((address, f"blob:{address}", "data:")) for url in asked), asked
    page.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert_stopped_after_pictures(process)
    assert cli.main(["render", str(run), "--path", str(file), "--frames", "2", "--size", "16", "16",
                     "--output", str(run / "frames"), *COMMON]) == 0


def largest_ahead(cameras, n, length, fov, window):
    """Of `cameras`, whose small pictures hang `length` before them, the one whose picture camera n sees largest in the
    lower left of a `window`: its number, and the pixel in the middle."""
    width, height = window
    pose, middle = cameras.camera_to_world[n], cameras.position + length * cameras.view_direction
    local = (middle - pose[:, 3]) @ pose[:, :3]
    near, scale = -local[:, 2], 0.5 * height / np.tan(0.5 * fov)
    pixel = 0.5 * np.array(window) + scale * local[:, :2] * (1, -1) / near[:, None]
    inside = (pixel > (20, height / 3)).all(axis=1) & (pixel < (width / 2, height - 30)).all(axis=1) & (near > 0.25)
    size = np.abs(cameras.view_direction @ pose[:, 2]) / near**2
    best = int(np.argmax(np.where(inside, size, 0)))
    return best, pixel[best]


def opened(browser, address):
    """A page that shows a picture with a wide field of view, with the white background of the model beside it."""
    page = browser.new_page(viewport=dict(zip(("width", "height"), WINDOW)))
    page.goto(address)
    wait_for(lambda: shown(page).std() > 2)
    field_of_view = page.locator("input[type=text]").first
    field_of_view.fill(f"{FOV}")
    field_of_view.press("Enter")
    wait_for(lambda: corner(page).min() > 250)
    return page


def corner(page):
    """[3] the colour that the page has in its lower left."""
    return np.median(shown(page)[-20:, :20], axis=(0, 1))


@pytest.mark.slow
def test_a_click_on_a_camera_leads_there(viewing, browser, run, port):
    _, address = viewing("--port", str(port))
    from taichi_nerf.viewer.face.cameras import _length

    page = opened(browser, address)
    page.get_by_text("Cameras", exact=True).click()
    page.get_by_label("draw them").click()
    before, cameras = shown(page).astype(int), RunFolder.open(run).cameras_scene().model_cameras("train")
    wanted, pixel = largest_ahead(cameras, 0, _length(cameras), np.radians(FOV), WINDOW)

    def led_there():  # what is not drawn yet cannot be clicked on
        page.mouse.click(*pixel)
        time.sleep(0.5)
        return np.abs(shown(page) - before).mean() > 20

    wait_for(led_there)
    known = set(run.glob("camera-paths/*.json"))
    page.get_by_text("Camera path", exact=True).click()
    page.get_by_role("button", name="Add the camera").click()
    page.get_by_role("button", name="Save").click()
    (file,) = wait_for(lambda: set(run.glob("camera-paths/*.json")) - known)
    found = paths.from_json(file, RunFolder.open(run).cameras_scene())
    assert np.abs(found.camera_to_world[0] - cameras.camera_to_world[wanted]).max() < 1e-3
    fov = 2 * np.arctan(0.5 * cameras.size[wanted, 1] / cameras.focal[wanted, 1])
    assert 2 * np.arctan(0.5 * found.size[0, 1] / found.focal[0, 1]) == pytest.approx(fov, abs=1e-3)


@pytest.mark.slow
def test_background_and_crop_box_are_what_somebody_chooses(viewing, browser, port):
    _, address = viewing("--port", str(port))
    page = opened(browser, address)
    background = page.locator("xpath=//*[text()='background']/following::input[1]")
    background.fill("rgb(20, 60, 200)")
    background.press("Enter")
    wait_for(lambda: np.abs(corner(page) - (20, 60, 200)).max() < 6)

    def red():
        return (np.abs(shown(page).astype(int) - (220, 60, 60)).max(axis=2) < 40).sum()

    assert red() == 0
    page.get_by_text("Crop box", exact=True).click()
    page.get_by_label("crop", exact=True).click()
    wait_for(lambda: red() > 50)  # its edges


@pytest.mark.slow
def test_another_time_is_shown_and_kept_by_a_key_frame(viewing, browser, port, tmp_path):
    folder = tmp_path / "moving"
    assert cli.main(["train", "builtin:moving", "--downscale", "8", "--model", "t-nerf", "--steps", "8", "--test-every",
                     "0", "--orbit-frames", "0", "--output", str(folder), *COMMON]) == 0
    _, address = viewing("--port", str(port), folder=folder)
    page = browser.new_page(viewport={"width": 900, "height": 600})
    page.goto(address)
    wait_for(lambda: shown(page).std() > 2)
    time_of = page.locator("input[type=text]").first
    time_of.fill("0.65")
    time_of.press("Enter")
    page.wait_for_timeout(1000)  # what is typed is sent a moment later
    page.get_by_text("Camera path", exact=True).click()
    page.get_by_role("button", name="Add the camera").click()
    page.get_by_role("button", name="Save").click()
    file = folder / "camera-paths" / "path.json"
    wait_for(file.is_file)
    assert [frame["time"] for frame in json.loads(file.read_text())["frames"]] == [0.65]
    page.get_by_role("button", name="Play").first.click()
    wait_for(lambda: float(time_of.input_value()) not in (0.0, 0.65))
    page.get_by_role("button", name="Stop").click()


@pytest.mark.slow
def test_two_browsers_look_and_one_that_vanishes_hinders_nobody(viewing, browser, port):
    process, address = viewing("--port", str(port))
    first, second = (browser.new_page(viewport={"width": 500, "height": 400}) for _ in range(2))
    for page in (first, second):
        page.goto(address)
    first.close()
    wait_for(lambda: shown(second).std() > 2)
    second.reload()
    wait_for(lambda: shown(second).std() > 2)
    first = browser.new_page(viewport={"width": 500, "height": 400})  # who comes back
    first.goto(address)
    wait_for(lambda: shown(first).std() > 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert_stopped_after_pictures(process)


@pytest.mark.slow
def test_a_run_that_another_process_is_training_is_followed(viewing, browser, port, tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-m", "taichi_nerf", "train", "--downscale", "8", "--seconds", "600",
                                "--checkpoint-seconds", "1", "--test-every", "0", "--output", str(run), *SMALL],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for((run / "config.json").is_file, 60)
        viewer, address = viewing("--port", str(port), folder=run)  # which waits for the first checkpoint
        page = browser.new_page(viewport={"width": 900, "height": 600})
        page.goto(address)
        wait_for(lambda: shown(page).std() > 2)

        def step():
            found = re.search(r"step (\d+), after \d+ s of training", page.inner_text("body"))
            return found and int(found[1])

        first = wait_for(step)
        wait_for(lambda: step() > first)
        assert process.poll() is None  # it trains on
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        last = int(re.search(r"stopped and saved at step (\d+)", said)[1])
        wait_for(lambda: step() == last)
        assert process.returncode == 130 and viewer.poll() is None and shown(page).std() > 2
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_training_is_looked_at_paused_left_and_come_back_to(training, browser):
    process, address = training

    def opened():
        page = browser.new_page(viewport={"width": 900, "height": 600})
        page.goto(address)
        wait_for(lambda: shown(page).std() > 2)
        return page

    def reported(page):
        """Step, seconds left and PSNR, as the panel has them; None before the first report."""
        found = re.search(r"step (\d+), (\d+):(\d\d) left, loss [\d.]+, ([\d.]+) dB", page.inner_text("body"))
        return found and (int(found[1]), 60 * int(found[2]) + int(found[3]), float(found[4]))

    page = opened()
    first = wait_for(lambda: reported(page))
    page.get_by_role("button", name="Pause").click()
    going_on = page.get_by_role("button", name="Go on")
    going_on.wait_for()
    time.sleep(1.5)  # a report that was under way
    paused = reported(page)
    time.sleep(1.5)
    assert reported(page) == paused
    going_on.click()
    later = wait_for(lambda: (now := reported(page))[0] > paused[0] and now[2] > first[2] and now)  # it improves
    assert later[1] <= first[1]
    page.get_by_text("Cameras", exact=True).click()
    before = shown(page).astype(int)
    page.get_by_label("go to (train)").click()
    page.get_by_role("option").nth(3).click()
    wait_for(lambda: np.abs(shown(page) - before).mean() > 2)
    page.close()

    page = opened()
    page.get_by_text("The training is done.").wait_for(timeout=120_000)
    assert page.get_by_role("button", name="Pause").is_disabled() and shown(page).std() > 2
    page.close()
    assert process.wait(timeout=20) == 0
