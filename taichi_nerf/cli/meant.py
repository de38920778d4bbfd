"""What may have been meant by a word that is no command, or no option of one.

    part       what stands behind the last dot of an option, `log2-entries` of `--model.field.hash-grid.log2-entries`
    likeness   of a word without a dot and a part: 1 where they are equal, ALMOST where one begins the other or has all
               of its words, else the share of letters that they have in common and in one order; times ALMOST for what
               is of a section, which the word does not name

How other programs, and other models of this one, call what is wanted is no matter of letters: the table below has it.
"""

import difflib
from collections.abc import Iterable

ALIKE, ALMOST = 0.75, 0.9  # likeness from which on one word may be meant by another
MARGIN = 0.05  # as much less than the best, and still as likely
MOST = 3  # that are named
LEAST_BEGINNING = 3  # letters of what begins another

# ours -> what other programs, and people, call it; of several for one name the first that the command has is meant
OTHERS_CALL_IT = {
    "--orbit-frames 0": "no-video no-orbit no-movie skip-video",
    "--orbit-frames": "video movie video-frames",
    "--steps": "epochs iterations iters n-iters num-iters max-iter max-iters max-num-iterations train-steps",
    "--seconds": "minutes max-time time-limit",
    "--optimiser.learning-rate": "lr lrate",
    "--backend": "gpu gpus device cuda cpu vulkan no-cuda no-gpu",
    "--threads": "workers num-workers cpus jobs",
    "--batch.samples": "batch.rays batch-size rays n-rays num-rays train-rays ray-batch-size n-rand",
    "--batch.rays": "batch.samples batch.max-rays batch-size rays n-rays num-rays train-rays ray-batch-size n-rand",
    "--downscale": "factor half-res resolution image-scale res-scale downscale-factor",
    "--background white": "white-bkgd white-bg white-background bg-color",
    "--test-every": "holdout llffhold no-test eval-every",
    "--appearance": "encode-a use-appearance-embedding appearance-embedding optimize-exposure bilateral-grid "
                    "use-bilateral-grid",
    "--model.appearance": "N-a appearance-embed-dim appearance-embedding-dim n-extra-learnable-dims num-glo-features",
    "--robust": "robustnerf enable-robustnerf-losses remove-transients",
    "--perturb": "data-perturb",
    "--view": "gui viewer vis viser",
    "--resume": "checkpoint ckpt load load-dir continue restart from-checkpoint",
    "--output": "out-dir outdir output-dir save-dir save-path log-dir logdir workspace basedir expname experiment-name",
    "SCENE": "data data-dir datadir data-path dataset dataset-path input scene-path source-path source path images",
    "RUN": "run checkpoint ckpt load load-config model-path model-dir workspace",
    "--size": "resolution width height",
    "--what": "render-depth depth normals mode",
    "--frames": "n-frames num-frames video-frames",
}


def meant(word: str, known: Iterable[str], unnamed: Iterable[str] = ()) -> list[str]:
    """Which of the commands or options `known`, or of the arguments `unnamed`, which are given without a name, may have
    been meant by `word`, the likeliest first."""
    known = list(known)
    if named := meant_by_name(word, known, unnamed):
        return named
    likeness = {name: _likeness(word, name) for name in _as_wished(word, known)}
    best = max(likeness.values(), default=0.0)
    alike = [name for name, value in likeness.items() if value >= max(ALIKE, best - MARGIN)]
    return sorted(alike, key=likeness.get, reverse=True)[:MOST]


def meant_by_name(word: str, known: Iterable[str], unnamed: Iterable[str] = ()) -> list[str]:
    """The same, as far as the table has it."""
    known, unnamed = set(known), set(unnamed)
    for ours, theirs in OTHERS_CALL_IT.items():
        if word.lstrip("-") in theirs.split():
            if ours.partition(" ")[0] in known:
                return [ours]
            if ours in unnamed:
                return [f"{ours}, without a name before it"]
    return []


def _as_wished(word: str, known: list[str]) -> list[str]:
    """Without what switches off what is wanted, or switches on what is not."""
    on, off = ([name for name in known if _is_off(name) == which] for which in (False, True))
    if not _is_off(word):
        return on
    switches = {_part(name) for name in off}
    return off + [name for name in on if _part(name) not in switches]


def _likeness(word: str, name: str) -> float:
    if name.startswith(f"{word}."):  # a section
        return ALMOST
    if "." in word:
        return difflib.SequenceMatcher(None, word, name).ratio()
    of_section = ALMOST if "." in name else 1.0
    word, part = _part(word), _part(name)
    words, parts = set(word.split("-")), set(part.split("-"))
    shorter, longer = sorted((word, part), key=len)
    if word == part:
        return of_section
    if words <= parts or parts <= words or (len(shorter) >= LEAST_BEGINNING and longer.startswith(shorter)):
        return of_section * ALMOST
    return of_section * difflib.SequenceMatcher(None, word, part).ratio()


def _part(name: str) -> str:
    return name.lstrip("-").rpartition(".")[2].removeprefix("no-")


def _is_off(name: str) -> bool:
    return name.lstrip("-").rpartition(".")[2].startswith("no-")
