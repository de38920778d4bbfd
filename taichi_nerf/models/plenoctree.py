"""PlenOctrees: what a trained model shows, in the leaves of an octree (Yu et al. 2021).

R rays. The ray is followed from leaf to leaf in one kernel, which takes no samples: what a ray is said to be made of is
one sample at its mean distance, with its opacity as the weight.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from .. import runtime
from ..config import PlenOctreeConfig
from ..data.svox import SvoxTree
from ..errors import UserError
from ..fields.field import Radiance
from ..fields.octree import OctreeField
from ..losses import squared_error
from ..ops.octree import Octree, cell_cubes
from ..ops.octree_rendering import Frame, PreparedOctree, degree_of, prepare_octree, render_octree, render_picture
from ..types import UNKNOWN, Batch, PackedSamples, Rays, Shot, Standing
from .model import Box, Model, ParameterGroup, RayRenderer, Space
from .pixels import Pixels

__all__ = ["PlenOctree"]

_pictures: "weakref.WeakKeyDictionary[PlenOctree, tuple]" = weakref.WeakKeyDictionary()

EMPTY = 1e-6  # opacity of a ray that has no distance


class PlenOctree(Model):
    """An octree and the rays through it. Nothing about it is random."""

    quickest_in_one_launch = True

    def __init__(self, config: PlenOctreeConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, counts)
        self.field = OctreeField(config)
        self._between: tuple[tuple, Tensor] | None = None  # what it is cropped to, and the thickness that is left

    @classmethod
    def space(cls, config: PlenOctreeConfig, box: Box) -> Space:
        if config.unbounded:
            return Space("all of space, the middle of which fills half the width of the octree, and what lies beyond "
                         "it the rest", beyond=True)
        sides = " x ".join(f"{2 * radius:.3g}" for radius in config.radius)
        return Space(f"the box of its octree, {sides}", beyond=False)

    @classmethod
    def of_tree(cls, config: PlenOctreeConfig, box: Box, tree: Octree, density: Tensor,
                coefficients: Tensor) -> "PlenOctree":
        """The model of a tree with density [8 n] per model unit and coefficients [8 n, 3 degree^2] of its cells."""
        model = cls(config, box)
        model.field.set_tree(tree, density, coefficients)
        return model

    @classmethod
    def of_svox(cls, tree: SvoxTree, box: Box) -> "PlenOctree":
        """The model of a file's tree, whose world is model space."""
        radius = tuple(0.5 / scale for scale in tree.scale)
        centre = tuple((0.5 - offset) / scale for offset, scale in zip(tree.offset, tree.scale))
        config = PlenOctreeConfig(degree=degree_of(tree.coefficients.shape[1]), centre=centre, radius=radius)
        links = Octree(torch.from_numpy(tree.child), torch.from_numpy(tree.parent_depth))
        return cls.of_tree(config, box, links, torch.from_numpy(tree.density), torch.from_numpy(tree.coefficients))

    def as_svox(self) -> SvoxTree:
        """Its tree for a file, in model space. Raises UserError for one of all space, which such a file cannot hold."""
        if self.field.frame.contracted:
            raise UserError("an octree of all space has no file of svox, whose trees end at the faces of a box; make "
                            "one of a bounded scene")
        return self.as_tree()

    def as_tree(self) -> SvoxTree:
        """Its tree in model space; one of all space (`config.unbounded`) has its core from 1/4 to 3/4."""
        field = self.field
        child, parent_depth, density, coefficients = (
            x.detach().cpu().numpy() for x in (field.child, field.parent_depth, field.cell_density, field.coefficients))
        return SvoxTree(child=child, parent_depth=parent_depth, density=density, coefficients=coefficients,
                        offset=field.frame.offset, scale=field.frame.scale)

    @property
    def sizes(self) -> dict[str, int]:
        return {"nodes": len(self.field.child)}

    def make_room(self, sizes: Mapping[str, int]) -> None:
        if sizes.keys() != {"nodes"}:
            raise ValueError(f"the sizes of its arrays are {dict(sizes)}")
        self.field.make_room(sizes["nodes"])

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        """Pixels of `rays` in model space; in training none is cut off. Gradients are added to the buffers of the
        field."""
        field, config, unit = self.field, self.config, self.field.unit
        stops = {} if standing is not None else {"early_stop": config.early_stop, "skip": config.skip * unit}
        colour, opacity, depth, _ = render_octree(
            field.tree, self._frame, field.thickness, field.coefficients, rays.origins / unit, rays.directions,
            near=self.box.near / unit, gradients=(field.thickness_gradient, field.coefficients_gradient), **stops)
        pixels = Pixels(colour=colour, opacity=opacity, depth=unit * depth, weights=opacity,
                        packed=self._middles(rays, opacity, unit * depth), marched=len(rays))
        return pixels.averaged(rays.per_pixel)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        return {"colour": squared_error(pixels.over(batch.background), batch.target, batch.weight)}

    def radiance(self, positions: Tensor, shot: Shot = UNKNOWN) -> Radiance:
        density, hidden = self.field.density(positions, shot)
        return Radiance(density, self.field, hidden, shot)

    def one_launch(self, shot: Shot = UNKNOWN) -> RayRenderer:
        config, unit, prepared = self.config, self.field.unit, self._picture()

        def render(rays: Rays) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            colour, opacity, depth, leaves = render_picture(
                prepared, rays.origins / unit, rays.directions, near=self.box.near / unit,
                early_stop=config.early_stop)
            return colour, opacity, unit * depth, leaves

        return render

    @contextmanager
    def cropped(self, lower: Sequence[float], upper: Sequence[float]) -> Iterator[None]:
        """Within the context nothing is seen but what lies between two corners, to a leaf."""
        thickness = self.field.thickness
        kept, left = thickness.data, self._thickness_between(tuple(lower), tuple(upper))
        thickness.data = left
        try:
            yield
        finally:
            thickness.data = kept

    def parameter_groups(self) -> list[ParameterGroup]:
        """The densities, and the harmonics: both as tables, of which a step touches what its rays meet."""
        names = ("field.thickness", "field.coefficients")
        return [ParameterGroup(name=name, parameters=[table.entries], kind="table", gradient=table.gradient)
                for name, table in zip(names, self.field.tables())]

    @torch.no_grad()
    def _thickness_between(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> Tensor:
        """[8 n, 1]: that of the leaves whose middles lie between two corners, else 0; the last answer is kept."""
        field, thickness = self.field, self.field.thickness
        asked = (lower, upper, thickness.data_ptr(), thickness._version)
        if self._between is None or self._between[0] != asked:
            corner, side = cell_cubes(field.tree)
            middles = field.frame.world_points(corner + side[:, None] / 2)
            inside = ((middles >= middles.new_tensor(lower)) & (middles <= middles.new_tensor(upper))).all(dim=1)
            self._between = asked, torch.where(inside[:, None], thickness, 0.0)
        return self._between[1]

    def _picture(self) -> PreparedOctree:
        """Its tree for pictures; made anew only when a tensor or the runtime has changed."""
        field, running = self.field, runtime.current()
        tensors = (field.child, field.parent_depth, field.thickness, field.coefficients)
        state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        known = _pictures.get(self)
        if known is None or known[0] is not running or known[1] != state:
            prepared = prepare_octree(field.tree, self._frame, field.thickness, field.coefficients,
                                      skip=self.config.skip * field.unit)
            known = _pictures[self] = (running, state, prepared)
        return known[2]

    @property
    def _frame(self) -> Frame:
        """Of a world whose unit of length is that of the field."""
        frame = self.field.frame
        return Frame(frame.offset, tuple(self.field.unit * scale for scale in frame.scale), frame.contracted)

    def _middles(self, rays: Rays, opacity: Tensor, depth: Tensor) -> PackedSamples:
        """A sample of each ray, at its mean distance and as long as the leaf there."""
        with torch.no_grad():
            t = depth / opacity.clamp_min(EMPTY)
            positions = rays.origins + t[:, None] * rays.directions
            index = torch.arange(len(rays), dtype=torch.int32, device=t.device)
            return PackedSamples(positions, t, self.field.sides(positions), index, index, torch.ones_like(index))
