"""The processes that train one model together: its ranks, and what they exchange.

    rank     of a process, from 0 on, of `world` in all; rank 0 decides, writes and speaks
    B        pixels of a step, of which each rank draws its own B / world

Gradients are the mean over the ranks, so that those of `world` ranks are those of one rank with all the pixels. What is
told or gathered goes as messages through gloo; tensors of a CUDA device go through NCCL. A team of one (`ALONE`)
exchanges nothing and costs nothing: PyTorch's package for distributed work is not asked.

Ranks are started by torchrun, or by whatever sets the same variables: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from ..config import BatchConfig, RayBatchConfig, SettingError
from ..devices import RANK_VARIABLES
from ..errors import RankLost, UserError
from ..models.model import Model
from ..output import speak
from ..types import Seeds, Standing

__all__ = ["ALONE", "Ranks", "Team", "part_of", "team_of"]

PATIENCE = timedelta(minutes=10)  # with a rank that does not answer; one that has died is noticed at once
STREAM = 0x9E3779B  # between the seeds of two ranks
FOLDER = "taichi-nerf/folder"  # key of the store of torchrun, which outlives the ranks that it starts again
FAR_FEWER = 4  # bytes of rows against bytes of a table, at a gigabit a second; `benchmarks/ranks.py`
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class Team:
    """A team of one, in which everything is said and known already."""

    rank, world = 0, 1

    @property
    def first(self) -> bool:
        """Whether this rank decides, writes and speaks."""
        return self.rank == 0

    def own(self, standing: Standing) -> Standing:
        """`standing`, which all ranks have in common, with the random numbers of this rank."""
        if self.rank == 0:
            return standing
        return replace(standing, seeds=Seeds(*((seed + self.rank * STREAM) % 2**31 for seed in standing.seeds)))

    def told(self, value: Any) -> Any:
        """What rank 0 calls this with, on every rank."""
        return value

    def agreed(self, *numbers: float) -> tuple[float, ...]:
        """The numbers of rank 0, on every rank: what `told` does, quickly."""
        return numbers

    def gathered(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order, on every rank."""
        return [value]

    def collected(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order, on rank 0; elsewhere its own alone."""
        return [value]

    def whole(self, model: Model) -> AbstractContextManager:
        """Within the context all of `model` is on this rank."""
        return nullcontext()

    def mine(self, items: Sequence) -> Sequence:
        """Every `world`-th of items, from `rank` on: the share of this rank."""
        return items[self.rank::self.world]

    def summed(self, *counts: int) -> tuple[int, ...]:
        """The sums of whole numbers over all ranks, on every rank."""
        return counts

    def add(self, *tensors: Tensor) -> None:
        """Let each be the sum of those of all ranks."""

    def average(self, *tensors: Tensor) -> None:
        """Let each be the mean of those of all ranks."""

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Let the gradient of each parameter be the mean over all ranks, in which no gradient counts as zero; a
        parameter that has one on no rank has none then."""

    def average_rows(self, table: Tensor) -> None:
        """Let `table` [E, F], which is zero but for some rows, be the mean of those of all ranks."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within, what the user has to mend on one rank is said by rank 0, and ends all of them: UserError."""
        yield

    def check_same(self, what: str, value: str) -> None:
        """Raises UserError on every rank where `value` is not that of rank 0 everywhere."""

    def use(self, device: torch.device) -> None:
        """Tensors live on `device`."""

    def remember(self, folder: str) -> None:
        """The folder of the run, for those who are started in place of these ranks."""

    def remembered(self) -> str | None:
        """The folder of the run that ranks before these began, if these are started in their place."""


ALONE = Team()


class Ranks(Team):
    """Processes that have found one another: a process group of PyTorch."""

    def __init__(self, group, rank: int, world: int, *, apart: bool = False, store=None, lives: int = 0):
        """`group` is the module `torch.distributed`, in which they have met; `apart`: on several machines; `store` that
        of torchrun, if there is one; `lives`: how often it has started the ranks before."""
        self.group, self.rank, self.world, self.apart = group, rank, world, apart
        self.store, self.lives = store, lives
        self.messages, self.tensors = None, {}  # groups by type of device; None: all ranks, through gloo

    def told(self, value: Any) -> Any:
        with _heard(self.world):
            values = [value]
            self.group.broadcast_object_list(values, src=0, group=self.messages)
        return values[0]

    def agreed(self, *numbers: float) -> tuple[float, ...]:
        words = torch.tensor(numbers, dtype=torch.float64)
        with _heard(self.world):
            self.group.broadcast(words, src=0, group=self.messages)
        return tuple(words.tolist())

    def gathered(self, value: Any) -> list[Any]:
        values = [None] * self.world
        with _heard(self.world):
            self.group.all_gather_object(values, value, group=self.messages)
        return values

    def collected(self, value: Any) -> list[Any]:
        values = [None] * self.world if self.first else None
        with _heard(self.world):
            self.group.gather_object(value, values, dst=0, group=self.messages)
        return values if self.first else [value]

    def all_of(self, tensor: Tensor) -> list[Tensor]:
        """Those of all ranks, in their order, on every rank; they have one shape."""
        tensors = [torch.empty_like(tensor) for _ in range(self.world)]
        with _heard(self.world):
            self.group.all_gather(tensors, tensor, group=self._group_of(tensor))
        return tensors

    def summed(self, *counts: int) -> tuple[int, ...]:
        sums = torch.tensor(counts, dtype=torch.int64)
        self._add(sums)
        return tuple(sums.tolist())

    @torch.no_grad()
    def add(self, *tensors: Tensor) -> None:
        for alike in _alike(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            self._add(flat)
            for tensor, part in zip(alike, flat.split([tensor.numel() for tensor in alike])):
                tensor.copy_(part.view_as(tensor))

    @torch.no_grad()
    def average(self, *tensors: Tensor) -> None:
        self.add(*tensors)
        for tensor in tensors:
            tensor /= self.world

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        for alike in _alike(parameters):
            self._average_gradients(alike)

    @torch.no_grad()
    def average_rows(self, table: Tensor) -> None:
        if not self.apart or not self._add_rows(table):
            self._add(table)
        table /= self.world

    @contextmanager
    def together(self) -> Iterator[None]:
        trouble = None
        try:
            yield
        except (UserError, SettingError) as error:
            trouble = error
        sentences = self.gathered(None if trouble is None else str(trouble))
        if trouble is not None:
            raise trouble
        for rank, sentence in enumerate(sentences):
            if sentence is not None:
                raise UserError(f"rank {rank} of {self.world}: {sentence}")

    def check_same(self, what: str, value: str) -> None:
        values = self.gathered(value)
        others = [rank for rank, other in enumerate(values) if other != values[0]]
        if others:
            ranks = f"rank{'s' if len(others) > 1 else ''} {', '.join(map(str, others[:8]))}"
            differ = "are not those" if what.endswith("s") else "is not that"
            raise UserError(f"{what} of {ranks} {differ} of rank 0; start all ranks with the same command, on machines "
                            "that have the same files and devices")

    def use(self, device: torch.device) -> None:
        if device.type == "cuda":
            self.tensors["cuda"] = self.group.new_group(backend="nccl", timeout=PATIENCE)

    def remember(self, folder: str) -> None:
        if self.store is not None and self.first:
            self.store.set(FOLDER, folder)

    def remembered(self) -> str | None:
        if self.lives == 0 or self.store is None:
            return None
        return self.store.get(FOLDER).decode() if self.store.check([FOLDER]) else None

    def _add(self, tensor: Tensor) -> None:
        with _heard(self.world):
            self.group.all_reduce(tensor, group=self._group_of(tensor))

    def _group_of(self, tensor: Tensor):
        return self.tensors.get(tensor.device.type, self.messages)

    def _add_rows(self, table: Tensor) -> bool:
        """Let `table` be the sum of those of all ranks by exchanging the rows that are not zero, if these are few."""
        rows = (table != 0).any(dim=1).nonzero()[:, 0]  # [K]
        counts = self.gathered(len(rows))
        most, features = max(counts), table.shape[1]
        if not _rows_are_less(most, table, self.world):
            return False
        own = rows.new_zeros(most, dtype=torch.int32), table.new_zeros(most, features)
        own[0][: len(rows)], own[1][: len(rows)] = rows, table[rows]
        of_all = [[torch.empty_like(each) for _ in counts] for each in own]
        for mine, all_of in zip(own, of_all):
            with _heard(self.world):
                self.group.all_gather(all_of, mine, group=self._group_of(mine))
        table.zero_()
        for numbers, values, count in zip(*of_all, counts):  # in one order, so that all ranks round alike
            table.index_add_(0, numbers[:count], values[:count])
        return True

    def _average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Of parameters that are alike, in one exchange."""
        known = parameters[0].new_tensor([parameter.grad is not None for parameter in parameters])
        flat = torch.cat([known, *((torch.zeros_like(each) if each.grad is None else each.grad).reshape(-1)
                                   for each in parameters)])
        self._add(flat)
        flat /= self.world
        known, *gradients = flat.split([len(parameters), *(parameter.numel() for parameter in parameters)])
        for parameter, gradient, share in zip(parameters, gradients, known.tolist()):
            parameter.grad = gradient.view_as(parameter) if share > 0 else None


@contextmanager
def team_of(environment: Mapping[str, str] = os.environ) -> Iterator[Team]:
    """The team that the variables of `environment` speak of, as long as the context lasts; `ALONE` without them.

    Raises UserError where they make no sense, or the ranks do not find one another.
    """
    if any(name not in environment for name in RANK_VARIABLES):
        yield ALONE
        return
    with _known_here_alone():
        rank, world = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
        if not 0 <= rank < world:
            raise UserError(f"RANK is {rank} and WORLD_SIZE {world}, whose ranks are 0 to {world - 1}; start the ranks "
                            "by torchrun, which sets both")
    import torch.distributed

    apart = environment.get("LOCAL_WORLD_SIZE") != str(world)
    if not apart:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)  # a machine's own name need not lead anywhere
    lives, store = int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")), None
    try:
        store = _store_of_torchrun(environment)
        # what ranks before these wrote into the store, as where they listened, is not for these
        met = {} if store is None else {"store": torch.distributed.PrefixStore(f"ranks/{lives}", store)}
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world, timeout=PATIENCE, **met)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"rank {rank} does not find the other ranks at {environment['MASTER_ADDR']}:"
                        f"{environment['MASTER_PORT']} ({_reason(error)}); start them by torchrun") from None
    try:
        yield Ranks(torch.distributed, rank, world, apart=apart, store=store, lives=lives)
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def _known_here_alone() -> Iterator[None]:
    """Within, UserError is said by this rank: it has not met those who could."""
    try:
        yield
    except UserError:
        speak()
        raise


def part_of(config: BatchConfig | RayBatchConfig, team: Team) -> BatchConfig | RayBatchConfig:
    """What each rank draws of a batch. Raises UserError where that is nothing whole."""
    if team.world == 1:
        return config
    if isinstance(config, RayBatchConfig):
        if config.rays % team.world:
            raise UserError(f"--batch.rays {config.rays} cannot be divided among {team.world} ranks; give a multiple "
                            f"of {team.world}")
        return replace(config, rays=config.rays // team.world)
    parts = {name: getattr(config, name) // team.world for name in ("samples", "marched", "max_rays")}
    if min(parts.values()) < 16:
        raise UserError(f"a batch of {config.samples} samples is too small for {team.world} ranks; give at least "
                        f"--batch.samples {16 * team.world}, or fewer ranks")
    return replace(config, **parts)


def _rows_are_less(rows: int, table: Tensor, world: int) -> bool:
    """Whether so many rows of each rank, with their numbers, are far fewer bytes for a rank to receive than the whole
    table [E, F] twice over, but for its own part: what adding it up in a ring takes. To find and add rows takes time of
    its own, more than a machine takes to hand the whole table from one process to another."""
    entries, features = table.shape
    of_row = features * table.element_size()
    return FAR_FEWER * (world - 1) * rows * (of_row + 4) < 2 * (world - 1) / world * entries * of_row


def _alike(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Those of one type and device, for each that there is."""
    kinds = dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors)
    return [[each for each in tensors if (each.dtype, each.device) == kind] for kind in kinds]


@contextmanager
def _heard(world: int) -> Iterator[None]:
    """Within, ranks speak with one another. Raises RankLost where one does not answer."""
    try:
        yield
    except RuntimeError as error:  # of gloo, of NCCL, and of PyTorch itself
        raise RankLost(f"one of the {world} ranks has gone, or does not answer ({_reason(error)})") from error


def _store_of_torchrun(environment: Mapping[str, str]):
    """That of its agent, which goes on when ranks are started again; None without one."""
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch.distributed import TCPStore

    return TCPStore(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), is_master=False, timeout=PATIENCE)


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError:
        raise UserError(f"{name} is {environment[name]!r}, which is no number; start the ranks by torchrun, which sets "
                        "it") from None


def _reason(error: Exception) -> str:
    """The first sentence of a library's message, without the place in its sources."""
    text = re.sub(r"^\[[^\]]*\] *", "", (str(error).strip().splitlines() or [type(error).__name__])[0])
    return text.split(". ")[0].rstrip(".")
