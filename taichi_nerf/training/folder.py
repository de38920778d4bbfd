"""The folder of a run: what lies in it, and how it is read back.

config.json                   settings as they were resolved, the scene's place in the model, versions
cameras.json                  the scene's cameras, so that a path around it needs no image
model.safetensors             the model to render with
training_state.safetensors    what --resume goes on from
log.jsonl                     one line for each report of the training
refined_transforms.json       the training cameras where they were refined, for other programs
metrics.json                  the scores after training
test/                         each test view: rendered, truth, error, depth
orbit.mp4                     a turn around the scene
"""

import contextlib
import dataclasses
import json
import os
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from .. import runtime
from ..config import RunConfig, SceneConfig, from_dict, todays_run
from ..data import load_scene
from ..data.export import transforms_content
from ..data.scene import Cameras, Images, Scene, Split, pixel_offsets
from ..errors import UserError
from ..output import quoted
from .checkpoint import STATE_FILE, read_json, write_json, write_trouble

CONFIG_FILE, CAMERAS_FILE, LOG_FILE, METRICS_FILE = "config.json", "cameras.json", "log.jsonl", "metrics.json"
REFINED_FILE = "refined_transforms.json"
FORMAT, VERSION = "taichi-nerf run", 5
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
        check_output(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be made: {_reason(error)}; choose another --output") from None
        run = cls(path, config, _facts(scene), {})
        write_json(path / CAMERAS_FILE, {name: _camera_values(split.images.names, split.cameras)
                                         for name, split in scene.splits.items()})
        run.write_config()
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Raises UserError if `path` is no run folder, or its settings are damaged."""
        file = path / CONFIG_FILE
        if not file.is_file():
            raise UserError(
                f"{path} is no run: it has no {CONFIG_FILE}; give the folder that taichi-nerf train wrote"
            )
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
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{file} is damaged: {error}; restore it or train again") from None
        return run

    def write_config(self):
        """Write config.json anew."""
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
        world of the scene's file, and is a scene to train on itself where that has image files.
        """
        split = scene.splits["train"]
        refined = scene.world_cameras(cameras)
        names = split.images.names
        paths = [str(path.absolute()) for path in split.paths] or [f"./train/{name}" for name in names]
        write_json(self.path / CAMERAS_FILE, {**self._cameras(), "refined": _camera_values(names, refined)})
        write_json(self.path / REFINED_FILE, transforms_content(scene, refined, paths))

    @property
    def has_checkpoint(self) -> bool:
        return (self.path / STATE_FILE).is_file()

    def training_scene(self, *, on_image: Callable[[int, int], None] | None = None) -> Scene:
        """The scene of the run with its images. Raises UserError where its training images differ."""
        self._check_place(self.config.scene.path)
        scene = self.placed(load_training_scene(self.config.scene, on_image=on_image))
        split = scene.splits["train"]
        if self.facts.get("ids_by_image"):
            split = dataclasses.replace(split, ids={"appearance": np.arange(len(split))})
            scene = dataclasses.replace(scene, splits={**scene.splits, "train": split})
        before, now = self._cameras()["train"], _camera_values(split.images.names, split.cameras)
        if any(before[key] != now[key] for key in ("names", "size")):
            raise UserError(
                f"{self.config.scene.path or 'the built-in scene'} has other training images than when "
                f"{self.path} was begun; restore them, or train anew"
            )
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
            self._check_place(settings.path)
        computed = settings.builtin is not None
        scene = self.placed(load_scene(settings, splits=[name], every={} if computed else {name: every}))
        loaded = 1 if computed or scene.held_out else every  # every so many-th view
        return self._with_refined(scene, loaded), every, every // loaded

    def _check_place(self, path: str | None):
        """Raises UserError where the scene of the run has moved."""
        if self.config.scene.builtin is None and not os.path.exists(path):
            raise UserError(f"{path}, the scene of {self.path}, does not exist; if it has moved, say where it is now "
                            "with --scene")

    def cameras_scene(self) -> Scene:
        """The scene as far as its cameras go: the images are blank."""
        splits = {}
        try:
            stored = self._cameras()
            stored["train"] = stored.pop("refined", stored["train"])
            for name, values in stored.items():
                cameras = _stored_cameras(values)
                pixels = np.broadcast_to(
                    np.zeros(4, np.uint8), (int(cameras.size.astype(np.int64).prod(1).sum()), 4)
                )
                images = Images(
                    pixels=pixels,
                    offset=pixel_offsets(cameras.size),
                    size=cameras.size,
                    names=values["names"],
                )
                splits[name] = Split(name=name, cameras=cameras, images=images)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.path / CAMERAS_FILE} is damaged ({error}); restore it or train again"
            ) from None
        return self.placed(Scene(**self._scene_basis(), splits=splits))

    def _with_refined(self, scene: Scene, every: int) -> Scene:
        """`scene` with the refined cameras of its training images, of which it has every `every`-th, if there are any.

        Raises UserError where they are those of other images.
        """
        refined = self._cameras().get("refined")
        if refined is None or "train" not in scene.splits:
            return scene
        split, cameras = scene.splits["train"], _stored_cameras(refined).subset(slice(None, None, every))
        if list(split.images.names) != refined["names"][::every] or not np.array_equal(cameras.size, split.images.size):
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
        with self._log_errors():
            (self.path / LOG_FILE).write_text(
                "".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8"
            )

    def read_log(self) -> list[dict]:
        """The whole lines of the log."""
        lines = []
        if (self.path / LOG_FILE).is_file():
            for text in (self.path / LOG_FILE).read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):  # the last line of a run that was killed
                    lines.append(json.loads(text))
        return [line for line in lines if isinstance(line, dict)]

    def _scene_basis(self) -> dict:
        facts = dict(self.facts)
        return {
            "name": str(facts["name"]),
            "format": str(facts["format"]),
            "rotation": np.array(facts["rotation"], float),
            "origin": np.array(facts.get("origin", np.zeros(3)), float),
            "centre": np.array(facts["centre"], float),
            "scale": float(facts["scale"]),
            "aabb_scale": int(facts["aabb_scale"]),
            "near": float(facts["near"]),
            "far": None if facts["far"] is None else float(facts["far"]),
            "forward_facing": bool(facts["forward_facing"]),
            "background": facts["background"],
            "held_out": bool(facts["held_out"]),
            "bounded": bool(facts["bounded"]),
        }

    def _cameras(self) -> dict[str, dict]:
        """What the file of the cameras says of each split. Raises UserError where it lacks something."""
        file = self.path / CAMERAS_FILE
        cameras = read_json(file)
        for name, values in {"train": {}, **cameras}.items():
            wanted = ("names", *(field.name for field in dataclasses.fields(Cameras)))
            missing = [key for key in wanted if not isinstance(values, dict) or not values.get(key)]
            if missing:
                lack = f"the split '{name}' has no {missing[0]}"
                raise UserError(f"{file} is damaged ({lack}); restore it or train again")
        return cameras

    @contextlib.contextmanager
    def _log_errors(self):
        try:
            yield
        except OSError as error:
            reason, remedy = write_trouble(error, self.path)
            raise UserError(
                f"{self.path / LOG_FILE} cannot be written: {reason}; {remedy}, then go on with --resume"
            ) from None


def check_output(path: Path, *, option: str = "--output") -> None:
    """Raises UserError where nothing new can be put into `path`: not empty, below a file, or not writable.

    `option` is what the user gave it with.
    """
    try:
        if path.is_dir() and any(path.iterdir()):
            resume = f" or go on with --resume {quoted(path)}" if (path / CONFIG_FILE).is_file() else ""
            raise UserError(f"{path} exists and is not empty; choose another {option}{resume}")
        parent = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not parent.is_dir():
            raise UserError(f"{path} cannot be made: {parent} is no folder; choose another {option}")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise UserError(f"{path} cannot be written: no permission in {parent}; choose another {option}")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UserError(f"{path} cannot be used: {_reason(error)}; choose another {option}") from None


def load_training_scene(settings: SceneConfig, *, on_image: Callable[[int, int], None] | None = None) -> Scene:
    """The training and the test split of a scene; `on_image(done, total)` is told of each decoded image.

    Raises UserError where it cannot be loaded or has no training split.
    """
    every = {"test": max(settings.test_interval, 1), "val": 10**9}  # of the validation images just one
    wanted = None if settings.builtin is None else ("train", "test")
    scene = load_scene(settings, splits=wanted, every=every, on_image=on_image)
    if "train" not in scene.splits:
        raise UserError(
            f"{settings.path} has no training images, only {', '.join(scene.splits)}; "
            "give a scene with a training split"
        )
    names = ("train",) if settings.test_interval == 0 else ("train", "test")
    splits = {name: scene.splits[name] for name in names if name in scene.splits and len(scene.splits[name])}
    return dataclasses.replace(scene, splits=splits)


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


def _camera_values(names: Sequence[str], cameras: Cameras) -> dict:
    return {"names": list(names),
            **{field.name: getattr(cameras, field.name).tolist() for field in dataclasses.fields(Cameras)}}


def _stored_cameras(values: dict) -> Cameras:
    return Cameras(**{field.name: np.array(values[field.name]) for field in dataclasses.fields(Cameras)})


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
