"""What a loaded scene is: cameras, images, splits, and the map from the file's world into the model's box.

    N   cameras of a split        P   pixels of all its images together

Camera to world, OpenGL axes (x right, y up, z back). Pixel centres lie at +0.5: the principal point of a
centred camera is (width / 2, height / 2). Focal lengths and principal points are in pixels. Images are uint8
RGBA, sRGB, straight (not premultiplied) alpha. Model position = rotation (world position - centre) * scale;
the model box is [-aabb_scale / 2, aabb_scale / 2]^3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

PERSPECTIVE, FISHEYE, EQUIRECTANGULAR = 0, 1, 2
LENS_NAMES = {PERSPECTIVE: "perspective", FISHEYE: "fisheye", EQUIRECTANGULAR: "equirectangular"}


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """N cameras; every field's first axis is the camera."""

    camera_to_world: np.ndarray
    """[N, 3, 4] float32: columns right, up, back, position."""
    focal: np.ndarray
    """[N, 2] float32, pixels: along x, along y."""
    principal: np.ndarray
    """[N, 2] float32, pixels from the upper left corner of the upper left pixel."""
    distortion: np.ndarray
    """[N, 6] float32: k1, k2, k3, k4, p1, p2 in the sense of OpenCV; k4 is of the fisheye alone. Of an equirectangular
    picture the first is where its eye is: so far to the right of the middle, wherever it looks."""
    lens: np.ndarray
    """[N] int32: 0 perspective (Brown-Conrady k1 k2 k3 p1 p2), 1 OpenCV fisheye (equidistant, k1..k4); and of pictures
    that are rendered alone 2 equirectangular (`models.panoramas`), whose focal length is in pixels per radian."""
    size: np.ndarray
    """[N, 2] int32: width, height in pixels."""

    def __post_init__(self):
        n = len(self.camera_to_world)
        _coerce(self, "camera_to_world", np.float32, (n, 3, 4))
        for name in ("focal", "principal"):
            _coerce(self, name, np.float32, (n, 2))
        _coerce(self, "distortion", np.float32, (n, 6))
        _coerce(self, "lens", np.int32, (n,))
        _coerce(self, "size", np.int32, (n, 2))

    def __len__(self) -> int:
        return len(self.camera_to_world)

    def subset(self, indices) -> "Cameras":
        """The cameras `indices`: integers, a slice or a mask."""
        indices = _as_index(indices)
        return Cameras(**{f.name: getattr(self, f.name)[indices] for f in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence["Cameras"]) -> "Cameras":
        """The cameras of all parts, one after the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def resized(self, size) -> "Cameras":
        """The same cameras with pictures of `size` ([2] or [N, 2]: width, height); what they see stays."""
        size = np.broadcast_to(np.asarray(size, dtype=np.int32), self.size.shape)
        ratio = size / self.size  # [N, 2]
        return replace(self, focal=self.focal * ratio, principal=self.principal * ratio, size=size)

    def scaled(self, factor: int) -> "Cameras":
        """Pictures smaller by `factor`, rounded down; intrinsics follow new size / old size of each axis."""
        return self.resized(downscaled_size(self.size, factor))

    @property
    def position(self) -> np.ndarray:
        """[N, 3] float32: the camera centres."""
        return self.camera_to_world[:, :, 3]

    @property
    def lens_values(self) -> np.ndarray:
        """[N, 13]: all that makes the lenses, equal where cameras share one."""
        return np.concatenate([self.focal, self.principal, self.distortion, self.lens[:, None], self.size], axis=1)

    @property
    def view_direction(self) -> np.ndarray:
        """[N, 3] float32: where the optical axes point (minus z of each camera)."""
        return -self.camera_to_world[:, :, 2]


@dataclass(frozen=True, kw_only=True)
class Images:
    """The pixels of N images, possibly of different sizes, in one flat buffer.

    Pixel (x, y) of image n is `pixels[offset[n] + y * size[n, 0] + x]`: drawing a random pixel costs the same
    for one image and for thousands.
    """

    pixels: np.ndarray
    """[P, 4] uint8: red, green, blue, straight alpha."""
    offset: np.ndarray
    """[N] int64: the first pixel of each image."""
    size: np.ndarray
    """[N, 2] int32: width, height."""
    names: Sequence[str]
    """N names, without folder and ending."""
    has_alpha: bool = False
    """Whether any pixel is not opaque."""
    allowed: np.ndarray | None = None
    """[A] int32, ascending: the pixels that are trained on and scored; the others lie under a mask. None: all."""

    def __post_init__(self):
        n = len(self.offset)
        _coerce(self, "pixels", np.uint8, (len(self.pixels), 4))
        if self.allowed is not None:
            _coerce(self, "allowed", np.int32, (len(self.allowed),))
        _coerce(self, "offset", np.int64, (n,))
        _coerce(self, "size", np.int32, (n, 2))
        object.__setattr__(self, "names", tuple(self.names))
        if len(self.names) != n:
            raise ValueError(f"names must have {n} entries, got {len(self.names)}")

    @classmethod
    def from_list(cls, images: Sequence[np.ndarray], names: Sequence[str] | None = None,
                  allowed: Sequence[np.ndarray] | None = None) -> "Images":
        """Images from arrays [H, W, 4] uint8 and, where there are masks, [H, W] bool of the pixels they leave."""
        size = np.array([(image.shape[1], image.shape[0]) for image in images], dtype=np.int32).reshape(-1, 2)
        pixels = np.concatenate([np.zeros((0, 4), np.uint8), *(image.reshape(-1, 4) for image in images)])
        names = [f"{n:04d}" for n in range(len(images))] if names is None else names
        has_alpha = bool((pixels[:, 3] < 255).any())
        if allowed is not None:
            allowed = np.flatnonzero(np.concatenate([np.zeros(0, bool), *(mask.reshape(-1) for mask in allowed)]))
        return cls(pixels=pixels, offset=pixel_offsets(size), size=size, names=names, has_alpha=has_alpha,
                   allowed=allowed)

    @classmethod
    def blank(cls, size: np.ndarray, names: Sequence[str]) -> "Images":
        """Images of `size` [N, 2] of which nothing is known, in no memory. Raises ValueError for more than there can
        be."""
        size = np.asarray(size, np.int32).reshape(-1, 2)
        pixels = np.broadcast_to(np.zeros(4, np.uint8), (int(size.astype(np.int64).prod(1).sum()), 4))
        return cls(pixels=pixels, offset=pixel_offsets(size), size=size, names=names)

    def __len__(self) -> int:
        return len(self.offset)

    def image(self, n: int) -> np.ndarray:
        """[H, W, 4] uint8: a view of image n, not a copy."""
        width, height = (int(s) for s in self.size[n])
        start = int(self.offset[n])
        return self.pixels[start : start + width * height].reshape(height, width, 4)

    def allowed_in(self, n: int) -> np.ndarray | None:
        """[H, W] bool: the pixels of image n that no mask covers; None where no image has a mask."""
        if self.allowed is None:
            return None
        width, height = (int(s) for s in self.size[n])
        start = int(self.offset[n])
        first, last = np.searchsorted(self.allowed, (start, start + width * height))
        result = np.zeros(width * height, bool)
        result[self.allowed[first:last] - start] = True
        return result.reshape(height, width)

    @property
    def masked_share(self) -> float:
        """Of all pixels, those under a mask."""
        return 0.0 if self.allowed is None else 1 - len(self.allowed) / max(len(self.pixels), 1)

    def subset(self, indices) -> "Images":
        """The images `indices` (integers, a slice or a mask), copied into a buffer of their own."""
        chosen = np.arange(len(self))[_as_index(indices)]
        allowed = None if self.allowed is None else [self.allowed_in(n) for n in chosen]
        return Images.from_list([self.image(n) for n in chosen], [self.names[n] for n in chosen], allowed)


@dataclass(frozen=True, kw_only=True)
class Points:
    """The P points that structure from motion found, in the file's world."""

    position: np.ndarray
    """[P, 3] float32."""
    colour: np.ndarray | None = None
    """[P, 3] uint8, sRGB."""
    error: np.ndarray | None = None
    """[P] float32: mean distance in pixels, of the images that it was found in, between where a point was seen and
    where the cameras put it."""
    views: np.ndarray | None = None
    """[P] int32: how many images saw the point, of all splits."""

    def __post_init__(self):
        p = len(self.position)
        _coerce(self, "position", np.float32, (p, 3))
        for name, dtype, shape in (
            ("colour", np.uint8, (p, 3)),
            ("error", np.float32, (p,)),
            ("views", np.int32, (p,)),
        ):
            if getattr(self, name) is not None:
                _coerce(self, name, dtype, shape)

    def __len__(self) -> int:
        return len(self.position)


@dataclass(frozen=True, kw_only=True)
class Sightings:
    """Which of the scene's points one view saw, and where."""

    point: np.ndarray
    """[K] int32: indices into `Scene.points`."""
    pixel: np.ndarray
    """[K, 2] float32: pixels to the right and down, of the view's image as it was loaded, before undistortion."""

    def __post_init__(self):
        _coerce(self, "point", np.int32, (len(self.point),))
        _coerce(self, "pixel", np.float32, (len(self.point), 2))

    def __len__(self) -> int:
        return len(self.point)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Cameras with their images; where the scene knows them, depth, normals, times, ids and what it saw of the points.

    What a scene does not know is None.
    """

    name: str
    """`train`, `val` or `test`."""
    cameras: Cameras
    """N cameras in the file's world."""
    images: Images
    """Their N images."""
    paths: Sequence[Path] = ()
    """The N image files; empty for a scene that was computed."""
    depth: Sequence[np.ndarray] | None = None
    """N arrays [H, W] float32: distance along the ray in world units, infinite where it hits nothing, or is unknown."""
    normals: Sequence[np.ndarray] | None = None
    """N arrays [H, W, 3] float32: unit surface normals in the world, zero where the ray hits nothing."""
    time: np.ndarray | None = None
    """[N] float32 in [0, 1]: when each image was taken, of a scene that moves."""
    exposure: np.ndarray | None = None
    """[N] float32: stops of each image's exposure, as its camera says: log2 of shutter time times gain, in any unit."""
    ids: Mapping[str, np.ndarray] = field(default_factory=dict)
    """[N] int32 by name: which images share a latent code (`appearance`, `warp`), which a camera (`camera`)."""
    bounds: np.ndarray | None = None
    """[N, 2] float32: between which distances along its rays, in world units, each view sees something."""
    sightings: Sequence[Sightings] | None = None
    """N views of the scene's points."""
    area_weight: np.ndarray | None = None
    """[N] float32: area of a pixel of each image, as a weight of its error; None: all are equal."""
    scale: np.ndarray | None = None
    """[N] int32: how many times smaller than its original each image is, where a view has images of several sizes."""
    occluded: Sequence[np.ndarray] | None = None
    """N arrays [H, W] bool: where something covers the scene that no other photo shows, of photos that were made so. No
    training looks at it."""
    moving: Sequence[np.ndarray] | None = None
    """N arrays [H, W] bool: where the centre of a pixel shows something that moves, of scenes that know. Scores are
    also given over these pixels."""
    co_seen: Sequence[np.ndarray] | None = None
    """`CoSeenMasks`, N arrays [H, W] bool: where a pixel shows what enough of the training cameras see, of scenes that
    know. Scores are also given over these pixels."""
    carried: float | None = None
    """Part of the squared corrections of the training cameras that those around them foretell, where these cameras were
    carried along with them; 0: they foretell nothing, and these cameras stand where the scene has them."""

    def __post_init__(self):
        n = len(self.cameras)
        for name, shape in (("time", (n,)), ("exposure", (n,)), ("bounds", (n, 2))):
            if getattr(self, name) is not None:
                _coerce(self, name, np.float32, shape)
        ids = {name: np.asarray(values, dtype=np.int32) for name, values in self.ids.items()}
        object.__setattr__(self, "ids", ids)
        if any(values.shape != (n,) for values in ids.values()):
            raise ValueError(f"ids must have shape [{n}]")
        if len(self.images) != len(self.cameras):
            raise ValueError(f"{len(self.images)} images for {len(self.cameras)} cameras")
        if not np.array_equal(self.images.size, self.cameras.size):
            raise ValueError("images and cameras differ in size")
        if self.area_weight is not None:
            _coerce(self, "area_weight", np.float32, (len(self.cameras),))
        if self.scale is not None:
            _coerce(self, "scale", np.int32, (len(self.cameras),))

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def views(self) -> int:
        """How many of its images are not others in a smaller size."""
        return len(self.full_size)

    @property
    def full_size(self) -> np.ndarray:
        """Indices of its images that are not others in a smaller size."""
        return np.arange(len(self)) if self.scale is None else np.flatnonzero(self.scale == self.scale.min(initial=1))

    @property
    def photos(self) -> np.ndarray:
        """[N] int32: the number of the photo that each image is of, in whichever size: of the images of each size the
        n-th are of one, as `every_view` has it."""
        numbers = np.arange(len(self), dtype=np.int32)
        for scale in () if self.scale is None else np.unique(self.scale):
            same = self.scale == scale
            numbers[same] = np.arange(same.sum())
        return numbers

    def subset(self, indices) -> "Split":
        """The views `indices`: integers, a slice or a mask."""
        index = _as_index(indices)
        chosen = np.arange(len(self))[index]

        def pick(values):
            if hasattr(values, "subset"):
                return values.subset(chosen)
            return values if not values else tuple(values[n] for n in chosen)

        return Split(
            name=self.name,
            cameras=self.cameras.subset(index),
            images=self.images.subset(index),
            paths=pick(self.paths),
            depth=pick(self.depth),
            normals=pick(self.normals),
            time=None if self.time is None else self.time[chosen],
            exposure=None if self.exposure is None else self.exposure[chosen],
            ids={name: values[chosen] for name, values in self.ids.items()},
            bounds=None if self.bounds is None else self.bounds[chosen],
            sightings=pick(self.sightings),
            area_weight=None if self.area_weight is None else self.area_weight[chosen],
            scale=None if self.scale is None else self.scale[chosen],
            occluded=pick(self.occluded),
            moving=pick(self.moving),
            co_seen=pick(self.co_seen),
            carried=self.carried,
        )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Splits, and how the file's world maps to the model."""

    name: str
    """For people: the name of the folder."""
    format: str
    """One of `load.FORMATS`, or `built-in`."""
    splits: Mapping[str, Split]
    """The splits that were loaded, of `train`, `val` and `test`."""
    centre: np.ndarray
    """[3] float64: the point of the file's world at the model's origin."""
    scale: float
    """Model units per world unit."""
    aabb_scale: int
    """Side of the model box, a power of two from 1 to 128."""
    near: float
    """Model units: nothing nearer to a camera is sampled."""
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    """[3, 3]: turns the axes of the file's world into those of the model."""
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """[3] float64: what was taken from all positions of the file, where single precision would lose them (UTM); the
    file's world below, and in all splits, is what is left."""
    far: float | None = None
    """Model units: how far from a camera the farthest things that are known of lie; None where that is unknown."""
    forward_facing: bool = False
    """True where all cameras look about the same way: what they see can be had in normalised device coordinates, with
    `near` the distance of the near plane."""
    points: Points | None = None
    """What structure from motion found of the scene; None without."""
    background: str
    """`white` where images have alpha, else `black`."""
    held_out: bool = False
    """True where test images were held out of one list of images, False where the scene brings its splits."""
    bounded: bool = False
    """True where all that is seen lies in the model box: images have alpha, or the format says so."""
    notes: list[str] = field(default_factory=list)
    """What was recognised, in sentences."""
    problems: list[str] = field(default_factory=list)
    """What was left out because it could not be used, and what the user should know although the scene is loaded."""

    def __post_init__(self):
        _coerce(self, "centre", np.float64, (3,))
        _coerce(self, "origin", np.float64, (3,))
        _coerce(self, "rotation", np.float64, (3, 3))
        deviation = np.abs(self.rotation.T @ self.rotation - np.eye(3)).max()
        if not deviation < 1e-6 or np.linalg.det(self.rotation) < 0:
            raise ValueError(f"rotation must be a rotation, got {self.rotation.tolist()}")
        if self.aabb_scale not in (1, 2, 4, 8, 16, 32, 64, 128):
            raise ValueError(f"aabb_scale must be a power of two from 1 to 128, got {self.aabb_scale}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be positive, got {self.scale}")
        if self.background not in ("white", "black"):
            raise ValueError(f"background must be white or black, got {self.background!r}")

    @property
    def cascades(self) -> int:
        """Number of occupancy cascades: cascade k covers [-2^k / 2, 2^k / 2]^3."""
        return int(self.aabb_scale).bit_length()  # 1 + log2

    @property
    def half_side(self) -> float:
        """The model box is [-half_side, half_side]^3."""
        return 0.5 * self.aabb_scale

    @property
    def pixels_per_unit(self) -> float:
        """How many pixels a model unit at the origin spans: the median training image of full size.

        A camera nearer than half the side of the base cube counts as so far; infinite without training images.
        """
        split = self.splits.get("train")
        if split is None or len(split) == 0:
            return np.inf
        cameras = self.model_cameras(split.cameras)
        distance = np.linalg.norm(cameras.position, axis=-1).clip(min=0.5)
        full = slice(None) if split.scale is None else split.scale == split.scale.min()
        return float(np.median((cameras.focal.mean(axis=-1) / distance)[full]))

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """World positions [..., 3] in model units."""
        moved = (np.asarray(points, dtype=np.float64) - self.centre) * self.scale
        return (moved @ self.rotation.T).astype(np.float32)

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Model positions [..., 3] in world units."""
        turned = np.asarray(points, dtype=np.float64) @ self.rotation
        return (turned / self.scale + self.centre).astype(np.float32)

    def model_cameras(self, cameras: "Cameras | str") -> Cameras:
        """The cameras, or the cameras of the split of that name, turned, moved and scaled into model space."""
        if isinstance(cameras, str):
            cameras = self.splits[cameras].cameras
        axes = self.rotation @ cameras.camera_to_world[:, :, :3].astype(np.float64)
        position = self.to_model(cameras.position)
        return replace(cameras, camera_to_world=np.concatenate([axes, position[:, :, None]], axis=2))

    def world_cameras(self, cameras: Cameras) -> Cameras:
        """The inverse of `model_cameras`: cameras in model space, in the world of the scene's file."""
        axes = self.rotation.T @ cameras.camera_to_world[:, :, :3].astype(np.float64)
        position = self.to_world(cameras.position)
        return replace(cameras, camera_to_world=np.concatenate([axes, position[:, :, None]], axis=2))


def every_view(scale: np.ndarray | None, count: int, k: int) -> np.ndarray:
    """Indices, of `count` images with these scales, of every k-th of each scale: so a view keeps all its images."""
    numbers = np.arange(count)
    if scale is None:
        return numbers[::k]
    return np.sort(np.concatenate([numbers[scale == s][::k] for s in np.unique(scale)]))


def downscaled_size(size, factor: int) -> np.ndarray:
    """[..., 2] int32: `size` divided by `factor`, rounded down, at least one pixel."""
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    return np.maximum(np.asarray(size, dtype=np.int32) // int(factor), 1)


def pixel_offsets(size: np.ndarray) -> np.ndarray:
    """[N] int64: where each image of `size` [N, 2] starts when all are laid one after the other."""
    counts = size.astype(np.int64).prod(axis=-1)
    return np.cumsum(counts) - counts


def _coerce(target, name: str, dtype, shape: tuple[int, ...]):
    """Make the field an array of this type; refuse another shape, and numbers that the type does not have."""
    try:
        with np.errstate(invalid="raise"):
            value = np.asarray(getattr(target, name), dtype=dtype)
    except (OverflowError, FloatingPointError):
        raise ValueError(f"{name} must be of type {np.dtype(dtype)}, and holds larger numbers or none") from None
    if value.shape != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, got {list(value.shape)}")
    object.__setattr__(target, name, value)


def _as_index(indices):
    if isinstance(indices, slice):
        return indices
    indices = np.asarray(indices)
    return indices if indices.dtype == bool else indices.astype(np.int64).reshape(-1)
