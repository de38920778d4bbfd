"""Scores as plain values, and as a table."""

from typing import TYPE_CHECKING

from ..data.json_files import short
from ..data.multiscale import scale_words
from ..errors import UserError
from ..metrics import WINDOW
from ..models.shots import unseen_shots
from ..training.evaluate import Evaluation, scored_sentence

if TYPE_CHECKING:
    from ..data.scene import Split
    from ..training.folder import RunFolder

OF_SOME = {"psnr_moving": "PSNR of what moves", "psnr_co_seen": "PSNR of what is co-seen",
           "ssim_co_seen": "SSIM of that"}
NAMES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", **OF_SOME}


def plain_scores(evaluation: Evaluation, about: dict, every: int) -> dict:
    """Scores and their protocol as plain values; `seconds` are those of the training."""
    scores = evaluation.as_json()
    trained = {
        "seconds": round(float(about["seconds"]), 3),
        "steps": int(about["steps"]),
        "render_seconds": scores["seconds"],
    }
    return {**scores, **trained, "protocol": {**scores["protocol"], "every": every, **trained}}


def checked_scores(scores: dict, file: str) -> dict:
    """The means in what a file says, also those of each scale; those over some of the pixels where it has them.

    Raises UserError where one is no number; only of the images there must be some.
    """
    per_scale = scores.get("per_scale", [])
    if not isinstance(per_scale, list) or not all(map(_is_of_scale, per_scale)):
        raise UserError(f"{file} is damaged: per_scale is {short(per_scale)}, not the scores of scales; score again "
                        "with taichi-nerf train --resume")
    of_each = [{**_checked_means(each, file), "scale": each["scale"]} for each in per_scale]
    return {**_checked_means(scores, file), "per_scale": of_each}


def _is_of_scale(values: object) -> bool:
    """Whether they can be the scores of one."""
    scale = values.get("scale") if isinstance(values, dict) else None
    return type(scale) is int and scale > 0


def _checked_means(scores: dict, file: str) -> dict:
    names = ("psnr", "ssim", *OF_SOME, "images")
    found = {name: scores.get(name) for name in names if name not in OF_SOME or name in scores}
    for name, value in found.items():
        if type(value) not in (int, float) and (value is not None or name == "images"):
            raise UserError(f"{file} is damaged: {name} is {short(value)}, not a number; score again with "
                            "taichi-nerf train --resume")
    return found


def lines(scores: dict) -> list[str]:
    """One line for each image."""
    names = [name for name in NAMES if name in scores]
    width = max(len(image["name"]) for image in scores["per_image"])
    return [
        f"{image['name']:{width}}  " + (f"time {image['time']:.3f}  " if "time" in image else "")
        + "  ".join(f"{name.replace('_', ' ')} {number(image[name], name)}" for name in names)
        for image in scores["per_image"]
    ]


def summary(scores: dict) -> list[str]:
    """Lines with the means, also those of each scale, and what they were measured under."""
    p = scores["protocol"]
    return [
        *of_scales(scores),
        f"{means(scores)}: mean over {scores['images']} images",
        f"split {p['split']}, every {p['every']}, {p['resolution']} pixels, background {p['background']}, "
        f"{'masked: ' + p['masked'] + ', ' if 'masked' in p else ''}{scored_sentence(p)}; "
        f"trained {p['steps']} steps in {p['seconds']:.1f} s, rendered in {p['render_seconds']:.1f} s "
        f"on {p['device']} ({p['backend']}, {p['threads']} threads)",
        *([f"co-seen: {p['co_seen']}"] if "co_seen" in p else []),
        *_of_motion(scores.get("correspondence")),
        f"renderer: {p['renderer']}",
    ]


def _of_motion(motion: dict | None) -> list[str]:
    """A line with how well the model knows where things move, if it says so and the scene knows."""
    if motion is None:
        return []
    return [f"correspondence of what moves: {motion['error']:.4f} world units off ({motion['still']:.4f} if nothing "
            f"moved), {motion['found']:.1%} within 5 % of the picture's side; the warp is inverted to "
            f"{motion['residual']:.1g}"]


def unknown_light(run: "RunFolder", model, split: "Split") -> list[str]:
    """A line where photos have lights of their own, and those of the photos of `split` are not known."""
    coded = "appearance" in getattr(model, "codes", {}) and "appearance" not in unseen_shots(split, model).ids
    if not (coded or run.config.training.exposure.learned):
        return []
    return ["these photos have lights of their own, which count as errors here: taichi-nerf eval --half-image fits "
            "them to left halves, and scores right ones"]


def of_scales(scores: dict) -> list[str]:
    """A line with the means of each scale; none where there is one alone."""
    return [f"scale {scale_words(each['scale']):5}  {means(each)}: mean over {each['images']} images"
            for each in scores.get("per_scale", ())]


def means(scores: dict) -> str:
    """The mean of each score."""
    return ", ".join(f"{word} {number(scores[name], name)}" for name, word in NAMES.items() if name in scores)


def number(value: float | None, name: str) -> str:
    """A value of the score `name`."""
    if value is None and name == "psnr":  # equal pictures
        return "infinite"
    if value is None:
        return f"undefined (it needs {WINDOW} x {WINDOW} scored pixels)" if name == "ssim" else "undefined"
    return f"{value:.4f}"
