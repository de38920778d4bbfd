"""`taichi-nerf train --blocks`: one model after the other, each of a part of the scene; ranks share them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import SettingError
from ..errors import UserError
from ..output import quoted, result, say, speak
from ..progress import Progress
from .trained import tell_disk

if TYPE_CHECKING:
    from ..data.scene import Scene
    from ..training.blocks import BlockOnDisk
    from ..training.folder import RunFolder
    from ..training.team import Team


@dataclass(frozen=True)
class Share:
    """What a block is of the whole."""

    run: Path
    """Of all blocks: what goes on where the training is stopped."""
    title: str
    """Which it is."""
    after: int
    """So many follow it."""


Trained = Callable[["RunFolder", "Scene", bool, Share], int]
# trains a model of a scene, in a run that is new or goes on -> exit code


def train_blocks(run: "RunFolder", scene: "Scene", trained: Trained, team: "Team") -> int:
    """The exit code, after the training of all blocks that are not trained, and what follows it.

    What is trained stays as it is, and a block that was stopped goes on where it stood. All have one budget, so that
    the ranks of a team share them by number; rank 0 waits for the others, and does what follows.
    """
    from ..training.blocks import read_blocks, write_blocks

    with team.together():
        if team.first:
            known = [replace(each, trained=each.trained and _is_there(run.path, number))
                     for number, each in enumerate(read_blocks(run.path))]
            write_blocks(run.path, known)
            if not all(each.trained for each in known):
                run.write_config()  # whose end may be another than before
    blocks = read_blocks(run.path)
    untrained = [number for number, each in enumerate(blocks) if not each.trained]
    mine = team.mine(untrained)
    if not untrained:
        say("all blocks are trained, and stay as they are; they are scored and shown anew")
    if team.world > 1 and untrained:
        say(f"{len(untrained)} of {len(blocks)} blocks are to be trained, {len(mine)} of them by rank 0, which "
            "speaks of its own")
    try:
        code = _train_own(run, scene, blocks, mine, trained)
        if code or not team.first:
            return code
        _finish(run, scene, _all_trained(run.path))
    except KeyboardInterrupt:
        say(_where_it_stopped(run.path))
        return 130
    return 0


def _where_it_stopped(path: Path) -> str:
    """What is done, and how the rest is, of a run that was interrupted between two trainings, or after the last."""
    from ..training.blocks import read_blocks

    blocks, resume = read_blocks(path), f"taichi-nerf train --resume {quoted(path)}"
    trained = sum(each.trained for each in blocks)
    if trained == len(blocks):
        return f"taichi-nerf: stopped after the training of all blocks; score and render with: {resume}"
    done = f"{trained} of {len(blocks)} blocks {'is' if trained == 1 else 'are'} done"
    return f"taichi-nerf: stopped; {done}; go on with: {resume}"


def _train_own(run: "RunFolder", scene: "Scene", blocks: "list[BlockOnDisk]", mine: Sequence[int],
               trained: Trained) -> int:
    """The exit code, after the training of the blocks `mine`, which the file then calls trained."""
    from ..training.blocks import note_trained

    start = time.perf_counter()
    for done, number in enumerate(mine, start=1):
        each = blocks[number]
        say(f"block {number + 1} of {len(blocks)}: what is {each.block}")
        share = Share(run.path, f"block {number + 1} of {len(blocks)}", len(mine) - done)
        try:
            code = _train_block(run, scene, number, each, trained, share)
        except (UserError, SettingError) as error:
            speak()  # of a block that another rank trains, none else knows
            raise UserError(f"{share.title}: {error}") from None
        if code:
            return code
        note_trained(run.path, number)
        if share.after:
            minutes, seconds = divmod(round(share.after * (time.perf_counter() - start) / done), 60)
            say(f"{share.title} is trained; those left take about {minutes}:{seconds:02d}")
    return 0


def _is_there(path: Path, number: int) -> bool:
    """Whether the run of a block is, with its model."""
    from ..training.files import MODEL_FILE
    from ..training.folder import CONFIG_FILE, block_folder

    return all((block_folder(path, number) / name).is_file() for name in (CONFIG_FILE, MODEL_FILE))


def _all_trained(path: Path) -> "list[BlockOnDisk]":
    """The blocks, once other ranks have trained theirs; one that dies takes all of them along."""
    from ..training.blocks import read_blocks

    blocks = read_blocks(path)
    with Progress("blocks") as line:
        while left := sum(not each.trained for each in blocks):
            line.wait(f"{left} of {len(blocks)} are still trained by other ranks")
            time.sleep(0.5)
            blocks = read_blocks(path)
    return blocks


def _train_block(run: "RunFolder", scene: "Scene", number: int, each: "BlockOnDisk", trained: Trained,
                 share: Share) -> int:
    """The exit code of the training of one block, in an ordinary run of its own."""
    from ..data.blocks import around_block, within_block
    from ..models.family import settled
    from ..training.folder import CONFIG_FILE, RunFolder, block_folder, check_block_folder, make_folder, writing

    path, part = block_folder(run.path, number), within_block(around_block(scene, each.block), each.block)
    check_block_folder(path)
    make_folder(path, exist_ok=True)
    with writing(path):
        if (path / CONFIG_FILE).is_file():
            own = RunFolder.open(path)
            own.check_resumable(f"move {path} away, and the block is trained anew")
            own.config = replace(own.config, training=replace(
                own.config.training, steps=run.config.training.steps, seconds=run.config.training.seconds))
            return trained(own, own.placed(part), True, share)
        place = (*each.block.centre, each.block.radius)
        config = replace(run.config, scene=replace(run.config.scene, block=place), orbit_frames=0,
                         model=settled(run.config.model, part))
        return trained(RunFolder.create(path, config, part), part, False, share)


def _finish(run: "RunFolder", scene: "Scene", blocks: "list[BlockOnDisk]"):
    """Match the blocks, and score and film what they show as one."""
    from ..export import orbit
    from ..training.blocks import load_any
    from ..training.evaluate import GREY, evaluate
    from ..training.files import write_json
    from ..training.folder import METRICS_FILE
    from .scores import plain_scores, summary

    _match(run, scene, blocks)
    model, about = load_any(run.path)
    if "test" in scene.splits:
        with Progress("evaluating") as line:
            evaluation = evaluate(model, scene, folder=run.path / "test", on_view=line.count,
                                  on_part=line.part)
        scores = plain_scores(evaluation, about, run.default_every("test"))
        write_json(run.path / METRICS_FILE, scores)
        result(*summary(scores))
    if run.config.orbit_frames > 0:
        around, background = run.cameras_scene(), GREY[scene.background]
        plan, _ = orbit.planned(model, around, orbit.frame_size(scene), run.config.orbit_frames,
                                background=background, trained=about["seconds"])
        with Progress("orbit video") as line:
            orbit.orbit_video(model, around, run.path / "orbit.mp4", plan, background=background, on_view=line.count,
                              on_part=line.part)
    result(f"{run.path}: trained {len(blocks)} blocks, {about['steps']} steps in {about['seconds']:.1f} s")
    tell_disk(run)


def _match(run: "RunFolder", scene: "Scene", blocks: "list[BlockOnDisk]"):
    """What each block remembers of what it saw, and the appearance in which it is seen beside the others."""
    from ..data.blocks import within_block
    from ..training import checkpoint
    from ..training.blocks import codes_of_neighbours, points_seen, write_blocks
    from ..training.folder import RunFolder, block_folder

    folders = [block_folder(run.path, number) for number in range(len(blocks))]
    models = [checkpoint.load(folder) for folder in folders]
    scenes = [RunFolder.open(folder).placed(within_block(scene, each.block)) for folder, each in zip(folders, blocks)]
    if models[0].knows_visibility:
        for number, (model, part) in enumerate(zip(models, scenes)):
            blocks[number] = replace(blocks[number], seen=tuple(map(tuple, points_seen(model, part).tolist())))
    if "appearance" in models[0].codes and len(blocks) > 1:
        with Progress("matching blocks") as line:
            codes = codes_of_neighbours([each.block for each in blocks], models, scenes,
                                        on_step=lambda done, total: line.count(done, total, "steps"))
        blocks[:] = [replace(each, code=tuple(code.tolist())) for each, code in zip(blocks, codes)]
    write_blocks(run.path, blocks)
