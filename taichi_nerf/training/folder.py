"""The folder of a run: what lies in it, and how it is read back.

config.json                   settings as they were resolved, the scene's place in the model, versions
cameras.json                  the scene's cameras, so that a path around it needs no image
model.safetensors             the model to render with
training_state.safetensors    what --resume goes on from
log.jsonl                     one line for each report of the training
refined_transforms.json       the training cameras where they were refined, for other programs
metrics.json                  the scores after training
test/                         each test view: rendered, truth, error, depth
lights.png                    the photos of a model with appearances by their light
masks.png                     with --robust, what is left out of some photos
uncertainty.png               of a model that knows it, what it is unsure of in them
orbit.mp4                     a turn around the scene

One process at a time writes into it, and holds a lock as long (`writing`); those that read never wait. A folder has a
config.json when all that a run needs to begin is there.

Nothing but writing config.json needs PyTorch and Taichi: what is wrong with a folder is said before they are loaded.
"""

import contextlib
import dataclasses
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from ..config import RunConfig, SceneConfig, from_dict, todays_run
from ..data import load_scene
from ..data.carrying import with_carried
from ..data.export import transforms_content
from ..data.images import image_size
from ..data.locks import holding, is_held
from ..data.scene import Cameras, Images, Scene, Split
from ..errors import UserError
from ..output import quoted
from .cameras_file import camera_values, changes, digest, finite_numbers, stored_cameras, training_values
from .files import ASIDE, BLOCKS_FILE, MODEL_FILE, STATE_FILE, parsed, read_json, write_json, write_text, write_trouble

CONFIG_FILE, CAMERAS_FILE, LOG_FILE, METRICS_FILE = "config.json", "cameras.json", "log.jsonl", "metrics.json"
LIGHTS_FILE = "lights.png"  # the photos of a model with appearances, those of like light side by side
MASKS_FILE, UNCERTAINTY_FILE = "masks.png", "uncertainty.png"
REFINED_FILE = "refined_transforms.json"
BLOCKS_FOLDER = "blocks"  # of the runs of blocks, in that which is cut into them
LOCK_FILE = ".taichi-nerf-lock"  # there while a process writes into the folder, or since one was killed
LEFT_ASIDE = (f"{ASIDE}*", ".orbit-*.mp4", "test/.*.png.*")  # by a process that was killed in the middle of a file
MOST_NAMES = 5  # of runs that are named
FORMAT, VERSION = "taichi-nerf run", 7
# with rotation, centre and scale, how a scene lies in the model
PLACE = ("aabb_scale", "near", "far", "forward_facing", "background")
PACKAGES = ("taichi-nerf", "taichi", "numpy", "safetensors")


class RunFolder:
    """A run on the disk: `create` one, or `open` one that is there.

    `config` is its RunConfig, `facts` what it knows of its scene, `runtime` what it was trained on.
    """

    def __init__(self, path: Path, config: RunConfig, facts: dict, runtime: dict):
        self.path, self.config, self.facts, self.runtime = path, config, facts, runtime

    @classmethod
    def create(cls, path: Path, config: RunConfig, scene: Scene) -> "RunFolder":
        """Write the settings and the cameras of a new run. Raises UserError where that is not possible."""
        check_new(path)
        make_folder(path, exist_ok=True)
        cameras = {name: camera_values(split.images.names, split.cameras) for name, split in scene.splits.items()}
        cameras["train"] = training_values(scene.splits["train"])
        run = cls(path, config, {**_facts(scene), "cameras_digest": digest(cameras)}, {})
        try:
            write_json(path / CAMERAS_FILE, cameras)
            run.write_config()
        except BaseException:
            for name in (CAMERAS_FILE, BLOCKS_FILE):
                with contextlib.suppress(OSError):
                    (path / name).unlink()
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Raises UserError if `path` is no run folder, or its settings are damaged."""
        check_run(path)
        file = path / CONFIG_FILE
        content = read_json(file)
        if content.get("format") != FORMAT or content.get("version") not in range(1, VERSION + 1):
            raise UserError(
                f"{file} is not of a version from 1 to {VERSION} of the format '{FORMAT}'; use the release of "
                "taichi-nerf that wrote it"
            )
        try:
            started = {
                "backend": str(content["runtime"]["backend"]),
                "threads": int(content["runtime"]["threads"]),
            }
            settings, facts = todays_run(content["run"], content["version"]), content["scene"]
            if content["version"] < 4:  # until then each image had a code, of whichever photo it was
                facts = {**facts, "ids_by_image": True}
            run = cls(path, from_dict(RunConfig, settings, "run"), facts, started)
            Scene(**run._scene_basis(), splits={})
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise UserError(f"{file} is damaged: {error}; restore it or train again") from None
        return run

    def write_config(self):
        """Write config.json anew."""
        import torch

        from .. import runtime

        started = runtime.current()
        self.runtime = {"backend": started.backend, "threads": started.threads, "dtype": str(started.dtype),
                        "mlp": started.mlp}
        write_json(
            self.path / CONFIG_FILE,
            {
                "format": FORMAT,
                "version": VERSION,
                "run": dataclasses.asdict(self.config),
                "scene": self.facts,
                "runtime": self.runtime,
                "versions": {
                    "python": platform.python_version(),
                    **{name: _version(name) for name in PACKAGES},
                    "torch": torch.__version__,  # which build it is; the package's own version need not say
                },
            },
        )

    def write_refined(self, scene: Scene, cameras: Cameras) -> None:
        """Keep the refined training cameras of `scene`, in model space, and write them for other programs.

        From then on the run shows and renders its training views from there. `refined_transforms.json` has them in the
        world of the scene's file, and is a scene to train on itself where that has image files, whose sizes its lenses
        are for; those of photos in several sizes are in it once.
        """
        split = scene.splits["train"]
        refined = scene.world_cameras(cameras)
        names = split.images.names
        paths = [str(path.absolute()) for path in split.paths] or [f"./train/{name}" for name in names]
        values = camera_values(names, refined)
        write_json(self.path / CAMERAS_FILE, {**self._cameras(), "refined": {**values, "digest": digest(values)}})
        whole = split.full_size
        of_files = refined.subset(whole)
        if split.paths and (sizes := _file_sizes(tuple(split.paths[n] for n in whole))) is not None:
            of_files = of_files.resized(sizes)
        write_json(self.path / REFINED_FILE, transforms_content(scene, of_files, [paths[n] for n in whole]))

    @property
    def has_checkpoint(self) -> bool:
        return (self.path / STATE_FILE).is_file()

    def disk(self, untrained: Sequence[int] = ()) -> tuple[int, int]:
        """Bytes of all that lies in it, and of them those that may be deleted once nobody goes on with it; of a run of
        blocks with theirs, but for the state of the `untrained` ones."""
        kept = {block_folder(self.path, number) for number in untrained}
        sizes = [(file, _size(file)) for file in self.path.rglob("*")]
        state = sum(size for file, size in sizes if file.name == STATE_FILE and file.parent not in kept)
        return sum(size for _, size in sizes), state

    @property
    def awaits_model(self) -> bool:
        """Whether another process writes into it, and has not come to a checkpoint yet; a run that is cut into blocks
        has none of its own."""
        has_model = any((self.path / name).exists() for name in (MODEL_FILE, BLOCKS_FILE))
        return not has_model and is_held(self.path / LOCK_FILE)

    def training_scene(self, *, on_image: Callable[[int, int], None] | None = None) -> Scene:
        """The scene of the run with its images. Raises UserError where its training images or their cameras differ."""
        self.check_place()
        scene = self.placed(load_training_scene(self.config.scene, on_image=on_image, check=self._check_names))
        scene = self._with_own_ids(scene)
        self._check_same(scene, scene.splits["train"])
        return scene

    def default_every(self, split: str) -> int:
        """Of how many views of a split the training scores one."""
        return 1 if self.facts["held_out"] or split != "test" else max(self.config.scene.test_interval, 1)

    def split(
        self, name: str, *, path: Path | None = None, every: int | None = None
    ) -> tuple[Scene, int, int]:
        """The scene with one split alone, from `path` if it has moved; `every`; what of it is left.

        Images that `every` leaves out are not opened where the scene itself brings its splits.
        """
        settings = self.config.scene
        if path is not None:
            settings = dataclasses.replace(settings, path=str(path), test_every=settings.test_interval)
        every = self.default_every(name) if every is None else every
        if path is None:
            self.check_place()
        computed = settings.builtin is not None
        scene = self.placed(load_scene(settings, splits=[name], every={} if computed else {name: every}))
        loaded = 1 if computed or scene.held_out else every  # every so many-th view
        scene = self._with_own_ids(self._with_refined(scene, loaded), loaded)
        return self._carried(scene), every, every // loaded

    def _with_own_ids(self, scene: Scene, every: int = 1) -> Scene:
        """`scene` with the ids of its training images, every `every`-th, where the run has others than the file."""
        if not self.facts.get("ids_by_image") or "train" not in scene.splits:
            return scene
        split = scene.splits["train"]
        split = dataclasses.replace(split, ids={"appearance": every * np.arange(len(split))})
        return dataclasses.replace(scene, splits={**scene.splits, "train": split})

    def _check_names(self, scene: Scene):
        """Raises UserError where the training images of `scene` have other names or sizes than those that the run was
        begun with."""
        split, before = scene.splits["train"], self._cameras()["train"]
        if before["names"] != list(split.images.names) or before["size"] != split.cameras.size.tolist():
            place = self.config.scene.path or "the built-in scene"
            raise UserError(f"{place} has other training images than when {self.path} was begun; restore them, or "
                            "train anew")

    def _check_same(self, scene: Scene, split: Split):
        """Raises UserError where these training images are not those that the run was begun with."""
        self._check_names(scene)
        place, before = self.config.scene.path or "the built-in scene", self._cameras()["train"]
        if "origin" not in self.facts:  # older runs have positions of another origin
            return
        moved = scene.origin - self._scene_basis()["origin"]
        try:
            found = changes(before, split, moved)
        except (IndexError, TypeError, ValueError) as error:
            raise self._damaged_cameras(error) from None
        if found:
            n, what = next(iter(found.items()))
            image = split.paths[n] if split.paths else f"image {split.images.names[n]}"
            also = f", and {len(found) - 1} more are not what they were" if len(found) > 1 else ""
            raise UserError(f"{place} has changed: {image} has {what} than when {self.path} was begun{also}; restore "
                            "what was there, or train anew")

    def check_resumable(self, anew: str = "train anew in another folder") -> None:
        """Raises UserError where a model is there, and what its training would go on from is not; `anew` is what to do
        where that is gone for good."""
        if (self.path / MODEL_FILE).is_file() and not self.has_checkpoint:
            raise UserError(f"{self.path} has no {STATE_FILE}, without which its training cannot go on; restore it, or "
                            f"{anew}")

    def check_place(self) -> None:
        """Raises UserError where the scene of the run has moved."""
        path = self.config.scene.path
        if self.config.scene.builtin is None and not os.path.exists(path):
            raise UserError(f"{path}, the scene of {self.path}, does not exist; if it has moved, say where it is now "
                            "with --scene")

    def cameras_scene(self) -> Scene:
        """The scene as far as its cameras go: the images are blank."""
        splits, stored = {}, self._cameras()
        stored["train"] = stored.pop("refined", stored["train"])
        for name, values in stored.items():
            cameras = stored_cameras(values)
            try:
                images = Images.blank(cameras.size, values["names"])
            except ValueError as error:  # more than there can be
                raise self._damaged_cameras(error) from None
            splits[name] = Split(name=name, cameras=cameras, images=images)
        return self._carried(self.placed(Scene(**self._scene_basis(), splits=splits)))

    def _carried(self, scene: Scene) -> Scene:
        """`scene` with other cameras than those of training carried along with these, if the training moved them."""
        stored = self._cameras()
        if "refined" not in stored or not self.config.training.refine.carry_along:
            return scene
        before, after = (scene.model_cameras(stored_cameras(stored[name])) for name in ("train", "refined"))
        return with_carried(scene, before, after)

    def _with_refined(self, scene: Scene, every: int) -> Scene:
        """`scene` with the refined cameras of its training images, of which it has every `every`-th, if there are any.

        Raises UserError where they are those of other images.
        """
        refined = self._cameras().get("refined")
        if refined is None or "train" not in scene.splits:
            return scene
        split, names = scene.splits["train"], refined["names"]
        chosen = list(range(len(names)))[::every]
        if split.scale is not None and every > 1:  # of each size
            loaded = set(split.images.names)
            chosen = [n for n, name in enumerate(names) if name in loaded]
        cameras = stored_cameras(refined).subset(chosen)
        if list(split.images.names) != [names[n] for n in chosen] or (cameras.size != split.images.size).any():
            raise UserError(f"{scene.name} has other training images than those whose cameras {self.path} refined; "
                            "restore them, or train anew")
        return dataclasses.replace(scene, splits={**scene.splits, "train": dataclasses.replace(split, cameras=cameras)})

    def placed(self, scene: Scene) -> Scene:
        """`scene` where the model of this run has it."""
        basis = self._scene_basis()
        basis["centre"] = basis["centre"] + (basis["origin"] - scene.origin)  # older runs took nothing from positions
        return dataclasses.replace(scene, **{key: basis[key] for key in ("rotation", "centre", "scale", *PLACE)})

    def log(self, line: dict):
        """Append to the log."""
        with self._log_errors(), (self.path / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def cut_log(self, steps: int):
        """Drop the lines about steps after `steps`, which a run that goes on takes again."""
        kept = [line for line in self.read_log() if line.get("step", 0) <= steps]
        write_text(self.path / LOG_FILE, "".join(json.dumps(line) + "\n" for line in kept))

    def read_log(self) -> list[dict]:
        """The whole lines of the log."""
        if not (self.path / LOG_FILE).is_file():
            return []
        with self._log_errors():
            text = (self.path / LOG_FILE).read_text(encoding="utf-8", errors="replace")
        return [line for line in map(_log_line, text.splitlines()) if line is not None]

    def _scene_basis(self) -> dict:
        facts = dict(self.facts)
        numbers = {name: finite_numbers(name, facts[name]) for name in ("rotation", "centre", "scale", "near")}
        return {
            "name": str(facts["name"]),
            "format": str(facts["format"]),
            "rotation": numbers["rotation"],
            "origin": finite_numbers("origin", facts.get("origin", [0.0, 0.0, 0.0])),
            "centre": numbers["centre"],
            "scale": float(numbers["scale"]),
            "aabb_scale": int(facts["aabb_scale"]),
            "near": float(numbers["near"]),
            "far": None if facts["far"] is None else float(finite_numbers("far", facts["far"])),
            "forward_facing": bool(facts["forward_facing"]),
            "background": facts["background"],
            "held_out": bool(facts["held_out"]),
            "bounded": bool(facts["bounded"]),
        }

    def _cameras(self) -> dict[str, dict]:
        """What the file of the cameras says of each split. Raises UserError where it is not as it was written."""
        cameras = read_json(self.path / CAMERAS_FILE)
        for name, values in {"train": {}, **cameras}.items():
            try:
                stored_cameras(values)
            except ValueError as error:
                raise self._damaged_cameras(f"the split '{name}': {error}") from None
        begun, refined = {**cameras}, {**cameras.get("refined", {})}
        begun.pop("refined", None)
        stated = (self.facts.get("cameras_digest"), refined.pop("digest", None))
        if any(known not in (None, digest(content)) for known, content in zip(stated, (begun, refined))):
            raise self._damaged_cameras("its digest is another: a value is not as it was written")
        return cameras

    def _damaged_cameras(self, what) -> UserError:
        return UserError(f"{self.path / CAMERAS_FILE} is damaged ({what}); restore it or train again")

    @contextlib.contextmanager
    def _log_errors(self):
        try:
            yield
        except OSError as error:
            reason, remedy = write_trouble(error, self.path)
            raise UserError(
                f"{self.path / LOG_FILE} cannot be written: {reason}; {remedy}, then go on with --resume"
            ) from None


def check_output(path: Path, *, option: str = "--output", otherwise: str = "") -> None:
    """Raises UserError where nothing new can be put into `path`: not empty, below a file, or not writable.

    `option` is what the user gave it with, `otherwise` what can be done with what is there.
    """
    try:
        if path.is_dir() and any(path.iterdir()):
            raise UserError(f"{path} exists and is not empty; choose another {option}{otherwise}")
        parent = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not parent.is_dir():
            raise UserError(f"{path} cannot be made: {parent} is no folder; choose another {option}")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise UserError(f"{path} cannot be written: no permission in {parent}; choose another {option}")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UserError(f"{path} cannot be used: {_reason(error)}; choose another {option}") from None


def check_run(path: Path) -> None:
    """Raises UserError where `path` is no run folder."""
    if not (path / CONFIG_FILE).is_file():
        if not os.path.lexists(path):
            raise UserError(f"{path} is no run: there is no such folder; give the one that taichi-nerf train wrote")
        inside = _runs_in(path)
        advice = f"one of the runs in it: {', '.join(inside)}" if inside else "the folder that taichi-nerf train wrote"
        raise UserError(f"{path} is no run: it has no {CONFIG_FILE}; give {advice}")


def _runs_in(path: Path) -> list[str]:
    """Some of those that a folder holds, the newest first."""
    try:
        found = [file.parent for file in path.glob(f"*/{CONFIG_FILE}")]
        return [run.name for run in sorted(found, key=lambda run: run.stat().st_mtime, reverse=True)[:MOST_NAMES]]
    except (OSError, ValueError):
        return []


def is_cut(path: Path) -> bool:
    """Whether the run at `path` is cut into blocks, also where what is known of these is gone."""
    return os.path.lexists(path / BLOCKS_FILE) or (path / BLOCKS_FOLDER).is_dir()


def block_folder(path: Path, number: int) -> Path:
    """Of the run of a block of the run at `path`."""
    return path / BLOCKS_FOLDER / f"{number:02d}"


def check_block_folder(path: Path) -> None:
    """Raises UserError where the run of a block can neither go on nor begin in `path`, which nobody has chosen."""
    if (path / CONFIG_FILE).is_file() or not os.path.lexists(path):
        return
    try:
        check_new(path)
    except UserError:
        raise UserError(f"{path} is in the place of a block, and no run: restore its {CONFIG_FILE}, or move it away, "
                        "and the block is trained anew") from None


def check_new(path: Path) -> None:
    """Raises UserError where no run can begin in `path`: as `check_output`, but for what is left of a beginning."""
    if not _is_unbegun(path):
        resume = f" or go on with --resume {quoted(path)}" if (path / CONFIG_FILE).is_file() else ""
        check_output(path, otherwise=resume)


def _is_unbegun(path: Path) -> bool:
    """Whether the folder holds nothing but what a process writes before a run has begun; it may have been killed."""
    try:
        names = {file.name for file in path.iterdir() if not file.name.startswith(ASIDE)}
    except (OSError, ValueError):
        return False
    return LOCK_FILE in names and names <= {LOCK_FILE, CAMERAS_FILE, BLOCKS_FILE}


def make_folder(path: Path, *, exist_ok: bool) -> None:
    """Make the folder of a new run. Raises UserError where that is not possible, FileExistsError for one that is there
    but must not be."""
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.is_dir():
            raise
        raise UserError(f"{path} cannot be made: {_reason(error)}; choose another --output") from None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within this context no other process writes into the folder of a run; what a killed one left aside is removed.

    Raises UserError where another one does.
    """
    with contextlib.ExitStack() as held:
        try:
            alone = held.enter_context(holding(path / LOCK_FILE))
        except BlockingIOError:
            raise UserError(f"another process trains in {path}; wait for its end, or train in another folder") from None
        except OSError as error:
            reason, remedy = write_trouble(error, path)
            raise UserError(f"{path} cannot be written: {reason}; {remedy}") from None
        if alone:
            _remove_left_aside(path)
        yield


def _remove_left_aside(path: Path):
    for left in [left for pattern in LEFT_ASIDE for left in path.glob(pattern)]:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                left.unlink()


def load_training_scene(settings: SceneConfig, *, on_image: Callable[[int, int], None] | None = None,
                        check: Callable[[Scene], object] | None = None) -> Scene:
    """The training and the test split of a scene; `on_image(done, total)` is told of each decoded image, and `check` of
    the scene before that, as far as `load_scene` does.

    Raises UserError where it cannot be loaded or has no training split.
    """
    every = {"test": max(settings.test_interval, 1), "val": 10**9}  # of the validation images just one
    wanted = None if settings.builtin is None else ("train", "test")

    def trained_on(scene: Scene) -> Scene:
        if "train" not in scene.splits:
            raise UserError(f"{settings.path} has no training images, only {', '.join(scene.splits)}; give a scene "
                            "with a training split")
        names = ("train",) if settings.test_interval == 0 else ("train", "test")
        splits = {name: scene.splits[name] for name in names if name in scene.splits and len(scene.splits[name])}
        return dataclasses.replace(scene, splits=splits)

    def check_undecoded(scene: Scene):
        found = trained_on(scene)
        if check is not None:
            check(found)

    return trained_on(load_scene(settings, splits=wanted, every=every, on_image=on_image, check=check_undecoded))


def _facts(scene: Scene) -> dict:
    return {
        "name": scene.name,
        "format": scene.format,
        "rotation": scene.rotation.tolist(),
        "origin": scene.origin.tolist(),
        "centre": scene.centre.tolist(),
        "scale": float(scene.scale),
        "held_out": scene.held_out,
        "bounded": scene.bounded,
        **{name: getattr(scene, name) for name in PLACE},
    }


@cache
def _file_sizes(paths: tuple[Path, ...]) -> np.ndarray | None:
    """[N, 2]: width and height of image files, looked at once; None where one is not to be had any more."""
    try:
        return np.array([image_size(path) for path in paths])
    except UserError:
        return None


def _size(path: Path) -> int:
    """Bytes of a file; 0 of anything else, as of a file that another process has just replaced."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _log_line(text: str) -> dict | None:
    """A line of the log; None for one that is damaged, as the last one of a run that was killed."""
    try:
        line = parsed(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and type(line.get("step", 0)) is int else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
