"""Which scene a run is of, and how it is loaded: the options of every reader of scenes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from .settings import LARGEST, require, within

SceneFormat = Literal["blender", "nerfies", "phototourism", "nsvf", "mega-nerf", "transforms", "colmap", "llff",
                      "multiscale"]
Perturbation = Literal["colour", "occluders", "both"]
Orientation = Literal["up", "pca", "none"]
BUILTIN, STILL_LIFE = "builtin:", "still-life"  # how the path of a built-in scene begins; the one without a path
DEFAULT_TEST_EVERY = 8
FARTHEST = 1e12  # of a position in a file from its origin


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Which scene a run is of, and how it is loaded."""

    path: Annotated[Positional[str | None], arg(metavar="[SCENE]")] = None
    """Folder of the scene, or its transforms file, or builtin:still-life, builtin:satin, builtin:open-field,
    builtin:crowd, builtin:moving, builtin:moving-rig, builtin:street."""
    downscale: Annotated[int, arg(metavar="N")] = 1
    """Make the images smaller by this factor."""
    scales: Annotated[int, arg(metavar="N")] = 1
    """Train and score on each view at so many sizes: as it is, 1/2, 1/4, ..., all in one pool; a pixel weighs as much
    as its area. mip-NeRF's multi-scale data are --scales 4."""
    test_every: Annotated[int | None, arg(metavar="K")] = None
    """Score every K-th test view or, in a format without splits, hold out every K-th image; 0: none. By default 8, and
    every test view of a built-in scene."""
    background: Literal["white", "black"] | None = None
    """Colour behind what is transparent; by default white where images have alpha."""
    format: SceneFormat | None = None
    """What the scene is read as, where its folder could be several; by default the first of these that it is."""
    orient: Orientation | None = None
    """Turn the scene: up: z up by the cameras' horizon; pca: z where the cameras are spread least; none: the axes of
    the file. By default none where the format fixes the axes (all but colmap, llff and phototourism), else up."""
    axes: Literal["opengl", "opencv"] = "opengl"
    """What x, y and z of cameras in transforms files are; opengl: right, up, back; opencv: right, down, forward."""
    world_to_camera: bool = False
    """The matrices of transforms files are world to camera."""
    skip_missing: bool = False
    """Leave out images that are not there. A few are left out in any case, with a warning."""
    exposure: Annotated[float, arg(metavar="STOPS")] = 0.0
    """Make images of more than 8 bits (16-bit PNG, OpenEXR, Radiance) brighter by as many stops."""
    alpha: Literal["auto", "background", "mask"] = "auto"
    """What a transparent pixel is: the background seen, or left out of training and scores; auto: the background where
    an object stands before it, left out where a few pixels are transparent, or empty corners."""
    masks: bool = True
    """Leave out of training and scores what the masks of the scene cover."""
    cut_out: bool = False
    """Take what the masks of an object cover for empty instead: the object stands alone before the background, and its
    outline tells its shape. Masks of moving things (dynamic_mask_*) still leave out."""
    cache: Literal["auto", "memory", "disk"] = "auto"
    """Where the decoded images are kept; auto: on disk, beside the scene, if they need more than half of the memory."""
    block: Annotated[tuple[float, float, float, float] | None, arg(metavar="X Y Z R")] = None
    """Only the views whose cameras stand within R of the place X Y Z, in units of the scene's file. --blocks gives each
    of its models one."""
    perturb: Perturbation | None = None
    """Make training images worse, as the study of NeRF in the Wild does: each but the first gets colours of its own, a
    striped square before the scene, or both. Test images stay clean."""

    def __post_init__(self):
        require(-64 <= self.exposure <= 64, f"exposure must be from -64 to 64 stops, got {self.exposure}")
        within(self, 1, LARGEST, "downscale")
        require(self.masks or not self.cut_out, "cut-out needs the masks that no-masks leaves unread: use one of them")
        within(self, 1, 8, "scales")
        within(self, 0, LARGEST, "test_every")
        within(self, -FARTHEST, FARTHEST, "block")
        require(self.block is None or self.block[3] > 0, f"block must end in a radius above 0, got {self.block}")

    @property
    def builtin(self) -> str | None:
        """Name of the built-in scene that it is; none: it comes from a path."""
        if self.path is None:
            return STILL_LIFE
        return self.path.removeprefix(BUILTIN) if self.path.startswith(BUILTIN) else None

    @property
    def test_interval(self) -> int:
        """`test_every`, or what it is by default."""
        if self.test_every is not None:
            return self.test_every
        return DEFAULT_TEST_EVERY if self.builtin is None else 1
