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
from ..data.scene import Scene, Split, every_view
from ..errors import UserError
from ..fields.mlp import fastest_precision
from ..metrics import WINDOW, lpips_or_none, psnr, ssim, why_no_lpips
from ..models.renderers import Renderers
from ..models.shots import shots_of
from ..models.views import Renderer, View, render_view
from ..pictures import depth_picture, error_picture, side_by_side, to_uint8, write_png
from ..types import Shot
from .half_image import HalfImageFit
from .photos import GREY
from .team import ALONE, Team

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
        scores = {
            "psnr": self.psnr,
            "ssim": self.ssim,
            **({} if self.lpips is None else {"lpips": self.lpips}),
            **({} if self.psnr_moving is None else {"psnr_moving": self.psnr_moving}),
        }
        times = [{}] * len(self.names) if self.time is None else [{"time": round(time, 6)} for time in self.time]
        per_image = [
            {"name": name, **times[n], **{key: _plain(values[n]) for key, values in scores.items()}}
            for n, name in enumerate(self.names)
        ]
        means = {key: _plain(_mean_of_known(values) if key == "psnr_moving" else float(np.mean(values)))
                 for key, values in scores.items()}
        if self.scale is not None:
            means["per_scale"] = [_means_at(scores, np.array(self.scale), scale) for scale in sorted(set(self.scale))]
        return {
            **means,
            "images": len(self.names),
            "seconds": round(self.seconds, 3),
            "protocol": dict(self.protocol),
            "per_image": per_image,
        }

    def __str__(self) -> str:
        protocol = self.protocol
        lpips = "" if self.mean_lpips is None else f", LPIPS (VGG) {self.mean_lpips:.4f}"
        moving = "" if self.psnr_moving is None else f", PSNR of what moves {self.mean_psnr_moving:.2f} dB"
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
    renderer: Renderer = "auto",
    halves: HalfImageFit | None = None,
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
        renderer: as of `render_view`.
        halves: what was fitted to the left halves of these views, of which the right halves are then scored. None:
            cameras are as they are given, and whole images are scored.
        team: whose ranks share the views, and know the scores of all of them in the end; pictures are written by
            whoever has made them.

    Raises:
        UserError: the scene has no such split or no image in it, or the folder cannot be written.
    """
    numbers = viewed_images(scene, split, every)
    chosen = chosen_views(scene, split, every)
    cameras = scene.model_cameras(chosen.cameras)
    background, lpips = GREY[scene.background], lpips_or_none()
    if folder is not None:
        _make_folder(Path(folder))
    times, mine = shots_of(chosen).time, {}
    for n in team.mine(range(len(chosen))):
        start = time.perf_counter()
        if halves is None:
            shot = Shot(time=None if times is None else times[n : n + 1])
            view = render_view(model, cameras, n, background=background, renderer=renderer, shot=shot)
        else:
            view = halves.render(model, n, background, renderer)
        took = time.perf_counter() - start
        truth = truth_picture(chosen, n, background)
        counted = _counted(chosen, n, whole=halves is None)
        if halves is not None:
            view, truth = right_half(view), right_half(truth)
        moving = math.nan
        if chosen.moving is not None:
            moves = chosen.moving[n] if halves is None else right_half(chosen.moving[n])
            moving = _psnr_where(view, truth, moves if counted is None else moves & counted)
        score = _score(view, truth, counted, lpips)
        mine[n] = _Scored(*score, moving, took, view.renderer, view.seconds)
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
        protocol={**_protocol(model, scene, chosen, split, every, seconds, [each.renderer for each in scored]),
                  **_scored(halves), "renderer": str(used), **(protocol or {})},
    )


class _Scored(NamedTuple):
    """A view: its scores, and how it was rendered."""

    psnr: float
    ssim: float
    lpips: float
    moving: float
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


def _psnr_where(view: View, truth: np.ndarray, counted: np.ndarray) -> float:
    """dB over the pixels that are `counted` [H, W]; NaN where there is none."""
    return psnr(to_uint8(view.colour) / 255, truth / 255, counted) if counted.any() else math.nan


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


def scored_sentence(protocol: Mapping[str, Any]) -> str:
    """What a score is of, in words."""
    return f"{protocol['scored']}, fitted to the test images: {protocol['fitted_to_test_images']}"


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
