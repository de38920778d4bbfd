"""Photos of a run by the names that people give them: without folder and ending, with the split before the name
(`test/NAME`) where it is not that of training."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from .folder import CAMERAS_FILE, RunFolder

__all__ = ["home_of", "meant_by", "names_of", "with_lights"]

UNSEEN = ("val", "test")  # splits with photos that a run need not have looked at


def names_of(run: RunFolder) -> dict[str, list[str]]:
    """Of the photos of each split, as when the run was begun."""
    return {split: list(its.images.names) for split, its in run.cameras_scene().splits.items()}


def with_lights(run: RunFolder, photos: Sequence[str]) -> list[tuple[str, str]]:
    """Split and name of each of `photos`, whose light the model of `run` knows or can be fitted to.

    Of a split that was not trained on the scene may have photos that the run has not: whoever opens it finds out.

    Raises UserError where the model knows no light of a photo, or the run no such photo.
    """
    if not getattr(run.config.model, "appearance", 0):
        learned = "; its --appearance is an exposure of each photo" if run.config.training.exposure.learned else ""
        raise UserError(f"{run.path} knows no light of a photo: it was trained without codes of them "
                        f"(--model.appearance){learned}; leave --appearance out of this, or train anew")
    names, homes = names_of(run), []
    for photo in photos:
        split, _, name = photo.partition("/")
        known = any(photo in each for each in names.values())
        homes.append((split, name) if split in UNSEEN and name and not known else home_of(photo, names, run.path))
    return homes


def home_of(photo: str, names: dict[str, list[str]], run: Path) -> tuple[str, str]:
    """The split and the name of `photo`; `names` are those of each split. Raises UserError."""
    split, slash, name = photo.partition("/")
    homes = [(split, name)] if slash else []
    homes += [(each, photo) for each in dict.fromkeys(("train", *names))]
    found = next((home for home in homes if home[1] in names.get(home[0], ())), None)
    if found is None:
        known = [name for each in names.values() for name in each]
        raise UserError(f"{photo} is no photo of {run}; {meant_by(photo, known)} {len(known)} photos, whose names "
                        f"are in {run / CAMERAS_FILE}; give a name without folder and ending, with the split before it "
                        "(test/NAME) where several have it")
    if (count := names[found[0]].count(found[1])) > 1:
        raise UserError(f"{photo} is the name of {count} photos of {run}, which differ in folder or ending alone, so "
                        "that it says none of them; give another photo, or name the files apart and train anew")
    return found


def meant_by(photo: str, known: Sequence[str]) -> str:
    """Which of the names `known` may have been meant by `photo`, before words that say how many there are."""
    near = difflib.get_close_matches(Path(photo).stem, dict.fromkeys(known), n=3)
    return f"did you mean {' or '.join(near)}? It has" if near else f"it has {', '.join(known[:3])}, ...,"
