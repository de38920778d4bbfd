"""What --appearance comes to in the settings of a run, once it is known how the light of its photos differs.

    codes       `model.appearance`: numbers of each photo that the colour network sees; for any light
    exposure    `training.exposure.learned`: a gain of each photo and channel; for a camera that meters each photo anew
"""

import dataclasses
from collections.abc import Collection
from typing import Literal

from .run import RunConfig

__all__ = ["CODE", "Differing", "with_appearance"]

Differing = Literal["codes", "exposure"]
CODE = 16  # numbers of a code, of a model that has none unless it is asked to


def with_appearance(run: RunConfig, wanted: Differing | None, why: str, given: Collection[str] = ()) -> RunConfig:
    """`run` with what its photos call for, as far as its model has it, and the reason in words.

    `wanted` is what tells their light best, None where nothing is needed; `why` says so in words. Codes that the model
    has stay, and so does what is `given` by dotted name.
    """
    code = getattr(run.model, "appearance", None)
    if code or run.training.exposure.learned:
        has = f"codes of {code} numbers a photo" if code else "the exposure model"
        return dataclasses.replace(run, appearance=f"{has}, as the settings have it; {why}")
    if wanted is None:
        return dataclasses.replace(run, appearance=f"nothing is changed: {why}")
    if wanted == "codes" and code is not None and "model.appearance" not in given:
        model = dataclasses.replace(run.model, appearance=CODE)
        return dataclasses.replace(run, model=model, appearance=f"codes of {CODE} numbers a photo: {why}")
    lacking = f"; {run.model.kind} has no codes, which would tell more" if wanted == "codes" and code is None else ""
    training = dataclasses.replace(run.training, exposure=dataclasses.replace(run.training.exposure, learned=True))
    return dataclasses.replace(run, training=training, appearance=f"the exposure model: {why}{lacking}")
