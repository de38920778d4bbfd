"""What the parts of NeRF, Mip-NeRF, Mip-NeRF 360 and Instant-NGP are worth: each taken away, or put in another's place.

    python benchmarks/experiments.py nerf --seeds 3
    python benchmarks/experiments.py satin --seeds 3
    python benchmarks/experiments.py directions --seeds 3
    python benchmarks/experiments.py multiscale --seeds 3
    python benchmarks/experiments.py multiscale --scene LEGO --downscale 4 --seeds 3
    python benchmarks/experiments.py unbounded --seeds 3
    python benchmarks/experiments.py widths --seeds 3
    python benchmarks/experiments.py widths --scene LEGO --downscale 4 --seeds 3
    python benchmarks/experiments.py decay --scene LEGO --downscale 4 --seeds 3
    python benchmarks/experiments.py zip-nerf --scene BONSAI --downscale 8 --seeds 3
    python benchmarks/experiments.py cones --scene LEGO --downscale 4 --seeds 3
    python benchmarks/experiments.py afar --scene LEGO --downscale 2 --seeds 3
    python benchmarks/experiments.py few-views --scene LEGO --downscale 4 --seeds 3
    python benchmarks/experiments.py robust --scene LEGO --downscale 4 --seeds 3
    python benchmarks/experiments.py crowd --seeds 3
    python benchmarks/experiments.py light --scene LEGO --downscale 4 --seeds 3
    python benchmarks/experiments.py strangers --seeds 3
    python benchmarks/experiments.py wild --scene LEGO --downscale 4 --seeds 3
    python benchmarks/experiments.py wild --scene LEGO --downscale 4 --seeds 3 --seconds 120 \\
        --arms "NeRF, occluders" "NeRF-U, occluders" "robust, occluders"
    python benchmarks/experiments.py wild-paper --scene LEGO --downscale 2 --seeds 3 --seconds 1200
    python benchmarks/experiments.py moving --seeds 3
    python benchmarks/experiments.py moving --scene D-NERF-LEGO --seeds 3
    python benchmarks/experiments.py elastic --seeds 3

Arms of an experiment differ in what their names say; scene, steps, networks and seeds are the same. A gap is that of
two arms with the same seed, and the smallest over the seeds counts. With --seconds arms have equal processor time in
place of equal steps: 120 s stand for a minute of two quiet cores. Prints tables in Markdown; with --output FILE.json it
keeps every figure and goes on where it was stopped, with --pictures FOLDER it leaves a test view of each arm.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _measure import kept_figures
from torch import Tensor

from taichi_nerf import builtin_scene, load_scene, runtime
from taichi_nerf.config import (
    BatchConfig,
    DNeRFConfig,
    FieldConfig,
    HashGridConfig,
    HyperNeRFConfig,
    InstantNGPConfig,
    MipNeRF360Config,
    MipNeRFConfig,
    ModelConfig,
    NeRFConfig,
    NerfiesConfig,
    PositionalFieldConfig,
    PositionalProposalConfig,
    RangeConfig,
    RayBatchConfig,
    RigidWarpConfig,
    RunConfig,
    TNeRFConfig,
    TrainingConfig,
    TrimConfig,
    few_view_settings,
    recipe,
    with_few_views,
)
from taichi_nerf.data import Scene, with_scales
from taichi_nerf.data.builtin.moving import (
    RUST,
    Movers,
    correspondence,
    everything,
    filmed,
    one_view_a_time,
    still_points,
    surface_points,
    swinging,
)
from taichi_nerf.data.disturb import with_split
from taichi_nerf.data.multiscale import scale_words
from taichi_nerf.data.perturb import with_perturbed_training
from taichi_nerf.data.scene import Images
from taichi_nerf.devices import machine
from taichi_nerf.metrics import psnr
from taichi_nerf.models.shots import shots_of
from taichi_nerf.models.views import render_view
from taichi_nerf.ops.camera import rays_from_pixels
from taichi_nerf.ops.conical_frustum import cone_radii
from taichi_nerf.pictures import to_uint8, write_png
from taichi_nerf.training.clock import Clock
from taichi_nerf.training.evaluate import GREY, device_name, evaluate
from taichi_nerf.training.guard import CELLS
from taichi_nerf.training.half_image import fit_left_halves
from taichi_nerf.training.run import fit, keep_average, make_model, warm_up
from taichi_nerf.training.run import train as go_on
from taichi_nerf.training.strangers import strangers
from taichi_nerf.training.trainer import trainer_for
from taichi_nerf.training.trimming import EXACT, agreeing
from taichi_nerf.types import Rays, Shot

SCALES = 4
FIELD = PositionalFieldConfig(width=64, depth=4, skip=2, bottleneck=64, view_width=32)
DECAY, TOO_FINE = 0.003, 512  # of a hash grid's levels, and its finest level for images of 100 x 100 pixels
EIGHT_OF_LEGO = [26, 86, 2, 55, 75, 93, 16, 73]  # of DietNeRF (Jain et al. 2021), and of those who came after it
FAR = 36.0  # of the bounded sampler, model units: behind the hills of the open field
STRANGER = 17  # number of the training photo that is of another place
LIMITS = 200  # of errors, along a curve of hits against false alarms


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What one arm must be ahead of another by, at the least; of no other, what its score must be."""

    better: str
    worse: str | None = None
    score: str
    least: float


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Arms by name, and what they are held to."""

    arms: dict[str, ModelConfig]
    training: Mapping[str, dict] = field(default_factory=dict)
    """By the name of an arm: settings of its training besides those of its model."""
    seen: Mapping[str, Callable[[Scene], Scene]] = field(default_factory=dict)
    """By the name of an arm: what it is trained on in place of the scene that it is scored on."""
    bars: Sequence[Bar]
    steps: int
    together: float = 0.0
    """Part of the training in which all arms are the same: one is trained so far, and the others go on from there."""
    rays: int = 256
    scene: Callable[[argparse.Namespace], Scene]
    scores: Callable[[object, Scene], dict[str, float]]


def nerf_arms() -> dict[str, NeRFConfig]:
    """Coarse alone has as many samples of a ray as coarse and fine together."""
    whole = NeRFConfig(field=FIELD, coarse_samples=16, fine_samples=16)
    return {
        "NeRF": whole,
        "raw coordinates": replace(whole, field=replace(FIELD, levels=0)),
        "no view directions": replace(whole, field=replace(FIELD, view_dependent=False)),
        "coarse alone": replace(whole, coarse_samples=32, fine_samples=0),
    }


def satin_arms() -> dict[str, NeRFConfig]:
    """Those of NeRF that differ in what they know of the direction."""
    return {name: arm for name, arm in nerf_arms().items() if name in ("NeRF", "no view directions")}


def direction_arms() -> dict[str, NeRFConfig]:
    """NeRF with a hash grid, which comes so far in minutes that mirror images count."""
    field = FieldConfig(hash_grid=HashGridConfig(base_resolution=8), colour_layers=2)
    whole = NeRFConfig(field=field, coarse_samples=32, fine_samples=32)
    return {"NeRF": whole, "no view directions": replace(whole, field=replace(field, direction_degree=1))}


def mip_nerf_arms() -> dict[str, MipNeRFConfig]:
    """The second is the first with Sigma = 0."""
    whole = MipNeRFConfig(field=replace(FIELD, levels=16), samples=24)
    return {"Mip-NeRF": whole, "without the integrated encoding": replace(whole, integrated=False)}


def unbounded_arms() -> dict[str, MipNeRF360Config]:
    """Of one network; what is changed is how space and rays are cut."""
    whole = MipNeRF360Config(field=replace(FIELD, levels=8), proposal=PositionalProposalConfig(width=32, depth=2),
                             proposal_samples=(24,), samples=24, distortion_weight=0.03)
    bounded = RangeConfig(spacing="linear", near=whole.range.near, far=FAR)
    return {
        "Mip-NeRF 360": whole,
        "bounded and linear": replace(whole, contraction=False, range=bounded),
        "no distortion loss": replace(whole, distortion_weight=0.0),
    }


def width_arms() -> dict[str, InstantNGPConfig]:
    """A sample is as wide as its pixel sees it, or a point."""
    return {"Instant-NGP with widths": InstantNGPConfig(widths="level"),
            "without widths": InstantNGPConfig(widths="off")}


def decay_arms() -> dict[str, InstantNGPConfig]:
    """Levels that are held back, or not; with a finest level as fine as pixels, or 4 times too fine."""
    def arm(decay: float, finest: int | None, widths: str) -> InstantNGPConfig:
        grid = HashGridConfig(max_resolution=finest, decay=decay)
        return InstantNGPConfig(field=FieldConfig(hash_grid=grid), widths=widths)

    return {"decay": arm(DECAY, None, "off"), "no decay": arm(0.0, None, "off"),
            "too fine": arm(0.0, TOO_FINE, "off"), "too fine, widths": arm(0.0, TOO_FINE, "level"),
            "too fine, widths and decay": arm(DECAY, TOO_FINE, "level")}


def zip_nerf_arms() -> dict[str, MipNeRF360Config]:
    """mip-NeRF 360 with a hash grid as it is, and with one of the parts of Zip-NeRF each."""
    plain = recipe("mip-nerf-360", "small", "hash").model
    parts = {name: replace(part, hash_grid=replace(part.hash_grid, decay=recipe().model.field.hash_grid.decay))
             for name, part in (("field", plain.field), ("proposal", plain.proposal))}
    return {
        "plain": plain,
        "blurred proposals": replace(plain, proposal_blur=(0.03, 0.003), proposal_weight=0.01),
        "distortion on the ladder": replace(plain, distortion_distance="power-ladder"),
        "spaced by the ladder": replace(plain, range=replace(plain.range, spacing="power-ladder", near=0.0)),
        "decay": replace(plain, **parts),
        "widths": replace(plain, widths="level"),
    }


def cone_arms() -> dict[str, MipNeRFConfig]:
    """mip-NeRF with a hash grid, whose levels fade with the cone, or do not."""
    whole = recipe("mip-nerf", "small", "hash").model
    return {"with widths": whole, "without widths": replace(whole, widths="off")}


def few_view_runs() -> dict[str, RunConfig]:
    """Instant-NGP's settings for few views, those for many, and each of the former left out."""
    many = RunConfig()
    parts = {f"without {name.removeprefix('training.').removeprefix('model.')}": with_few_views(many, {name})
             for name in few_view_settings(many)}
    return {"settings for few views": with_few_views(many), "settings for many": many, **parts}


def robust_arms() -> dict[str, InstantNGPConfig]:
    """Of one model; what differs is the training, and the photos."""
    return dict.fromkeys(("clean", "clean, robust", "occluders", "occluders, robust"), InstantNGPConfig())


def crowd_arms() -> dict[str, InstantNGPConfig]:
    """With a code for each photo, whose light differs; the last two are of the still life without people, in one light,
    where neither codes nor a robust loss have anything to do."""
    whole = InstantNGPConfig(appearance=16)
    neither = replace(whole, appearance=0)
    return {"neither": neither, "codes": whole, "robust, codes": whole, "nobody there": neither,
            "nobody there, robust, codes": whole}


def light_arms() -> dict[str, InstantNGPConfig]:
    """With a code for each photo and without, by what the photos are made worse by; with the robust loss, too, where
    there are squares in them."""
    plain = InstantNGPConfig()
    coded = replace(plain, appearance=16)
    return {"neither, colour": plain, "codes, colour": coded, "neither, both": plain, "robust, codes, both": coded,
            "neither, clean": plain, "codes, clean": coded, "robust, codes, clean": coded}


def wild_arms() -> dict[str, NeRFConfig]:
    """NeRF, the halves of NeRF-W, and the robust loss with and without codes, by what the photos are made worse by. All
    have the networks of NeRF-W, which is NeRF without its codes and its second field."""
    whole = recipe("nerf-w", "small", "hash").model
    nerf, coded = replace(whole, appearance=0, transient=False), replace(whole, transient=False)
    unsure = replace(whole, appearance=0)
    by_photos = {
        "colour": {"NeRF": nerf, "NeRF-A": coded},
        "occluders": {"NeRF": nerf, "NeRF-U": unsure, "robust": nerf},
        "both": {"NeRF": nerf, "NeRF-W": whole, "robust, NeRF-W": whole, "robust, codes": coded},
        "clean": {"NeRF": nerf, "NeRF-A": coded, "NeRF-U": unsure, "NeRF-W": whole, "robust": nerf,
                  "robust, codes": coded},
    }
    return {f"{name}, {how}": config for how, arms in by_photos.items() for name, config in arms.items()}


def wild_bars() -> list[Bar]:
    """Each arm against NeRF on the same photos, in the light of the first, which is as it was."""
    least = {"colour": 4.5, "occluders": 2.0, "both": 3.0, "clean": -0.3}
    arms = (name.rsplit(", ", 1) for name in wild_arms())
    return [Bar(better=f"{name}, {how}", worse=f"NeRF, {how}", score="in the first light", least=least[how])
            for name, how in arms if name != "NeRF"]


PUBLISHED = {"colour": 28.20, "occluders": 28.60, "both": 24.86}
"""PSNR of the published re-implementation of NeRF-W on lego at 200 x 200, by what its photos are made worse by."""


def paper_arms() -> dict[str, NeRFConfig]:
    """The whole of NeRF-W, with the robust loss and without, on each of the photos of its paper's study."""
    whole = recipe("nerf-w", "small", "hash").model
    return {f"{name}, {how}": whole for name in ("NeRF-W", "robust, NeRF-W") for how in PUBLISHED}


WORSE = {how: partial(with_perturbed_training, how=how) for how in ("colour", "occluders", "both")}


def moving_arms() -> dict[str, InstantNGPConfig]:
    """What knows no time, what is told it, and what bends points back to a time of rest, told or not."""
    return {"static": InstantNGPConfig(), "t-nerf": TNeRFConfig(), "d-nerf": DNeRFConfig(),
            "d-nerf, displacement alone": DNeRFConfig(field_sees_time=False), "nerfies": NerfiesConfig(),
            "nerfies, motions alone": NerfiesConfig(field_sees_time=False), "hypernerf": HyperNeRFConfig()}


ELASTIC = {"3e-3": 3e-3, "5e-3": 5e-3, "1e-2": 1e-2, "free": 0.0}


def elastic_arms() -> dict[str, NerfiesConfig]:
    """By the weight of the elastic loss, of what is told no time, so that nothing but its motion explains what moves.
    Until the end of the course, where the loss comes in, they are one and the same."""
    return {name: NerfiesConfig(field_sees_time=False, warp=RigidWarpConfig(elastic=weight))
            for name, weight in ELASTIC.items()}


def elastic_bars() -> list[Bar]:
    return [Bar(better=name, worse="free", score=score, least=least) for name in ELASTIC if name != "free"
            for score, least in (("stretch halved", 0.5), ("PSNR", -0.3))]


def mean_psnr(model, scene: Scene) -> dict[str, float]:
    return {"PSNR": evaluate(model, scene).mean_psnr}


def psnr_in_first_light(model, scene: Scene) -> dict[str, float]:
    """In the mean light of all training photos, and in that of the first, which is in no other light than the test
    views where the others are recoloured."""
    split, cameras, background = scene.splits["test"], scene.model_cameras("test"), GREY[scene.background]
    first, found = shots_of(scene.splits["train"])[:1], []
    for n in range(len(split)):
        seen = to_uint8(render_view(model, cameras, n, background=background, shot=first).colour) / np.float32(255)
        found.append(psnr(seen, composited(split.images.image(n), background)))
    return mean_psnr(model, scene) | {"in the first light": float(np.mean(found))}


def psnr_of_what_moves(model, scene: Scene, movers: Movers = everything) -> dict[str, float]:
    """Over whole pictures, and where the scene knows them over the pixels that show something of its `movers`, and over
    those that enough training cameras see; there also how well the model knows where a point is at another time."""
    found = evaluate(model, scene).as_json()
    names = {"PSNR": "psnr", "of what moves": "psnr_moving", "of what is co-seen": "psnr_co_seen"}
    scores = {word: found[name] for word, name in names.items() if name in found}
    return scores | ({"apart": apart(model, scene, movers)} if "of what moves" in scores else {})


def rigidity(model, scene: Scene) -> dict[str, float]:
    return psnr_of_what_moves(model, scene, one_ball) | {"stretch": stretch(model, scene)}


def seen_moving(scene: Scene) -> list[np.ndarray]:
    """Of each test view the points [P, 3] that its pixels show of what moves, exact, in the world."""
    split = scene.splits["test"]
    return [surface_points(split.cameras, n, depth)[split.moving[n]] for n, depth in enumerate(split.depth)]


def told(model, scene: Scene, points: np.ndarray, time: float) -> tuple[Tensor, Shot]:
    """World positions [P, 3] in model space, and what a model is told of them at a time."""
    positions = torch.from_numpy(scene.to_model(points)).float().to(runtime.current().device)
    return positions, model.told(Shot(time=torch.full_like(positions[:, 0], time)), len(positions))


@torch.no_grad()
def apart(model, scene: Scene, movers: Movers) -> float:
    """How far apart, in thousandths of the box, a model with a warp takes a point to be at rest by where it is at the
    time of a test view and at that of the next, in the mean; of other models, as far as it has moved."""
    times, found = scene.splits["test"].time, []
    for points, now, then in zip(seen_moving(scene), times, np.roll(times, -1)):
        later = correspondence(points, now, then, movers)
        there = np.isfinite(later).all(axis=1)
        ends = [told(model, scene, end[there], float(at)) for end, at in ((points, now), (later, then))]
        if hasattr(model.field, "moved"):
            ends = [(model.field.moved(*end), None) for end in ends]
        found.append(1e3 * (ends[0][0] - ends[1][0]).norm(dim=1))
    return float(torch.cat(found).mean())


@torch.no_grad()
def stretch(model, scene: Scene) -> float:
    """Mean |log s| of the singular values of the warp's Jacobian at what the test views show of what moves."""
    times = scene.splits["test"].time
    jacobians = torch.cat([model.field.warp.jacobian(*told(model, scene, points, float(time)))
                           for points, time in zip(seen_moving(scene), times)])
    return float(torch.linalg.svdvals(jacobians).log().abs().mean())


def psnr_per_scale(model, scene: Scene) -> dict[str, float]:
    """As in the table of mip-NeRF: at each scale, and the mean of them."""
    scores = evaluate(model, scene).as_json()
    return {scale_words(each["scale"]): each["psnr"] for each in scores["per_scale"]} | {"mean": scores["psnr"]}


def psnr_from_afar(model, scene: Scene) -> dict[str, float]:
    """Of the test views at the size that was trained on, and at 1/2, 1/4 and 1/8 of it; the same of one ray for each
    pixel, however much it sees; and what is gained by several."""
    of_several = psnr_per_scale(model, with_scales(scene, SCALES))
    model.sharpest.zero_()  # it does not know then that they see more
    of_one = psnr_per_scale(model, with_scales(scene, SCALES))
    return (of_several | {f"{scale}, one ray": score for scale, score in of_one.items()}
            | {f"{scale}, gain": of_several[scale] - score for scale, score in of_one.items()})


def psnr_and_floaters(model, scene: Scene) -> dict[str, float]:
    return mean_psnr(model, scene) | {"floaters": floater_mass(model, scene)}


@torch.no_grad()
def floater_mass(model, scene: Scene) -> float:
    """Mean weight, over the rays of the test images that meet a surface, in front of half of the true depth."""
    split, device = scene.splits["test"], runtime.current().device
    cameras = scene.model_cameras("test")
    total = rays = 0
    for n in range(len(split)):
        width, height = (int(side) for side in cameras.size[n])
        v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        pixel = torch.stack([u, v], dim=-1).view(-1, 2).to(device)
        index = torch.full((len(pixel),), n, dtype=torch.int32, device=device)
        lens = [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (
            cameras.camera_to_world, cameras.focal, cameras.principal, cameras.distortion, cameras.lens)]
        origins, directions = rays_from_pixels(index, pixel, *lens)
        radius = cone_radii(index, pixel, *lens[1:]) if model.sees_cones else torch.zeros_like(origins[:, 0])
        depth = torch.from_numpy(split.depth[n] * scene.scale).view(-1, 1).to(device)
        for part in torch.arange(len(pixel), device=device).split(2048):
            pixels = model.render(Rays(origins[part], directions[part], radius[part]))
            level = pixels.levels[-1]
            middle = (level.t[:, 1:] + level.t[:, :-1]) / 2
            hit = torch.isfinite(depth[part, 0])
            nearer = level.weights * (middle < 0.5 * depth[part])
            total += float(nearer[hit].sum())
            rays += int(hit.sum())
    return total / rays


def psnr_in_own_light(model, scene: Scene) -> dict[str, float]:
    """Of right halves of the validation views, each of which is in a light of its own, to whose left halves a model
    with codes has fitted one."""
    halves = fit_left_halves(model, scene, scene.splits["val"], appearance="appearance" in model.codes)
    return {"in their own lights": evaluate(model, scene, split="val", halves=halves).mean_psnr}


def scores_among_people(model, scene: Scene) -> dict[str, float]:
    lights = psnr_in_first_light(model, scene) | psnr_in_own_light(model, scene)
    return lights | {"depth error": depth_error(model, scene)} | mask_scores(model, scene)


def depth_error(model, scene: Scene) -> float:
    """Mean over the pixels of the test images that meet a surface, in thousandths of the box."""
    split, cameras, errors = scene.splits["test"], scene.model_cameras("test"), []
    for n in range(len(split)):
        seen = render_view(model, cameras, n, background=GREY[scene.background]).depth
        hit = np.isfinite(split.depth[n])
        errors.append(1e3 * np.abs(seen - split.depth[n] * scene.scale)[hit])
    return float(np.concatenate(errors).mean())


def mask_scores(model, scene: Scene) -> dict[str, float]:
    """What --robust leaves out of the training photos against what stands before them: the area under the curve of hits
    against false alarms over all thresholds, and the part of the other pixels that is left out by its own."""
    config, split, errors = TrimConfig(), scene.splits["train"], photo_errors(model, scene)
    error, there, shown = (torch.cat([patches(array[n], config.patch) for n in range(len(split))]) for array in (
        errors, split.occluded, [split.images.image(n)[..., 3] > 0 for n in range(len(split))]))

    def parts(limit: Tensor) -> tuple[float, float]:
        """That are left out of the pixels that something stands before, and of the others."""
        out = torch.cat([left_out(error, limit, config) for error in errors])[shown]
        return float(out[there[shown]].float().mean()), float(out[~there[shown]].float().mean())

    limits = np.quantile(error[shown], np.linspace(1, 0, LIMITS))
    hits, alarms = np.array([(0.0, 0.0), *(parts(limit) for limit in torch.from_numpy(limits)), (1.0, 1.0)]).T
    area = float(np.sum(np.diff(alarms) * (hits[1:] + hits[:-1]) / 2))
    return {"AUC": area, "static left out, %": 100 * parts(usual_limit(error[shown], config))[1]}


def left_out(error: np.ndarray, limit: Tensor, config: TrimConfig) -> Tensor:
    """[P] bool, square by square: what --robust leaves out of a photo of whose pixels all errors [H, W] are known."""
    out = ~agreeing(patches(error, config.patch), limit, config.patch)
    return out & patches(among_errors(error >= float(limit), config.around), config.patch) if config.around else out


def among_errors(errs: np.ndarray, share: float) -> np.ndarray:
    """[H, W] bool: whether in the cell of a pixel of a photo, or in one beside it, more than a `share` of the pixels
    err [H, W]."""
    row, column = (np.arange(length) * CELLS // length for length in errs.shape)
    within, erring = np.zeros((2, CELLS + 2, CELLS + 2))
    np.add.at(within, np.ix_(row + 1, column + 1), 1.0)
    np.add.at(erring, np.ix_(row + 1, column + 1), errs)
    most = np.lib.stride_tricks.sliding_window_view(erring > share * within, (3, 3)).any(axis=(2, 3))
    return most[np.ix_(row, column)]


def usual_limit(error: Tensor, config: TrimConfig) -> Tensor:
    """[1]: from which on --robust leaves out, by the errors [P] of all that is shown."""
    return config.margin * torch.from_numpy(np.quantile(error[error > EXACT], [config.quantile]))


def strangers_found(model, scene: Scene) -> dict[str, float]:
    """Whether of all photos the one that does not belong, and no other, is named after a training; how far its squared
    error is above the median; and which parts of it and of the others --robust would leave out."""
    config, split, errors = TrimConfig(), scene.splits["train"], photo_errors(model, scene)
    means = np.array([error.mean() for error in errors])
    shown = [torch.from_numpy(error[split.images.image(n)[..., 3] > 0]) for n, error in enumerate(errors)]
    limit = usual_limit(torch.cat(shown), config)
    out = [100 * float(left_out(error, limit, config).double().mean()) for error in errors]
    return {"named alone": float(strangers(means).tolist() == [STRANGER]),
            "times the median": float(means[STRANGER] / np.median(means)),
            "left out of it, %": out.pop(STRANGER), "of the others, %": float(np.mean(out))}


def photo_errors(model, scene: Scene) -> list[np.ndarray]:
    """[H, W] of each training photo: mean over the channels of the squared error of its picture in its light."""
    split, cameras, errors = scene.splits["train"], scene.model_cameras("train"), []
    shots, background = shots_of(split), GREY[scene.background]
    for n in range(len(split)):
        picture = render_view(model, cameras, n, background=background, shot=shots[n : n + 1]).colour
        errors.append(np.square(picture - composited(split.images.image(n), background)).mean(axis=-1))
    return errors


def composited(image: np.ndarray, background: float) -> np.ndarray:
    """[H, W, 3] in [0, 1] of an 8-bit image [H, W, 4] over a grey."""
    colour = image.astype(np.float32) / 255
    return colour[..., :3] * colour[..., 3:] + (1 - colour[..., 3:]) * background


def patches(image: np.ndarray, side: int) -> Tensor:
    """[P]: the pixels of an image [H, W] square by square, without what is left at its ends."""
    height, width = (length // side for length in image.shape)
    squares = image[: height * side, : width * side].reshape(height, side, width, side).swapaxes(1, 2)
    return torch.from_numpy(np.ascontiguousarray(squares)).view(-1)


def still_life(settings: argparse.Namespace) -> Scene:
    """With as many training views as NeRF's own scenes have."""
    return builtin_scene(resolution=64, views=(100, 0, 8))


def satin(settings: argparse.Namespace) -> Scene:
    """The still life without mirrors, where what depends on the direction can be learned."""
    return builtin_scene("satin", resolution=64, views=(100, 0, 8))


def still_life_from_everywhere(settings: argparse.Namespace) -> Scene:
    """With so many training views that each reflection is seen from many sides."""
    return builtin_scene(resolution=64, views=(400, 0, 8))


def at_one_scale(settings: argparse.Namespace) -> Scene:
    """The still life, or the scene that was named, with a few of its test views."""
    if settings.scene is None:
        return builtin_scene(resolution=96, views=(40, 0, 8))
    return load_scene(settings.scene, downscale=settings.downscale, splits=["train", "test"], every={"test": 25})


def of_few_views(settings: argparse.Namespace) -> Scene:
    """The still life seen 8 times, or the scene that was named, of which the training views `--views` are left."""
    if settings.scene is None:
        return builtin_scene(resolution=96, views=(8, 0, 8))
    scene = load_scene(settings.scene, downscale=settings.downscale, splits=["train", "test"], every={"test": 8})
    return with_split(scene, scene.splits["train"].subset(settings.views))


CROWD = {"resolution": 96, "views": (60, 8, 8)}


def crowd(settings: argparse.Namespace) -> Scene:
    return builtin_scene("crowd", **CROWD)


def with_a_stranger(settings: argparse.Namespace) -> Scene:
    """The still life with 40 training views, or the scene that was named, one of whose training photos is of the open
    field."""
    scene = at_one_scale(settings)
    split = scene.splits["train"]
    images = [split.images.image(n) for n in range(len(split))]
    height, width = images[STRANGER].shape[:2]
    if width != height:
        raise SystemExit(f"photos of {scene.name} are no squares, as those of the open field are; name another --scene")
    field = builtin_scene("open-field", resolution=width, views=(1, 0, 0)).splits["train"].images.image(0).copy()
    field[..., 3] = 255
    images[STRANGER] = field
    return with_split(scene, replace(split, images=Images.from_list(images, split.images.names)))


def nobody_there(scene: Scene) -> Scene:
    """What the crowd stands before, from the same cameras."""
    return builtin_scene(**CROWD)


def moving(settings: argparse.Namespace) -> Scene:
    """The built-in scene that moves, or one of D-NeRF's layout that was named, scored on its validation views: the test
    views of its lego are of another motion than the training views."""
    if settings.scene is None:
        return builtin_scene("moving", resolution=100, views=(100, 0, 10))
    scene = load_scene(settings.scene, downscale=settings.downscale, splits=["train", "val"], every={"val": 2})
    return replace(scene, splits={"train": scene.splits["train"], "test": replace(scene.splits["val"], name="test")})


def one_ball(time: float) -> list:
    """The movers of `rotation`."""
    return swinging(RUST, pivot=(0.02, 0.02, 0.98), length=0.72, radius=0.2, across=(0.0, 1.0, 0.0),
                    angle=np.radians(20) * np.sin(2 * np.pi * time))


def rotation(settings: argparse.Namespace) -> Scene:
    """The still life, over which one ball swings by 20 degrees on a rod, and nothing else moves."""
    place = builtin_scene("moving", resolution=1, views=(1, 0, 0))
    train, _, test = one_view_a_time((60, 0, 6), 50, turn=4.0)
    # without onlookers: nearly all of it is co-seen, and to know where takes as long as some arms
    splits = {name: filmed(name, film, 4, movers=one_ball) for name, film in (("train", train), ("test", test))}
    return replace(place, splits=splits, points=still_points(splits["train"]), notes=[])


def of_a_place(settings: argparse.Namespace) -> Scene:
    """The open field, or the photos of a place that was named, of whose test views every third."""
    if settings.scene is None:
        return open_field(settings)
    return load_scene(settings.scene, downscale=settings.downscale, splits=["train", "test"], every={"test": 3})


def at_scales(settings: argparse.Namespace) -> Scene:
    return with_scales(at_one_scale(settings), SCALES)


def open_field(settings: argparse.Namespace) -> Scene:
    return builtin_scene("open-field", resolution=64, views=(60, 0, 8))


EXPERIMENTS = {
    "nerf": Experiment(
        arms=nerf_arms(), steps=2500, scene=still_life, scores=mean_psnr,
        bars=[Bar(better="NeRF", worse="raw coordinates", score="PSNR", least=3.0),
              Bar(better="NeRF", worse="no view directions", score="PSNR", least=1.0),
              Bar(better="NeRF", worse="coarse alone", score="PSNR", least=0.5)]),
    "satin": Experiment(
        arms=satin_arms(), steps=2500, scene=satin, scores=mean_psnr,
        bars=[Bar(better="NeRF", worse="no view directions", score="PSNR", least=1.0)]),
    "directions": Experiment(
        arms=direction_arms(), steps=20_000, rays=512, scene=still_life_from_everywhere, scores=mean_psnr,
        bars=[Bar(better="NeRF", worse="no view directions", score="PSNR", least=1.0)]),
    "multiscale": Experiment(
        arms=mip_nerf_arms(), steps=2500, scene=at_scales, scores=psnr_per_scale,
        bars=[Bar(better="Mip-NeRF", worse="without the integrated encoding", score="1/8", least=1.5),
              Bar(better="Mip-NeRF", worse="without the integrated encoding", score="1", least=0.0)]),
    "widths": Experiment(
        arms=width_arms(), steps=1000, scene=at_scales, scores=psnr_per_scale,
        bars=[Bar(better="Instant-NGP with widths", worse="without widths", score=score, least=least)
              for score, least in (("1", 4.0), ("1/2", 2.0), ("1/4", 2.0), ("1/8", 3.0))]),
    "decay": Experiment(
        arms=decay_arms(), steps=1000, scene=at_one_scale, scores=mean_psnr,
        bars=[Bar(better="decay", worse="no decay", score="PSNR", least=0.0),
              Bar(better="too fine, widths and decay", worse="no decay", score="PSNR", least=-0.2)]),
    "zip-nerf": Experiment(
        arms=zip_nerf_arms(), steps=1000, rays=1024, scene=of_a_place, scores=mean_psnr,
        bars=[Bar(better=name, worse="plain", score="PSNR", least=0.0) for name in zip_nerf_arms() if name != "plain"]),
    "cones": Experiment(
        arms=cone_arms(), steps=2000, rays=160, scene=at_scales, scores=psnr_per_scale,
        bars=[Bar(better="with widths", worse="without widths", score=score, least=0.0)
              for score in ("1", "1/2", "1/4", "1/8")]),
    "few-views": Experiment(
        arms={name: run.model for name, run in few_view_runs().items()}, steps=500, scene=of_few_views,
        scores=mean_psnr, training={name: {"near_camera": run.training.near_camera}
                                 for name, run in few_view_runs().items()},
        bars=[Bar(better="settings for few views", worse="settings for many", score="PSNR", least=0.3)]),
    "afar": Experiment(
        arms=width_arms(), steps=1000, scene=at_one_scale, scores=psnr_from_afar,
        bars=[Bar(better="without widths", worse=None, score="1/4, gain", least=2.0),
              Bar(better="Instant-NGP with widths", worse="without widths", score="1/4, one ray", least=2.0),
              Bar(better="Instant-NGP with widths", worse="without widths", score="1", least=-0.1)]),
    "robust": Experiment(
        arms=robust_arms(), steps=1500, scene=at_one_scale, scores=mean_psnr,
        training={"clean, robust": {"robust": True}, "occluders, robust": {"robust": True}},
        seen={"occluders": WORSE["occluders"], "occluders, robust": WORSE["occluders"]},
        bars=[Bar(better="occluders, robust", worse="occluders", score="PSNR", least=2.0),
              Bar(better="clean, robust", worse="clean", score="PSNR", least=-0.3)]),
    "crowd": Experiment(
        arms=crowd_arms(), steps=1500, scene=crowd, scores=scores_among_people,
        training={name: {"robust": True} for name in crowd_arms() if "robust" in name},
        seen=dict.fromkeys(("nobody there", "nobody there, robust, codes"), nobody_there),
        bars=[Bar(better="robust, codes", worse="neither", score="in the first light", least=4.0),
              Bar(better="robust, codes", worse="neither", score="in their own lights", least=4.0),
              Bar(better="robust, codes", worse="nobody there", score="times its depth error", least=-1.2),
              Bar(better="nobody there, robust, codes", worse="nobody there", score="in the first light", least=-0.3),
              Bar(better="robust, codes", score="AUC", least=0.9),
              Bar(better="robust, codes", score="static left out, %", least=-3.0)]),
    "light": Experiment(
        arms=light_arms(), steps=2500, scene=at_one_scale, scores=psnr_in_first_light,
        training={name: {"robust": True} for name in light_arms() if name.startswith("robust")},
        seen={name: WORSE[how] for name in light_arms() if (how := name.rsplit(", ", 1)[1]) != "clean"},
        bars=[Bar(better=f"{arm}, {how}", worse=f"neither, {how}", score="in the first light", least=least)
              for arm, how, least in (("codes", "colour", 4.5), ("robust, codes", "both", 3.0),
                                      ("codes", "clean", -0.3), ("robust, codes", "clean", -0.3))]),
    "wild": Experiment(
        arms=wild_arms(), steps=2500, rays=160, scene=at_one_scale, scores=psnr_in_first_light,
        training={name: {"robust": True} for name in wild_arms() if name.startswith("robust")},
        seen={name: WORSE[how] for name in wild_arms() if (how := name.rsplit(", ", 1)[1]) != "clean"},
        bars=wild_bars()),
    "wild-paper": Experiment(
        arms=paper_arms(), steps=12_000, rays=256, scene=at_one_scale, scores=psnr_in_first_light,
        training={name: {"robust": True} for name in paper_arms() if name.startswith("robust")},
        seen={name: WORSE[name.rsplit(", ", 1)[1]] for name in paper_arms()},
        bars=[Bar(better=name, score="in the first light", least=PUBLISHED[name.rsplit(", ", 1)[1]])
              for name in paper_arms()]),
    "strangers": Experiment(
        arms=dict.fromkeys(("plain", "robust"), InstantNGPConfig()), steps=600, scene=with_a_stranger,
        scores=strangers_found, training={"robust": {"robust": True}},
        bars=[Bar(better=arm, score="named alone", least=1.0) for arm in ("plain", "robust")]),
    "moving": Experiment(
        arms=moving_arms(), steps=2000, scene=moving, scores=psnr_of_what_moves,
        bars=[Bar(better="d-nerf", worse="static", score="PSNR", least=5.0),
              Bar(better="d-nerf", worse="static", score="of what moves", least=5.0),
              Bar(better="d-nerf", worse="t-nerf", score="of what moves", least=0.0),
              Bar(better="nerfies", worse="static", score="of what moves", least=5.0),
              Bar(better="nerfies", worse="t-nerf", score="of what moves", least=0.0),
              Bar(better="nerfies", worse="d-nerf", score="of what moves", least=0.0)]),
    "elastic": Experiment(
        arms=elastic_arms(), steps=3000, scene=rotation, scores=rigidity, together=RigidWarpConfig().course,
        training={name: {"batch": BatchConfig(samples=8192)} for name in ELASTIC}, bars=elastic_bars()),
    "unbounded": Experiment(
        arms=unbounded_arms(), steps=2000, scene=open_field, scores=psnr_and_floaters,
        bars=[Bar(better="Mip-NeRF 360", worse="bounded and linear", score="PSNR", least=2.0),
              Bar(better="Mip-NeRF 360", worse="no distortion loss", score="PSNR", least=-0.2),
              Bar(better="Mip-NeRF 360", worse="no distortion loss", score="floaters removed, %", least=30.0)]),
}


def train(config: ModelConfig, scene: Scene, seed: int, steps: int, rays: int, budget: float | None = None,
          together: float = 0.0, state: dict | None = None, **settings):
    """A trained model, the seconds that its training took and its steps; `settings` are others of it. Where there is a
    `budget` of seconds, `steps` are those that it takes about. After the part `together` its state is put into `state`,
    from where it goes on if that has one already."""
    hashed, usual = config.encoding == "hash", recipe(config.kind, "small", config.encoding)
    optimiser = usual.optimiser
    if not hashed:
        optimiser = replace(optimiser, network_learning_rate=5e-3)
    crop_steps = steps // 8 if scene.bounded and not hashed else 0
    batch = RayBatchConfig(rays=rays, crop_steps=crop_steps)
    if isinstance(usual.batch, BatchConfig):  # as many rays as make up its samples
        batch = usual.batch
    length = {"steps": steps} if budget is None else {"seconds": budget}
    training = TrainingConfig(**{**length, "seed": seed, "batch": batch, "optimiser": optimiser} | settings)
    model = make_model(scene, config, seed=seed)
    if not together:
        last = fit(model, scene, training)
        return model, last.seconds, last.step
    trainer = trainer_for(model, scene, training)
    warm_up(trainer)
    if state:
        trainer.load_state_dict(state)
    else:
        while trainer.progress < together:
            trainer.step()
        state.update(copy.deepcopy(trainer.state_dict()))
    go_on(trainer)
    keep_average(trainer)
    return model, trainer.seconds, trainer.steps_done


def gap(bar: Bar, scores: dict[str, dict[str, float]]) -> float:
    """Of two arms with the same seed, or of one; below zero where less is better."""
    better, worse = scores[bar.better], scores.get(bar.worse)
    if bar.score.startswith("floaters"):
        return 100 * (1 - better["floaters"] / worse["floaters"])
    if bar.score == "stretch halved":
        return 1 - better["stretch"] / worse["stretch"]
    if bar.score == "times its depth error":
        return -better["depth error"] / worse["depth error"]
    if worse is None:
        return -better[bar.score] if bar.least < 0 else better[bar.score]
    return better[bar.score] - worse[bar.score]


def of_arms(experiment: Experiment, names: list[str]) -> Experiment:
    """What it says of some of its arms."""
    return replace(experiment, arms={name: experiment.arms[name] for name in names},
                   bars=[bar for bar in experiment.bars if {bar.better, bar.worse} <= {*names, None}])


def report(experiment: Experiment, found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Tables in Markdown: the mean scores of each arm over the seeds that all arms have, and the smallest gaps."""
    seeds = [seed for seed, scores in found.items() if scores.keys() >= experiment.arms.keys()]
    if not seeds:
        return "no seed is complete yet"
    names = list(found[seeds[0]][next(iter(experiment.arms))])
    lines = [f"| arm | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for arm in experiment.arms:
        means = (np.mean([found[seed][arm][name] for seed in seeds]) for name in names)
        lines.append(f"| {arm} | " + " | ".join(f"{m:.4f}" if n in ("floaters", "stretch") else f"{m:.2f}" for n, m in
                                                zip(names, means)) + " |")
    lines += ["", f"| better | worse | score | gap of each of {len(seeds)} seeds | smallest | wanted | |",
              "|---|---|---|---|---:|---:|---|"]
    for bar in experiment.bars:
        gaps = [gap(bar, found[seed]) for seed in seeds]
        verdict = "reached" if min(gaps) >= bar.least else "missed"
        lines.append(f"| {bar.better} | {bar.worse or ''} | {bar.score} | {', '.join(f'{g:.2f}' for g in gaps)} | "
                     f"{min(gaps):.2f} | {bar.least:g} | {verdict} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS, help="which of those above")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each arm; %(default)s by default")
    parser.add_argument("--steps", type=int, help="of each training; by default those of the experiment")
    parser.add_argument("--seconds", type=float, help="of processor time of each training, in place of steps; of all "
                        "threads together, so that with --threads 1 others may run beside it")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help="train these alone; by default all")
    parser.add_argument("--rays", type=int, help="of each step; by default those of the experiment")
    parser.add_argument("--scene", type=Path, help="folder of another scene for the experiments that show one above")
    parser.add_argument("--views", type=int, nargs="+", metavar="N", default=EIGHT_OF_LEGO,
                        help="numbers of the training views that few-views leaves; by default those of DietNeRF")
    parser.add_argument("--downscale", type=int, default=1,
                        help="images of --scene so many times smaller; %(default)s by default")
    parser.add_argument("--backend", choices=("cpu", "cuda"), default="cpu",
                        help="what the kernels run on; %(default)s by default")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus(),
                        help="processor threads; %(default)s by default")
    parser.add_argument("--minutes", type=float, help="begin no training after so many; --output keeps what there is")
    parser.add_argument("--output", type=Path, help="JSON file of all figures")
    parser.add_argument("--pictures", type=Path, help="folder for a test view of each arm, of the first seed")
    settings = parser.parse_args()
    experiment, begun = EXPERIMENTS[settings.experiment], time.monotonic()
    counts = (settings.seeds, settings.steps, settings.rays, settings.threads)
    if any(count is not None and count < 1 for count in counts):
        parser.error("--seeds, --steps, --rays and --threads must be at least 1")
    if settings.seconds is not None:
        if not settings.seconds > 0 or settings.steps is not None or settings.backend != "cpu":
            parser.error("--seconds must be more than 0, stands in the place of --steps, and counts the time of a CPU")
        Clock.now = staticmethod(time.process_time)
    if settings.scene is not None and not settings.scene.exists():
        parser.error(f"{settings.scene} does not exist; give the folder of a scene")
    if settings.arms:
        unknown = set(settings.arms) - experiment.arms.keys()
        if unknown:
            parser.error(f"{', '.join(sorted(unknown))} is no arm of {settings.experiment}; it has "
                         f"{', '.join(experiment.arms)}")
        experiment = of_arms(experiment, settings.arms)
    steps, rays = settings.steps or experiment.steps, settings.rays or experiment.rays
    runtime.init(settings.backend, threads=settings.threads)
    length = {"steps": steps} if settings.seconds is None else {"seconds": settings.seconds}
    about = {"experiment": settings.experiment, "scene": settings.scene and settings.scene.name, **length,
             "rays": rays, "threads": settings.threads,
             "machine": machine() if settings.backend == "cpu" else device_name()}
    found = kept_figures(settings.output, about)
    scene = experiment.scene(settings)
    for seed in range(settings.seeds):
        state: dict = {}
        for arm, config in experiment.arms.items():
            late = settings.minutes is not None and time.monotonic() - begun > 60 * settings.minutes
            if late or arm in found.get(str(seed), {}):
                continue
            seen = experiment.seen[arm](scene) if arm in experiment.seen else scene
            model, seconds, taken = train(config, seen, seed, steps, rays, settings.seconds, experiment.together, state,
                                          **experiment.training.get(arm, {}))
            scores = experiment.scores(model, scene)
            found.setdefault(str(seed), {})[arm] = scores
            print(f"seed {seed}, {arm}: {scores}, {taken} steps in {seconds:.0f} s", flush=True)
            if settings.pictures and seed == 0:
                settings.pictures.mkdir(parents=True, exist_ok=True)
                view = render_view(model, scene.model_cameras("test"), 0, background=GREY[scene.background],
                                   shot=Shot(time=shots_of(scene.splits["test"].subset([0])).time))
                name = f"{settings.experiment}-{arm.replace(' ', '-')}.png"
                write_png(settings.pictures / name, to_uint8(view.colour))
            if settings.output:
                settings.output.write_text(json.dumps({"about": about, "seeds": found}, indent=1) + "\n")
    print(f"\n{json.dumps(about)}\n\n{report(experiment, found)}")


if __name__ == "__main__":
    main()
