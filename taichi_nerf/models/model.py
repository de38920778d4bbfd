"""What training and rendering ask of a model, so that neither knows which one it is.

R rays. A new system is a field, a sampler and its losses behind this interface, and a configuration.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from ..config import system_of
from ..data.scene import Cameras, Scene
from ..fields.field import Field, Radiance
from ..types import UNKNOWN, Batch, Rays, Shot, Standing
from .cones import sharpest_view
from .pixels import Pixels

__all__ = ["Box", "Exchange", "Model", "ParameterGroup", "RayRenderer", "Space"]

RayRenderer = Callable[[Rays], tuple[Tensor, Tensor, Tensor, Tensor]]
# rays of one shot -> colour [R, 3] over black, opacity [R], depth [R], samples [R]; without gradients


@dataclass(frozen=True, kw_only=True)
class Box:
    """The part of space that a model represents: [-side / 2, side / 2]^3, a power of two as its side."""

    aabb_scale: int = 1
    """Side of the box in model units."""
    near: float = 0.0
    """Nothing nearer to a ray's origin is sampled."""
    bounded: bool = False
    """Whether nothing that is seen lies outside of the box."""

    @property
    def cascades(self) -> int:
        """Number of nested occupancy grids."""
        return self.aabb_scale.bit_length()

    @property
    def words(self) -> str:
        """It by its name, and how large it is."""
        return f"the model box, +-{0.5 * self.aabb_scale:g}"


class Space(NamedTuple):
    """What of space a model represents."""

    words: str
    """To be read after "works in"."""
    beyond: bool
    """Whether what lies between cameras outside of the box and the box is part of it."""


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that are optimised alike, and clipped together."""

    name: str
    """By which their optimiser's state is saved."""
    parameters: list[Parameter]
    kind: Literal["table", "network", "code", "correction"]
    """What they are, which decides on the optimiser: Adam of sparse steps for hash tables, else Adam."""
    gradient: Tensor | None = None
    """Of a table: the buffer that its gradient is added to."""
    decay: Callable[[Standing], float] | None = None
    """Of a table: that of SparseAdam in a step; None: there is none."""
    level_start: tuple[int, ...] = (0,)
    """Of a table: the first entry of each level."""
    rate: Callable[[Standing], float] | None = None
    """Learning rate; None: that of the settings for its kind."""
    share: float = 1.0
    """Of that of the settings, where it has no rate of its own."""
    factor: Callable[[Standing], float] | None = None
    """How that of the settings rises and falls for it; None: as they say."""


class Exchange(Protocol):
    """What the parts of a model get to know of each other, where these are on several ranks: all of them ask at once,
    and each for tensors of the same shapes."""

    def gathered(self, *of_parts: Tensor) -> list[Tensor]:
        """[K, ..] of all parts, from those [k, ..] of the parts that are here. The gradient is that of what is here:
        every rank takes the same loss, so that none has to be sent back."""

    def added(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks; the gradient is that of what is here."""

    def spread(self, tensor: Tensor) -> Tensor:
        """The same, which all ranks have alike; its gradient is the sum over the ranks of what their parts give it."""


class Model(nn.Module):
    """A radiance field that renders rays and says how it is trained.

    `config` is its ModelConfig, `box` the part of space that it represents, and `counts` how many ids of each name
    have a code: together with its `sizes` and the tensors of its state they are the whole of it. Everything random in
    its making comes from a seed.
    """

    sees_cones = False
    """Whether rays need a radius."""
    ends_rays = False
    """Whether it takes nothing before the `begin` of rays and behind their `limit`."""
    all_directions = True
    """Whether its rays may go anywhere; else they must look the way that its cameras do."""
    has_normals = True
    """Whether it knows a density of positions, whose slope is a normal."""
    knows_visibility = False
    """Whether it has learned from where its points are seen (`visible`)."""
    quickest_in_one_launch = False
    """Whether its renderer of one launch is the faster one everywhere."""

    def __init__(self, config, box: Box, counts: Mapping[str, int] | None = None):
        super().__init__()
        self.config, self.box, self.counts = config, box, dict(counts or {})
        self.codes = nn.ModuleDict()  # by the names of the ids
        self.register_buffer("sharpest", torch.zeros(2))  # `sharpest_view` of the photos; 0: not known

    @property
    def sizes(self) -> dict[str, int]:
        """By name, of arrays whose size no setting says: with `make_room`, part of what it takes to build it again."""
        return {}

    def make_room(self, sizes: Mapping[str, int]) -> None:
        """Make the arrays of these `sizes`, which are then filled. Raises ValueError for what it has not."""
        raise ValueError(f"the sizes of its arrays are {dict(sizes)}")

    @property
    def moves(self) -> bool:
        """Whether it knows the time, so that what it shows may move."""
        return system_of(self.config).moves

    @property
    def rays_per_pixel(self) -> int:
        """Rays that a pixel is the mean of."""
        return getattr(self.config, "rays_per_pixel", None) or 1

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        """Pixels of rays in model space, each the mean of `rays.per_pixel` of them: as in training where it stands, or
        without a standing as in a picture."""
        raise NotImplementedError

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        """The terms of the loss of what `render` gave for `batch.rays`, by name; the loss is their sum."""
        raise NotImplementedError

    def density(self, positions: Tensor, shot: Shot = UNKNOWN) -> Tensor:
        """[M] at positions [M, 3] of model space, per model unit; `shot` of the positions, M = R, may lack the codes of
        its ids (`fields.codes.with_codes`)."""
        return self.radiance(positions, shot).density

    def radiance(self, positions: Tensor, shot: Shot = UNKNOWN) -> Radiance:
        """The same with what else the field says there; nothing is dense where the model is known to be empty."""
        raise NotImplementedError

    @property
    def core(self) -> float | None:
        """Half the side of the cube around the origin outside of which what is farther is coarser; None: it ends at its
        box."""
        return None

    def one_launch(self, shot: Shot = UNKNOWN) -> RayRenderer | None:
        """What renders rays of one `shot`, R = 1, in one launch, in single precision; None: it has nothing that can."""
        return None

    @classmethod
    def unit_scale(cls, config, box: Box) -> float:
        """The side that the base cube of `box` has in the space in which a model of `config` works."""
        return 1.0

    @classmethod
    def space(cls, config, box: Box) -> Space:
        """What of space a model of `config` represents."""
        return Space(box.words, beyond=False)

    @classmethod
    def fitted(cls, config, scene: Scene):
        """`config` with what it leaves open and `scene` decides."""
        return config

    @classmethod
    def check_scene(cls, config, scene: Scene) -> None:
        """Raises UserError where a model of `config` cannot represent `scene`, saying why."""

    def fields(self) -> dict[str, Field]:
        """What it consists of, by name; fields that are parts of others are not among them."""
        found: dict[str, Field] = {}
        for name, module in self.named_modules():
            if isinstance(module, Field) and not any(name.startswith(f"{outer}.") for outer in found):
                found[name] = module
        return found

    def parameter_groups(self) -> list[ParameterGroup]:
        """All its parameters, in groups: hash tables, the networks of each field, and codes. A model that has others
        adds their groups."""
        tables = [(f"{name}.table", table) for name, module in self.named_modules() if isinstance(module, Field)
                  for table in module.tables()]
        known = {id(table.entries) for _, table in tables}
        groups = [ParameterGroup(name=name, parameters=[table.entries], kind="table", gradient=table.gradient,
                                 decay=table.decay, level_start=table.level_start)
                  for name, table in tables]
        for name, field in self.fields().items():
            networks = [parameter for parameter in field.parameters() if id(parameter) not in known]
            groups += [ParameterGroup(name=name, parameters=networks, kind="network")] if networks else []
        return groups + [ParameterGroup(name=f"codes.{name}", parameters=[codes.table], kind="code")
                         for name, codes in self.codes.items()]

    def shares(self, name: str, ids: Tensor) -> bool:
        """Whether these [N] ids of that name are of training images, and have codes."""
        return name in self.codes and self.codes[name].knows(ids)

    def visible(self, positions: Tensor, directions: Tensor) -> Tensor:
        """[S] in [0, 1]: what of the light from positions [S, 3] of model space reaches whoever looks at them along
        unit directions [R, 3], with as many samples of each; of a model that `knows_visibility`."""
        raise NotImplementedError

    def know(self, shots: Shot) -> None:
        """What the training images are of: those ids that codes are learned for."""
        for name, codes in self.codes.items():
            codes.know(shots, name)

    def before_training(self, cameras: Cameras) -> None:
        """Learn what there is to learn of the training cameras, in model space."""
        self.sharpest.copy_(sharpest_view(cameras))

    def know_points(self, points: Tensor) -> None:
        """Learn of points [P, 3] of the scene, in model space, that stand still: those of structure from motion."""

    def share(self, own: Sequence[int], exchange: "Exchange") -> None:
        """Be from now on one of several ranks that have the model in common: of its `config.parts` those numbered `own`
        stay here, and of the others there is no more than what `exchange` brings."""
        raise NotImplementedError

    def completed(self, tensors: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Within the context all parts are here, those of other ranks with these `tensors`, as of `state_dict`."""
        raise NotImplementedError

    def holds(self, name: str) -> bool:
        """Whether the tensor of this name, as of `state_dict` and of groups of parameters, is here."""
        return True

    def let_in(self, share: float) -> None:
        """Let the first `share` of the detail of its fields be seen, from coarse to fine; from 1 on all is."""
        for module in self.modules():
            if isinstance(module, Field):
                module.let_in(share)

    def photos_seen(self, standing: Standing) -> Tensor | None:
        """[N] bool: which of the training images a step draws its pixels of; None: all of them."""

    def after_step(self, standing: Standing) -> None:
        """After the step that began where the training stood."""

    def rehearsal(self) -> tuple[int, ...]:
        """Steps that between them run every kernel of the training; the caller restores the state afterwards."""
        return (0,)
