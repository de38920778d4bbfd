"""How well a model shows the views of a split: PSNR, SSIM and, where it is at hand, LPIPS.

Prediction and truth are composited over the same background and compared as the 8-bit pictures that a person
sees. A score of a split is the mean over its images of each image's score.
"""

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .. import runtime
from ..data.co_seen import Onlookers
from ..data.scene import Cameras, Scene, Split, every_view
from ..errors import UserError
from ..fields.mlp import fastest_precision
from ..metrics import WINDOW, lpips_or_none, psnr, ssim, why_no_lpips
from ..models.renderers import Renderers
from ..models.shots import unseen_shots
from ..models.views import LONG, Renderer, View, render_view, told_of
from ..pictures import depth_picture, error_picture, side_by_side, to_uint8, write_png
from .half_image import HalfImageFit
from .motion import Motion, motion_of
from .onlookers import depth_of
from .photos import GREY
from .team import ALONE, Team

OF_SOME = ("psnr_moving", "psnr_co_seen", "ssim_co_seen")  # scores over some pixels, of which an image may have none
MASKED = np.uint8(128)  # what a masked pixel is in the pictures of truth and error


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of some views of a split, and what they were measured under."""

    names: tuple[str, ...]
    """Of the N images."""
    psnr: tuple[float, ...]
    """[N] dB."""
    ssim: tuple[float, ...]
    """[N]; NaN for a picture of fewer than 11 pixels along a side."""
    lpips: tuple[float, ...] | None
    """[N], with VGG; None where it is not at hand."""
    seconds: float
    """Wall time of rendering the views."""
    protocol: Mapping[str, Any]
    """What the scores depend on and what they were measured on; plain values."""
    scale: tuple[int, ...] | None = None
    """[N]: how many times smaller than its original each image is, where views have several sizes."""
    time: tuple[float, ...] | None = None
    """[N] when each image was taken, of a scene that moves."""
    psnr_moving: tuple[float, ...] | None = None
    """[N] dB over the pixels that show something that moves, of a scene that knows them; NaN where there is none."""
    psnr_co_seen: tuple[float, ...] | None = None
    """[N] dB over the pixels that enough training cameras see, of a scene that moves; NaN where there is none."""
    ssim_co_seen: tuple[float, ...] | None = None
    """[N] over the same."""
    motion: Motion | None = None
    """How well the model knows where things move, if it says so and the scene knows."""

    @property
    def mean_psnr(self) -> float:
        return float(np.mean(self.psnr))

    @property
    def mean_ssim(self) -> float:
        return float(np.mean(self.ssim))

    @property
    def mean_psnr_moving(self) -> float | None:
        """Over the images in which something moves."""
        return None if self.psnr_moving is None else _mean_of_known(self.psnr_moving)

    @property
    def mean_lpips(self) -> float | None:
        return None if self.lpips is None else float(np.mean(self.lpips))

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; a score that is not finite is null."""
        scores = {"psnr": self.psnr, "ssim": self.ssim}
        scores |= {name: values for name in ("lpips", *OF_SOME) if (values := getattr(self, name)) is not None}
        times = [{}] * len(self.names) if self.time is None else [{"time": round(time, 6)} for time in self.time]
        per_image = [
            {"name": name, **times[n], **{key: _plain(values[n]) for key, values in scores.items()}}
            for n, name in enumerate(self.names)
        ]
        means = {key: _plain(_mean_of_known(values) if key in OF_SOME else float(np.mean(values)))
                 for key, values in scores.items()}
        if self.scale is not None:
            means["per_scale"] = [_means_at(scores, np.array(self.scale), scale) for scale in sorted(set(self.scale))]
        return {
            **means,
            "images": len(self.names),
            "seconds": round(self.seconds, 3),
            **({} if self.motion is None else {"correspondence": self.motion.as_json()}),
            "protocol": dict(self.protocol),
            "per_image": per_image,
        }

    def __str__(self) -> str:
        protocol = self.protocol
        lpips = "" if self.mean_lpips is None else f", LPIPS (VGG) {self.mean_lpips:.4f}"
        moving = "" if self.psnr_moving is None else f", PSNR of what moves {self.mean_psnr_moving:.2f} dB"
        if self.psnr_co_seen is not None:
            moving += f", of what is co-seen {_mean_of_known(self.psnr_co_seen):.2f} dB"
        masked = f", masked: {protocol['masked']}" if "masked" in protocol else ""
        return (
            f"PSNR {self.mean_psnr:.2f} dB, SSIM {self.mean_ssim:.4f}{lpips}{moving}: mean over {len(self.names)} "
            f"images (split {protocol['split']}, every {protocol['every']}, {protocol['resolution']}, "
            f"background {protocol['background']}{masked}, {scored_sentence(protocol)}), "
            f"rendered in {self.seconds:.1f} s on {protocol['device']} "
            f"({protocol['backend']}, {protocol['threads']} threads, {protocol['precision']})"
        )


def evaluate(
    model: nn.Module,
    scene: Scene,
    *,
    split: str = "test",
    every: int = 1,
    folder: Path | None = None,
    protocol: Mapping[str, Any] | None = None,
    on_view: Callable[[int, int], None] | None = None,
    on_part: Callable[[float, int], None] | None = None,
    renderer: Renderer = "auto",
    halves: HalfImageFit | None = None,
    onlookers: Onlookers | None = None,
    team: Team = ALONE,
) -> Evaluation:
    """Render every `every`-th view of a split and compare it with its image, or images where it has several sizes.

    Args:
        model: as of `render_view`, with the weights that are to be scored.
        folder: for each view, write `NNN_NAME.png` (prediction, truth, error, depth side by side) and
            `NNN_NAME_render.png`, `NNN_NAME_depth.png` (each alone) into it; it is made if need be.
        protocol: further entries of the result's protocol that only the caller knows, such as the seconds of
            training, or `every` where views were already left out when the scene was loaded.
        on_view: is told after each view how many are done and how many there are.
        on_part: is told the same within views that take long, and the first, of which nobody knows.
        renderer: as of `render_view`.
        halves: what was fitted to the left halves of these views, of which the right halves are then scored. None:
            cameras are as they are given, and whole images are scored.
        onlookers: what the training views see as the model has it, of a scene that moves and does not know it exactly;
            None: what enough of them see is scored only where the scene knows.
        team: whose ranks share the views, and know the scores of all of them in the end; pictures are written by
            whoever has made them.

    Raises:
        UserError: the scene has no such split or no image in it, or images have no times, which a model of what moves
            asks for, or the folder cannot be written.
    """
    numbers = viewed_images(scene, split, every)
    chosen = chosen_views(scene, split, every)
    if getattr(model, "moves", False) and chosen.time is None:
        raise UserError(f"the model knows the time, and the images of {split} in {scene.name} have none, so that "
                        "nobody knows what they should show; give them the times of before")
    cameras = scene.model_cameras(chosen.cameras)
    background, lpips = GREY[scene.background], lpips_or_none()
    if folder is not None:
        _make_folder(Path(folder))
    shots, seen, mine, took = unseen_shots(chosen, model), _CoSeen(chosen, onlookers), {}, None
    for n in team.mine(range(len(chosen))):
        start = time.perf_counter()
        if halves is None:
            told = told_of(on_part, n, len(chosen), team.world) if took is None or took > LONG else None
            view = render_view(model, cameras, n, background=background, renderer=renderer, shot=shots[n : n + 1],
                               on_piece=told)
        else:
            view = halves.render(model, n, background, renderer)
        took = time.perf_counter() - start
        truth = truth_picture(chosen, n, background)
        counted = _counted(chosen, n, whole=halves is None)
        shared = seen.mask(cameras, n, view)
        share = math.nan if shared is None else float(shared.mean())
        if halves is not None:
            view, truth = right_half(view), right_half(truth)
            shared = None if shared is None else right_half(shared)
        moving, co_seen = math.nan, None
        if chosen.moving is not None:
            moves = chosen.moving[n] if halves is None else right_half(chosen.moving[n])
            moving = _score_where(psnr, view, truth, moves if counted is None else moves & counted)
        if shared is not None:
            where = shared if counted is None else shared & counted
            co_seen = _CoSeenScores(*(_score_where(score, view, truth, where) for score in (psnr, ssim)), share)
        score = _score(view, truth, counted, lpips)
        mine[n] = _Scored(*score, moving, co_seen, took, view.renderer, view.seconds)
        if folder is not None:
            _write_pictures(Path(folder), f"{numbers[n]:03d}_{chosen.images.names[n]}", view, truth, counted, score)
        if on_view is not None:
            on_view(min(n + team.world, len(chosen)), len(chosen))
    of_ranks = team.gathered(mine)
    scored = [of_ranks[n % team.world][n] for n in range(len(chosen))]
    seconds = max(sum(each.took for each in of_rank.values()) for of_rank in of_ranks)
    used = Renderers()
    for each in scored:
        used.count(each)
    return Evaluation(
        names=tuple(chosen.images.names),
        psnr=tuple(each.psnr for each in scored),
        ssim=tuple(each.ssim for each in scored),
        lpips=None if lpips is None else tuple(each.lpips for each in scored),
        seconds=seconds,
        scale=None if chosen.scale is None else tuple(chosen.scale.tolist()),
        time=None if chosen.time is None else tuple(chosen.time.tolist()),
        psnr_moving=None if chosen.moving is None else tuple(each.moving for each in scored),
        psnr_co_seen=tuple(each.co_seen.psnr for each in scored) if seen.known else None,
        ssim_co_seen=tuple(each.co_seen.ssim for each in scored) if seen.known else None,
        motion=seen.motion_of(model, scene),
        protocol={**_protocol(model, scene, chosen, split, every, seconds, [each.renderer for each in scored]),
                  **_scored(halves), **_carried_note(chosen),
                  **seen.note([each.co_seen.share for each in scored if each.co_seen is not None]),
                  "renderer": str(used), **(protocol or {})},
    )


class _CoSeenScores(NamedTuple):
    """Of a view: the scores over what enough training cameras see, and how much of it that is."""

    psnr: float
    ssim: float
    share: float


class _Scored(NamedTuple):
    """A view: its scores, and how it was rendered."""

    psnr: float
    ssim: float
    lpips: float
    moving: float
    co_seen: _CoSeenScores | None
    took: float
    """Seconds."""
    renderer: str
    seconds: Mapping[str, float]
    """Of a frame, by renderer, as of `View`."""


def right_half(picture: np.ndarray | View) -> np.ndarray | View:
    """The columns of a picture [H, W, ..], or of the pictures of a view, from W // 2 on."""
    if isinstance(picture, View):
        pictures = {name: value for name, value in vars(picture).items() if isinstance(value, np.ndarray)}
        return replace(picture, **{name: right_half(value) for name, value in pictures.items()})
    return picture[:, picture.shape[1] // 2:]


def truth_picture(split: Split, n: int, background: float) -> np.ndarray:
    """[H, W, 3] uint8: image n of a split over a grey background."""
    rgba = split.images.image(n).astype(np.float32) / 255
    return to_uint8(rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * background)


def chosen_views(scene: Scene, split: str, every: int) -> Split:
    """Every `every`-th view of a split, with all its images. Raises UserError where there is none."""
    numbers = viewed_images(scene, split, every)
    return scene.splits[split] if every == 1 else scene.splits[split].subset(numbers)


def viewed_images(scene: Scene, split: str, every: int) -> np.ndarray:
    """Numbers of the images of every `every`-th view of a split. Raises UserError where there is none."""
    if every < 1:
        raise UserError(f"every must be at least 1, got {every}")
    if split not in scene.splits:
        raise UserError(f"{scene.name} has no split '{split}'; it has {', '.join(scene.splits) or 'none'}")
    if len(scene.splits[split]) == 0:
        raise UserError(f"the split '{split}' of {scene.name} has no images; choose another split")
    whole = scene.splits[split]
    return every_view(whole.scale, len(whole), every)


def _means_at(scores: Mapping[str, tuple[float, ...]], scales: np.ndarray, scale: int) -> dict[str, Any]:
    """Mean scores of the images of one scale."""
    chosen = scales == scale
    return {"scale": scale, "images": int(chosen.sum()),
            **{key: _plain(float(np.array(values)[chosen].mean())) for key, values in scores.items()}}


def _counted(split: Split, n: int, *, whole: bool) -> np.ndarray | None:
    """[H, W] bool: the pixels of image n, or of its right half, that are scored; None: all."""
    counted = split.images.allowed_in(n)
    if counted is None:
        return None
    counted = counted if whole else right_half(counted)
    if not counted.any():
        part = "completely" if whole else "in all of its right half"
        raise UserError(f"the image {split.images.names[n]} of the split '{split.name}' is masked {part}; take it out "
                        "of the split, or use --no-masks")
    return counted


def _score(view: View, truth: np.ndarray, counted: np.ndarray | None, lpips) -> tuple[float, float, float]:
    prediction, target = (to_uint8(picture).astype(np.float64) / 255 for picture in (view.colour, truth))
    if counted is not None:
        prediction = np.where(counted[..., None], prediction, target)
    return (
        psnr(prediction, target, counted),
        ssim(prediction, target, counted) if min(truth.shape[:2]) >= WINDOW else math.nan,
        math.nan if lpips is None else lpips(prediction, target),
    )


def _score_where(score: Callable[..., float], view: View, truth: np.ndarray, counted: np.ndarray) -> float:
    """Over the pixels that are `counted` [H, W]; NaN where there is none, or too few for it."""
    if not counted.any() or (score is ssim and min(truth.shape[:2]) < WINDOW):
        return math.nan
    return score(to_uint8(view.colour) / 255, truth / 255, counted)


class _CoSeen:
    """Which pixels of the views enough training cameras see: as the scene knows exactly, or as onlookers have it."""

    def __init__(self, split: Split, onlookers: Onlookers | None):
        self.split = split
        self.onlookers = onlookers if split.co_seen is None else split.co_seen.onlookers

    @property
    def known(self) -> bool:
        """Whether anybody knows."""
        return self.onlookers is not None

    def mask(self, cameras: Cameras, n: int, view: View) -> np.ndarray | None:
        """[H, W] bool, of view n as a model shows it to `cameras`; None where nobody knows."""
        if self.onlookers is None:
            return None
        if self.split.co_seen is not None:
            return self.split.co_seen[n]
        return self.onlookers.mask(cameras, n, depth_of(view), float(self.split.time[n]))

    def motion_of(self, model: nn.Module, scene: Scene) -> Motion | None:
        """How well a model knows where things move; None where it does not say, or the scene does not know."""
        if self.split.co_seen is None or not hasattr(model, "correspondence"):
            return None
        return motion_of(model, scene, self.split, self.onlookers.carried)

    def note(self, shares: Sequence[float]) -> dict[str, str]:
        """What counts as co-seen, and how much of the pictures it is."""
        if self.onlookers is None:
            return {}
        return {"co_seen": f"{np.mean(shares):.0%} of the pixels, seen by more than {self.onlookers.needed} of "
                           f"{len(self.onlookers.cameras)} training views, known {self.onlookers.how}"}


def _write_pictures(
    folder: Path,
    stem: str,
    view: View,
    truth: np.ndarray,
    counted: np.ndarray | None,
    score: tuple[float, float, float],
):
    depth = depth_picture(view.depth, view.opacity)
    error = error_picture(view.colour, truth)
    if counted is not None:
        error, truth = (np.where(counted[..., None], picture, MASKED) for picture in (error, truth))
    comparison = side_by_side(
        view.colour,
        truth,
        error,
        depth,
        captions=(f"rendered, {score[0]:.2f} dB", "truth", "error", "depth"),
    )
    write_png(folder / f"{stem}.png", comparison)
    write_png(folder / f"{stem}_render.png", view.colour)
    write_png(folder / f"{stem}_depth.png", depth)


def _make_folder(folder: Path):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({(error.strerror or str(error)).lower()}); choose another folder"
        ) from None


def _protocol(
    model: nn.Module, scene: Scene, chosen: Split, split: str, every: int, seconds: float, renderers: list[str]
) -> dict[str, Any]:
    running, dtype = runtime.current(), next(model.parameters()).dtype
    half = fastest_precision(running.device) if dtype == torch.float32 else dtype
    networks = " and ".join(dict.fromkeys(_short(half if name == "torch" else dtype) for name in renderers))
    sizes = sorted({f"{width} x {height}" for width, height in chosen.cameras.size.tolist()})
    missing = why_no_lpips()
    return {
        "scene": scene.name,
        "split": split,
        "every": every,
        "held_out": scene.held_out,
        "images": len(chosen),
        "background": scene.background,
        "resolution": ", ".join(sizes[:3]) + (", ..." if len(sizes) > 3 else ""),
        "quantised": "8 bit",
        **_masked_note(chosen),
        "mean": "over images",
        "seconds": round(seconds, 3),
        "backend": running.backend,
        "device": device_name(),
        "threads": running.threads,
        "precision": f"kernels {_short(dtype)}, networks {networks}",
        "lpips": "VGG" if missing is None else f"left out: {missing}",
    }


def _masked_note(chosen: Split) -> dict[str, str]:
    """What is left out of the scores, where anything is."""
    if chosen.images.allowed is None:
        return {}
    return {"masked": f"{100 * chosen.images.masked_share:.2f} % of the pixels, which are left out of the scores"}


def _scored(halves: HalfImageFit | None) -> dict[str, str]:
    """What a score is of, and what of the test images themselves it has seen."""
    if halves is None:
        return {"scored": "whole images", "fitted_to_test_images": "nothing"}
    fitted = f"{halves.fitted}, to the left halves" if halves.fitted else "nothing"
    return {"scored": "right halves", "fitted_to_test_images": fitted}


def _carried_note(chosen: Split) -> dict[str, str]:
    """Where the cameras are seen from, if the training moved those of its own."""
    if chosen.carried is None:
        return {}
    if chosen.carried == 0:
        return {"cameras": "as the scene has them, since corrections of training cameras foretell nothing of one "
                           "another"}
    return {"cameras": f"carried along with the training cameras around them, which foretell "
                       f"{100 * chosen.carried:.0f} % of one another's corrections"}


def scored_sentence(protocol: Mapping[str, Any]) -> str:
    """What a score is of, in words."""
    cameras = f"; cameras {protocol['cameras']}" if "cameras" in protocol else ""
    return f"{protocol['scored']}, fitted to the test images: {protocol['fitted_to_test_images']}{cameras}"


def device_name() -> str:
    """What the kernels run on, in the maker's words."""
    if runtime.current().device.type == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _mean_of_known(values: Sequence[float]) -> float:
    """The mean of those that are not NaN; NaN where all are."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _plain(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
