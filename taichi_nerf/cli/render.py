"""`taichi-nerf render`: new views of a trained model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..config import LARGEST, SettingError, system_of, within
from ..errors import UserError
from ..output import quoted, result, say
from ..progress import Progress
from .arguments import AtMost
from .options import MOST_FRAMES, Common, Renderer, at_once, check_renderer, check_unit, make_folder

if TYPE_CHECKING:
    import numpy as np

    from ..data.scene import Cameras, Scene
    from ..training.folder import RunFolder
    from ..types import Shot
    from ..wide import Grid

What = Literal["colour", "depth", "opacity", "normals"]
SPLITS = ("train", "val", "test")
Lens = Literal["perspective", "fisheye", "equirectangular", "omnidirectional-stereo", "vr180", "cube-map"]
DEFAULT_FRAMES = 60
SLOWEST = 1e-3  # frames per second, of which ffmpeg still makes a video
FIELD = ("field",)  # what shines is the field itself
SHINING = (".bmp", ".exr", ".hdr", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # pictures of light
LAMP_SHARE = 0.6  # of all light
DARKEST, BRIGHTEST = 1 / 64, 8.0  # means of a picture of light, of which objects are neither black nor white
STEEP = 0.9  # cosine between an axis and what is up, from which on it says no direction along the ground
BETWEEN_EYES = 0.063  # metres, of most people
NEAREST_BY = 30  # the nearest depth by the distance between the eyes, where nobody knows the scale: what is comfortable
BYTES_A_PIXEL = 80  # of a view: eight float32 and the order of the pixels, and what its pictures are made of
NO_VIDEO = (".avi", ".bmp", ".exr", ".gif", ".jpeg", ".jpg", ".m4v", ".mkv", ".mov", ".mpeg", ".mpg", ".png", ".tif",
            ".tiff", ".webm", ".webp", ".wmv")


@dataclass(frozen=True, kw_only=True)
class Render(Common):
    """Render new views of a trained model: a video, or a folder of PNG files. Ranks of torchrun share the views.

    Try `taichi-nerf render runs/lego-20260101-120000 --what colour depth --size 800 800 --frames 120`.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder that train wrote."""
    path: Annotated[str, arg(metavar="orbit|spiral|train|val|test|FILE.json")] = "orbit"
    """Where the camera goes: around the scene, a spiral in front of it, the poses of a split, or those of a
    camera-path file."""
    what: tuple[What, ...] = ("colour",)
    """What is shown; each gets a video or its own pictures."""
    size: Annotated[tuple[int, int] | None, arg(metavar="W H")] = None
    """Width and height in pixels, of one eye or face; by default those of the training images, or what the camera path
    says, and of wide pictures as sharp as these."""
    lens: Lens = "perspective"
    """What a picture shows: perspective, as the path has it; fisheye, 180 degrees; equirectangular, all around;
    omnidirectional-stereo, all around for the left eye above that for the right; vr180, the half in front for either
    eye; cube-map, six faces. Whatever shows more than the half in front has a level horizon."""
    stereo: bool = False
    """Perspective and fisheye for the left eye beside that for the right."""
    eye_distance: Annotated[float | None, arg(metavar="D")] = None
    """Between the eyes, in units of the scene's file; by default 0.063 m where --unit is known, else a 30th of the
    nearest depth along the path."""
    unit: Annotated[float | None, arg(metavar="METRES")] = None
    """How many metres a unit of the scene's file is."""
    convergence: Annotated[float | None, arg(metavar="D")] = None
    """Of a perspective pair: the distance, in units of the scene's file, at which both pictures show the same (that of
    the screen); by default what is infinitely far coincides."""
    foveated: bool = False
    """Render every pixel within 20 degrees of the middle, every second one across and down to 35, every fourth
    beyond."""
    frames: Annotated[int | None, arg(metavar="N")] = None
    """Number of frames: of an orbit or spiral, by default 60, or through the poses of a camera-path file."""
    fps: Annotated[float, arg(metavar="N")] = 30.0
    """Frames per second of the video."""
    every: Annotated[int, arg(metavar="K")] = 1
    """Of a split, render every K-th view."""
    scene: Annotated[Path | None, arg(metavar="PATH")] = None
    """Where the scene is now, if it has moved; only the poses of a split need it."""
    appearance: Annotated[tuple[str, ...], arg(metavar="PHOTO [PHOTO ...]", help_behavior_hint="")] = ()
    """In the light of this photo, by its name without folder and ending (test/NAME for one of another split than that
    of training, to which the light is fitted); of several, from one to the next along the path. For models with
    appearances, whose light is by default the mean of all photos."""
    time: Annotated[tuple[float, ...], AtMost(2), arg(metavar="T [T]", help_behavior_hint="")] = ()
    """When, from 0 to 1, of a model that knows the time: in all frames, or in the first and in the last. By default the
    times of the path, or 0 1 where it has none."""
    freeze: bool = False
    """Leave the camera where the path begins, while the time goes on: from 0 to 1, or as --time says."""
    hide: Annotated[tuple[float, ...], arg(metavar="X0 Y0 Z0 X1 Y1 Z1", help_behavior_hint="")] = ()
    """Show nothing of the field between two corners of a box, the first the lower one along each axis, in the world of
    the scene's file; of several boxes, one after the other."""
    move: Annotated[tuple[float, ...], arg(metavar="X0 Y0 Z0 X1 Y1 Z1", help_behavior_hint="")] = ()
    """Show what is between two corners of a box, the first the lower one along each axis, in the world of the scene's
    file, at another place, in place of what is there, and nothing where it was; of several boxes one after the other,
    each in what the moves before it left. What --hide takes away is gone before."""
    move_by: Annotated[tuple[float, ...], arg(metavar="DX DY DZ", help_behavior_hint="")] = ()
    """How far each box of --move is moved, in units and along the axes of the scene's file; by default not at all."""
    move_turn: Annotated[tuple[float, ...], arg(metavar="DEGREES", help_behavior_hint="")] = ()
    """By how much each box of --move is turned to the left around what is up, about its middle; by default 0."""
    insert: Annotated[tuple[Path, ...], arg(metavar="OBJECT [OBJECT ...]", help_behavior_hint="")] = ()
    """What is put into the field: meshes in GLB, glTF, OBJ (y up), PLY, STL (z up), and points in PLY without faces, as
    discs. Transparent materials of GLB and glTF are glass, through which one sees, without refraction, and in its
    colour where it transmits."""
    at: Annotated[tuple[float, ...], arg(metavar="X Y Z", help_behavior_hint="")] = ()
    """Where the origin of each object lies, in the world of the scene's file."""
    scale: Annotated[tuple[float, ...], arg(metavar="S", help_behavior_hint="")] = ()
    """How many units of the scene's file a unit of each object is; by default 1."""
    turn: Annotated[tuple[float, ...], arg(metavar="DEGREES", help_behavior_hint="")] = ()
    """By how much each object is turned to the left around what is up; by default 0."""
    disc_radius: Annotated[float | None, arg(metavar="R")] = None
    """Of the discs of points, in the units of their files; by default how far the fourth neighbour of each is."""
    light: Annotated[tuple[str, ...], AtMost(4), arg(metavar="field|PICTURE|X Y Z [RADIUS]",
                                                     help_behavior_hint="")] = ()
    """What shines on the objects and makes them cast shadows: field, what the field shows all around the place of each;
    an equirectangular picture of what is all around, twice as wide as high (EXR and HDR of linear light, in which 1 is
    white, or PNG and JPEG), whose upper edge is up and whose middle lies towards x of the scene's file (towards y where
    x is up); or a lamp there in the world of the scene's file, and the sky; with a radius edges of shadows are soft. By
    default objects have their own colours, unlit."""
    light_turn: Annotated[float | None, arg(metavar="DEGREES")] = None
    """By how much the picture of --light is turned to the left around what is up; by default 0."""
    light_stops: Annotated[float | None, arg(metavar="STOPS")] = None
    """By how many stops the picture of --light is made brighter, below 0 darker; by default 0."""
    shadow: Annotated[float | None, arg(metavar="SHARE")] = None
    """The share of all light that comes from the lamp, by default 0.6: how dark its shadows are."""
    supersample: bool = True
    """Where a pixel sees more than one of the photos did, as the picture is smaller or from farther away, it is the
    mean of as many rays, up to 64, so that nothing flickers; without, it has those of a photo's pixel alone, which is
    quicker."""
    renderer: Renderer = "auto"
    """torch: stage by stage, with PyTorch's networks; taichi: one kernel from rays to pixels, in single precision and
    without normals; auto: what suits the backend."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE.mp4|DIR")] = None
    """A new video file, or a new folder for PNG files; by default a video in RUN/renders."""

    def __post_init__(self):
        within(self, 1, MOST_FRAMES, "frames")
        within(self, 1, LARGEST, "every")
        if not SLOWEST <= self.fps <= 1000:
            raise SettingError(f"fps must be from {SLOWEST:g} to 1000, got {self.fps:g}")
        if self.size is not None and not all(1 <= side <= 16384 for side in self.size):
            raise SettingError(f"size must be from 1 to 16384 pixels, got {self.size[0]} {self.size[1]}")
        check_unit(self.unit)
        for name in ("eye_distance", "convergence"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise SettingError(f"{name.replace('_', '-')} must be above 0 and finite, got {value:g}")
        if self.stereo and self.lens not in ("perspective", "fisheye"):
            instead = {"equirectangular": "use --lens omnidirectional-stereo", "cube-map": "leave it out"}
            raise SettingError(f"stereo goes with --lens perspective or fisheye, got {self.lens}; "
                               f"{instead.get(self.lens, 'leave it out, it is a pair as it is')}")
        if self.convergence is not None and not (self.stereo and self.lens == "perspective"):
            raise SettingError("convergence is of a perspective pair; give --stereo with it, or leave it out")
        if self.eye_distance is not None and self.unit is not None:
            raise SettingError("eye-distance says how far apart the eyes are, and --unit as well; give one of them")
        if not self.pair and (self.eye_distance is not None or self.unit is not None):
            raise SettingError("eye-distance and --unit are for pictures of two eyes; give --stereo, or --lens "
                               "omnidirectional-stereo or vr180")
        self._check_objects()
        if self.renderer == "taichi" and "normals" in self.what:
            raise SettingError("renderer taichi gives no normals; use --renderer auto")
        if not all(0 <= time <= 1 for time in self.time):
            raise SettingError("time must be one number from 0 to 1, or that of the first frame and that of the last, "
                               f"got {' '.join(f'{time:g}' for time in self.time)}")
        if self.freeze and len(self.time) == 1:
            raise SettingError("freeze lets the time pass before a camera that stands still, and --time says from when "
                               "to when; give --time T0 T1 with it, or leave one of them out")
        if len(self.what) == 0:
            raise SettingError("what must name at least one of colour, depth, opacity, normals")

    def _check_objects(self):
        count = len(self.insert)
        if count and not self.at:
            raise SettingError("insert says what is put in, and not where; give --at X Y Z with it, for each object")
        for name, numbers, each in (("at", self.at, 3), ("scale", self.scale, 1), ("turn", self.turn, 1)):
            if len(numbers) not in ((each * count,) if name == "at" else (0, count)):
                raise SettingError(f"{name} takes {each} number{'s' if each > 1 else ''} for each object of --insert, "
                                   f"{each * count} for {count}, got {len(numbers)}")
            if not all(abs(number) < float("inf") for number in numbers):
                raise SettingError(f"{name} must be finite, got {' '.join(f'{number:g}' for number in numbers)}")
        if not all(scale > 0 for scale in self.scale):
            raise SettingError(f"scale must be above 0, got {' '.join(f'{scale:g}' for scale in self.scale)}")
        if self.disc_radius is not None and not 0 < self.disc_radius < float("inf"):
            raise SettingError(f"disc-radius must be above 0 and finite, got {self.disc_radius:g}")
        if count == 0 and self.disc_radius is not None:
            raise SettingError("disc-radius is for points; give --insert with it, or leave it out")
        if self.light and self.light != FIELD and self.picture is None and self.lamp is None:
            raise SettingError("light must be field, a picture (.exr, .hdr, .png or .jpg), or three finite numbers and "
                               f"perhaps a radius of at least 0, got {' '.join(self.light)}")
        for name, value, most in (("light-turn", self.light_turn, 360), ("light-stops", self.light_stops, 30)):
            if value is not None and self.picture is None:
                raise SettingError(f"{name} is of a picture that shines; give --insert and --light PICTURE with it, or "
                                   "leave it out")
            if value is not None and not -most <= value <= most:
                raise SettingError(f"{name} must be from {-most} to {most}, got {value:g}")
        if self.shadow is not None and not 0 <= self.shadow <= 1:
            raise SettingError(f"shadow must be from 0 to 1, got {self.shadow:g}")
        if self.shadow is not None and self.lamp is None:
            raise SettingError("shadow is the share of a lamp in all light; give --insert and --light X Y Z with it, "
                               "or leave it out")
        self._check_boxes()
        around = self.lens in ("equirectangular", "omnidirectional-stereo")
        if around and self.size is not None and self.size[0] != 2 * self.size[1]:
            raise SettingError(f"size of --lens {self.lens} must be twice as wide as high, as players have it, got "
                               f"{self.size[0]} {self.size[1]}")
        if count == 0 and self.light:
            raise SettingError("light shines on objects; give --insert with it, or leave it out")
        if count and self.renderer == "taichi":
            raise SettingError("renderer taichi ends no rays at objects; use --renderer auto with --insert")

    def _check_boxes(self):
        for name, numbers in (("hide", self.hide), ("move", self.move)):
            _check_finite(name, numbers)
            if len(numbers) % 6:
                raise SettingError(f"{name} takes six numbers for each box, got {len(numbers)}")
            if any(low >= high for n in range(0, len(numbers), 6)
                   for low, high in zip(numbers[n : n + 3], numbers[n + 3 : n + 6])):
                raise SettingError(f"{name} must be two corners of each box, the first the lower one along each axis, "
                                   f"got {' '.join(f'{number:g}' for number in numbers)}")
            if numbers and self.renderer == "taichi":
                raise SettingError(f"renderer taichi ends no rays at boxes; use --renderer auto with --{name}")
        count = len(self.move) // 6
        for name, numbers, each in (("move-by", self.move_by, 3), ("move-turn", self.move_turn, 1)):
            _check_finite(name, numbers)
            if numbers and not count:
                raise SettingError(f"{name} is of the boxes of --move; give --move with it, or leave it out")
            if len(numbers) not in (0, each * count):
                raise SettingError(f"{name} takes {each} for each box of --move, {each * count} for {count}, got "
                                   f"{len(numbers)}")
        if count and not self.move_by and not self.move_turn:
            raise SettingError("move says what is moved, and not whereto; give --move-by DX DY DZ, or --move-turn "
                               "DEGREES")

    @property
    def lamp(self) -> tuple[float, ...] | None:
        """Place and radius of the lamp, if there is one."""
        try:
            numbers = tuple(map(float, self.light))
        except ValueError:
            return None
        usable = len(numbers) in (3, 4) and all(abs(number) < float("inf") for number in numbers)
        return (*numbers, 0.0)[:4] if usable and min(numbers[3:], default=0.0) >= 0 else None

    @property
    def picture(self) -> Path | None:
        """The one that shines, if one does."""
        given = Path(self.light[0]) if len(self.light) == 1 else None
        return given if given is not None and given.suffix.lower() in SHINING else None

    @property
    def pair(self) -> bool:
        """Whether the pictures are of two eyes."""
        return self.stereo or self.lens in ("omnidirectional-stereo", "vr180")


def render(command: Render) -> int:
    """`taichi-nerf render`"""
    at_once(lambda: _checked(command))
    import numpy as np
    import torch

    from .. import runtime
    from ..export.pictures import render_pictures
    from ..models.surfaces import MOST_LAYERS
    from ..models.views import rays_of_pixel
    from ..training.blocks import load_any
    from ..training.evaluate import GREY
    from ..training.lights import lights_along, lights_of
    from ..training.team import team_of
    from ..types import Shot

    with team_of() as team:
        with team.together():
            run, outputs = _checked(command)
            panorama = None if command.picture is None else _panorama(command)
            runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
            model, _ = load_any(run.path)
            scene, cameras, times = _path_cameras(command, run)
            left = _with_boxes(command, run, scene, model)
            shown, places = _with_objects(command, run, scene, left) if command.insert else (left, [])
            times = _times(command, run, len(cameras), times)
            if command.freeze:
                cameras = cameras.subset(np.zeros(len(cameras), int))
            grid = _grid(command, scene, cameras)
            if len(np.unique(grid.size, axis=0)) > 1 and any(
                output.suffix == ".mp4" for output in outputs.values()
            ):
                raise UserError(
                    f"--path {command.path} has pictures of several sizes; give one --size, or a folder as --output"
                )
            width, height = (int(side) for side in grid.size[grid.size.prod(axis=1).argmax()])
            runtime.require_memory(BYTES_A_PIXEL * width * height, f"a picture of {width} x {height} pixels",
                                   "use a smaller --size")
            for output in outputs.values():
                make_folder(output.parent if output.suffix == ".mp4" else output)
        shots = Shot(time=None if times is None else torch.from_numpy(times))
        if command.appearance:
            with Progress("fitting the light") as line:
                lights = lights_of(model, run, command.appearance, command.scene,
                                   on_step=lambda done, total: line.show(
                                       done / total, f"{done} of {total} steps, {line.left(done / total)}"))
            shots = replace(shots, codes={"appearance": lights_along(lights, len(cameras)).cpu()})
        rays = max(rays_of_pixel(shown, pane, n) for pane in grid.panes for n in range(len(pane)))
        if command.supersample and rays > getattr(shown, "rays_per_pixel", 1):
            say(f"pixels see more than those of the photos did, and are the mean of up to {rays} rays each "
                "(--no-supersample: quicker)")
        with Progress("rendering") as line:
            if command.light:
                shown.light = _light(command, run, scene, left, places, shots[:1], panorama)
            if command.pair:
                grid = _grid(command, scene, cameras, _eye_distance(command, scene, shown, grid, shots))
            line.restart()
            render_pictures(shown, grid, GREY[scene.background], outputs, fps=command.fps, on_view=line.count,
                            on_part=line.part, renderer=command.renderer, team=team, shots=shots,
                            foveated=command.foveated, supersample=command.supersample)
        if command.insert:
            _say_unmet(set.intersection(*team.collected(shown.unmet)), scene, model)
    if getattr(shown, "goes_on", False):
        say(f"taichi-nerf: some rays met more than {MOST_LAYERS} surfaces, one behind the other, of which all but the "
            "last are glass, and show no objects behind that many")
    result(
        f"{len(grid)} frame{'s' if len(grid) > 1 else ''} of {_sizes(grid)} pixels: "
        f"{', '.join(map(str, dict.fromkeys(outputs.values())))}"
    )
    return 0


def _checked(command: Render) -> "tuple[RunFolder, dict[str, Path]]":
    """The run, and where each thing that is shown goes, if nothing speaks against it that the run's folder tells, and a
    look at the files that the command names. Raises UserError."""
    from ..data.mesh_files import check_there
    from ..data.panorama import check_panorama
    from ..training.folder import RunFolder, block_folder, is_cut
    from ..training.named_photos import with_lights

    run, own = RunFolder.open(command.run), command.path in ("orbit", "spiral", *SPLITS)
    if not own and Path(command.path).suffix.lower() != ".json":
        raise UserError(
            f"--path {command.path} is no camera path; give orbit, spiral, train, val, test or a .json file"
        )
    check_renderer(run, command.renderer)
    block = block_folder(run.path, 0)
    if command.appearance and is_cut(run.path):
        raise UserError(f"{run.path} is cut into blocks, whose codes of appearance are not each other's; "
                        f"render one of them in the light of a photo, as {block}")
    if command.appearance:
        with_lights(run, command.appearance)
    if "normals" in command.what and is_cut(run.path):
        raise UserError(f"{run.path} is cut into blocks, which have no normals together; render one of them, "
                        f"as {block}")
    if command.light and is_cut(run.path):
        raise UserError(f"{run.path} is cut into blocks, on which objects cast no shadows; leave --light out, or "
                        f"render one of them, as {block}")
    _check_still(command, run)
    if command.path in SPLITS and command.frames is not None:
        raise UserError("--frames does not go with the poses of a split; use --every to render fewer")
    if command.path in SPLITS and command.scene is None:
        run.check_place()
    if not own:
        _path_cameras(command, run)
    if command.picture is not None:
        check_panorama(command.picture)
    for path in command.insert:
        check_there(path)
    return run, _outputs(command, run.path)


def _grid(command: Render, scene: "Scene", cameras: "Cameras", eye_distance: float = 0.0) -> "Grid":
    """The pictures at cameras in model space, with eyes so many model units apart."""
    from ..data.placement import up_axis
    from ..wide import wide_pictures

    convergence = float("inf") if command.convergence is None else command.convergence * scene.scale
    return wide_pictures(cameras, command.lens, up=up_axis(cameras.camera_to_world), stereo=command.stereo,
                         eye_distance=eye_distance, convergence=convergence, size=command.size)


def _with_boxes(command: Render, run: "RunFolder", scene: "Scene", model):
    """What renders the model without what is to be hidden, and with what is to be moved where it is to be."""
    import numpy as np
    import torch

    from ..models.boxes import Motion, hidden, moved
    from ..models.objects import turn_around

    _warn_of_boxes_outside(command, scene, model)
    of_world, axes = scene.rotation, torch.from_numpy(scene.rotation)
    hide, move = (scene.scale * (np.reshape(numbers, (-1, 2, 3)) - scene.origin - scene.centre)
                  for numbers in (command.hide, command.move))  # in the world's axes
    for corners in hide:
        model = hidden(model, corners.tolist(), axes)
    turns, shifts = command.move_turn or (0.0,) * len(move), command.move_by or (0.0,) * 3 * len(move)
    for corners, by, degrees in zip(move, scene.scale * np.reshape(shifts, (-1, 3)), turns):
        turn = of_world @ turn_around(_up(run), degrees) @ of_world.T
        motion = Motion.about(of_world @ corners.mean(axis=0), turn, of_world @ by)
        model = moved(model, corners.tolist(), axes, motion)
    return model


def _warn_of_boxes_outside(command: Render, scene: "Scene", model):
    """Say which boxes have nothing of what a model with bounds can show, or are moved to where it shows nothing."""
    import numpy as np

    from ..query import box_of_model

    if not scene.bounded or not hasattr(model, "box"):  # of a place without end, or a model of several
        return
    known, shifts = box_of_model(model, scene), command.move_by or (0.0,) * (len(command.move) // 2)
    between = _corners(known)
    for name, numbers, by in (("--hide", command.hide, ()), ("--move", command.move, shifts)):
        for number, box in enumerate(np.reshape(numbers, (-1, 2, 3))):
            if not _meet(box, known):
                say(f"taichi-nerf: {name}: box {number + 1} has nothing of what the model can show, which lies between "
                    f"{between}")
            elif by and not _meet(box + np.reshape(by, (-1, 3))[number], known):
                say(f"taichi-nerf: {name}: box {number + 1} is moved out of what the model can show, which lies "
                    f"between {between}")


def _say_unmet(objects: set[int], scene: "Scene", model):
    """Say which objects are in none of the pictures."""
    from ..query import box_of_model

    between = ""
    if scene.bounded and hasattr(model, "box"):
        between = f"; what the model can show lies between {_corners(box_of_model(model, scene))}"
    for number in sorted(objects):
        say(f"taichi-nerf: --insert: object {number + 1} is in none of the pictures; --at and --scale are in units of "
            f"the scene's file{between}")


def _corners(box: "np.ndarray") -> str:
    return " and ".join(" ".join(f"{value:.4g}" for value in corner) for corner in box)


def _meet(one: "np.ndarray", other: "np.ndarray") -> bool:
    """Of boxes [2, 3]."""
    return bool(((one[0] < other[1]) & (other[0] < one[1])).all())


def _check_finite(name: str, numbers: Sequence[float]):
    for number in numbers:
        if not abs(number) < float("inf"):
            raise SettingError(f"{name} must be finite numbers, got {number:g}")


def _up(run: "RunFolder") -> "np.ndarray":
    """[3]: what is up in the world of the scene's file."""
    from ..data.placement import up_axis

    return up_axis(run.cameras_scene().splits["train"].cameras.camera_to_world)


def _with_objects(command: Render, run: "RunFolder", scene: "Scene", model):
    """What renders the model with the objects in it, not yet lit, and their middles [3] in model space."""
    import numpy as np
    import torch

    from ..data.mesh_files import not_followed
    from ..data.point_discs import read_surface
    from ..models.objects import WithObjects, placed, surface_of

    up, like = _up(run), next(model.parameters())
    count, surfaces, places, clouds = len(command.insert), [], [], 0
    for path, at, scale, turn in zip(command.insert, np.reshape(command.at, (-1, 3)), command.scale or (1.0,) * count,
                                     command.turn or (0.0,) * count):
        mesh, points = read_surface(path, command.disc_radius)
        for text in not_followed(path):
            say(f"taichi-nerf: {quoted(path)}: {text}")
        if points is not None and points.left_out:
            say(f"taichi-nerf: {quoted(path)}: left out, since their places are not finite: {points.left_out} of "
                f"{points.left_out + len(points.position)} points")
        if mesh.opacity is not None and mesh.tinted is None and not mesh.opacity.any():
            say(f"taichi-nerf: {quoted(path)} lets all light pass, and is not to be seen: glass has its colour by its "
                "alpha or its transmission here, and mirrors nothing")
        if mesh.clear_corners:
            say(f"taichi-nerf: {quoted(path)}: the alpha of its corners' colours counts for nothing; what is glass "
                "says so by its material, in GLB or glTF (alphaMode BLEND, or KHR_materials_transmission)")
        mesh = placed(mesh, scene, up, at=at, scale=scale, turn=turn)
        clouds += points is not None
        surfaces.append(surface_of(mesh, torch.empty(0).to(like)))
        places.append((mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2)
    if command.disc_radius is not None and clouds == 0:
        raise UserError("--disc-radius is for points, a PLY without faces, and none of --insert is one; leave it out")
    return WithObjects(model, surfaces), places


def _light(command: Render, run: "RunFolder", scene: "Scene", model, places, shot: "Shot",
           panorama: "np.ndarray | None"):
    """What shines on objects at `places`: the `panorama`, the field as one `shot` sees it, or the lamp."""
    import numpy as np

    from ..models.lights import Lamp, surroundings_in, surroundings_of
    from ..training.evaluate import GREY

    up = scene.rotation @ _up(run)
    if command.light == FIELD:
        return surroundings_of(model, places, up, background=GREY[scene.background], shot=shot)
    if panorama is not None:
        ahead = scene.rotation @ _ahead(_up(run), command.light_turn or 0.0)
        return surroundings_in(panorama, len(places), up, ahead, next(model.parameters()))
    *position, radius = command.lamp
    return Lamp(position=tuple(scene.to_model(np.array(position) - scene.origin).tolist()), up=tuple(up),
                radius=radius * scene.scale, share=LAMP_SHARE if command.shadow is None else command.shadow)


def _ahead(up: "np.ndarray", turn: float) -> "np.ndarray":
    """[3]: the level direction in the world of the scene's file that is closest to x, or to y where x is `up`, turned
    to the left."""
    import numpy as np

    from ..models.objects import turn_around

    axis = np.eye(3)[0 if abs(up[0]) < STEEP else 1]
    level = axis - (axis @ up) * up
    return turn_around(up, turn) @ level / np.linalg.norm(level)


def _panorama(command: Render) -> "np.ndarray":
    """[H, 2 H, 3]: the light of the picture; says where it is none to see by."""
    import numpy as np

    from ..data.panorama import read_panorama

    stops, odd = command.light_stops or 0.0, []
    picture = 2.0**stops * read_panorama(command.picture, odd.append)
    mean = float(picture.mean(dtype=np.float64))
    for text in odd:
        say(f"taichi-nerf: {text}")
    if not odd and not DARKEST < mean < BRIGHTEST:  # what is infinite says nothing of the units
        say(f"taichi-nerf: the light of {quoted(command.picture)} is {mean:.2g} in the mean, where 1 is white, so that "
            f"objects become {'white' if mean > 1 else 'black'}; if it is in other units, give --light-stops "
            f"{stops - np.log2(2 * mean):.0f}")
    return picture


def _eye_distance(command: Render, scene: "Scene", model, grid: "Grid", shots: "Shot") -> float:
    """Model units between the eyes of pictures, and says what it took."""
    from ..export.pictures import nearest_depth

    if command.eye_distance is not None:
        return command.eye_distance * scene.scale
    if command.unit is not None:
        distance = BETWEEN_EYES / command.unit
        say(f"eyes: {BETWEEN_EYES:g} m apart, which are {distance:.3g} units of the scene's file")
        return distance * scene.scale
    nearest = nearest_depth(model, grid, shots)
    if nearest is None:
        raise UserError("nothing is seen along the path by whose depth the eyes could be put apart; give "
                        "--eye-distance, or --unit")
    distance = nearest / NEAREST_BY
    say(f"eyes: {distance / scene.scale:.3g} units of the scene's file apart, a {NEAREST_BY}th of the nearest depth; "
        "--unit says how long a unit is")
    return distance


def _sizes(grid: "Grid") -> str:
    """Of the frames: the one that all have, or the smallest and the largest."""
    ordered = grid.size[grid.size.prod(axis=1).argsort(kind="stable")]
    smallest, largest = (f"{width} x {height}" for width, height in ordered[[0, -1]])
    return smallest if smallest == largest else f"{smallest} to {largest}"


def _path_cameras(command: Render, run: "RunFolder") -> "tuple[Scene, Cameras, np.ndarray | None]":
    """The cameras to render, in model space, and their times where they are known."""
    from .. import paths

    if command.path in SPLITS:
        scene, _, left = run.split(command.path, path=command.scene, every=command.every)
        return (scene, paths.of_split(scene, command.path, left, size=command.size),
                paths.times_of_split(scene, command.path, left, size=command.size))
    scene = run.cameras_scene()
    if command.path in ("orbit", "spiral"):
        make = paths.orbit if command.path == "orbit" else paths.spiral
        return scene, make(scene, command.frames or DEFAULT_FRAMES, size=command.size), None
    return (scene, paths.from_json(command.path, scene, size=command.size, frames=command.frames),
            paths.times_from_json(command.path, command.frames))


def _check_still(command: Render, run: "RunFolder"):
    """Raises UserError where a time is asked for, and the model knows none."""
    if (command.time or command.freeze) and not system_of(run.config.model).moves:
        raise UserError(f"{run.path} is a run of {run.config.model.kind}, which knows no time; leave --time and "
                        "--freeze out")


def _times(command: Render, run: "RunFolder", frames: int, of_path: "np.ndarray | None") -> "np.ndarray | None":
    """[N] of the frames: what the command says, else the path, else the whole time; None of what stands still."""
    import numpy as np

    if not system_of(run.config.model).moves or (of_path is not None and not command.time and not command.freeze):
        return of_path
    first, *last = command.time or (0.0, 1.0)
    return np.linspace(first, last[0] if last else first, frames, dtype=np.float32)


def _outputs(command: Render, run: Path) -> dict[str, Path]:
    """Where each thing that is shown goes: a new .mp4 file, or a new or empty folder for all of them."""
    from ..training.folder import check_output

    whats = list(dict.fromkeys(command.what))
    output = command.output
    if output is None:
        stem, number = Path(command.path).stem, 1
        while any(
            (run / "renders" / f"{stem}{'' if number == 1 else f'_{number}'}{end}.mp4").exists()
            for end in ("", *(f"-{what}" for what in whats))
        ):
            number += 1
        output = run / "renders" / f"{stem}{'' if number == 1 else f'_{number}'}.mp4"
    if output.suffix.lower() in NO_VIDEO:
        raise UserError(f"--output {output} is neither a video (.mp4) nor a folder; give one of these")
    if output.suffix.lower() != ".mp4":
        check_output(output)
        return {what: output for what in whats}
    plain = output.with_suffix(".mp4")
    files = {
        what: plain if len(whats) == 1 else plain.with_name(f"{plain.stem}-{what}.mp4") for what in whats
    }
    for file in files.values():
        if file.exists():
            raise UserError(f"{file} exists; choose another --output")
        check_output(file)
    return files
