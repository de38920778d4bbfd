"""`taichi-nerf export`: a trained field as a mesh, as points, on a grid, or as depth pictures, for other programs."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..config import LARGEST, SettingError, system_of, within
from ..errors import UserError
from ..output import quoted, result, say
from ..progress import Progress
from .options import Common, check_unit, make_folder
from .splats import export_splats, lights_differ

if TYPE_CHECKING:
    import numpy as np

    from ..data.scene import Cameras
    from ..query import Field
    from ..training.folder import RunFolder
    from ..training.splats import PlainPhotos

What = Literal["mesh", "points", "splats", "volume", "depth"]
BYTES_A_RAY = 64  # of points, before they are merged, and what sorts them
BYTES_A_PIXEL = 32  # of a view that a mesh is made of
TURN = 30  # views around an object that stands alone, besides those of training
WORTH_SAYING = 0.3  # share of the rays that give no point
FOOTPRINT = 0.75  # of a voxel, that a pixel of these sees
OF = {"mesh": ("resolution", "box", "faces", "colour", "colours_from", "density", "front", "close"),
      "points": ("resolution", "box", "front", "rays"),
      "splats": ("box", "rays", "count", "degree", "seconds", "steps"),
      "volume": ("resolution", "box"),
      "depth": ("views", "exr", "every")}  # options that have an effect on it, besides those that have one on all
LONGEST = 1024  # pixels along a side of one
PICTURE = 640  # pixels along the longer side of that of the result
SUFFIXES = {"mesh": (".glb", ".obj", ".ply", ".stl"), "points": (".ply", ".las"), "splats": (".ply",),
            "volume": (".npz", ".vdb"), "depth": ("",)}
DEFAULT_NAME = {"mesh": "mesh.glb", "points": "points.ply", "splats": "splats.ply", "volume": "volume.npz",
                "depth": "depth"}


@dataclass(frozen=True, kw_only=True)
class Export(Common):
    """Write a trained field as what other programs open: a mesh, points, depth pictures.

    Coordinates are those of the scene's file, or metres with --unit. Try `taichi-nerf export runs/lego-20260101-120000
    -o lego.glb`, and `taichi-nerf info lego.glb`.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder that train wrote."""
    what: What = "mesh"
    """mesh: the surface that the training views see, and what a turn around an object that stands alone adds; points:
    those that the training views see, with colour, normal and confidence, one a voxel; splats: 3D Gaussians for viewers
    of splats, fitted to the training images for --seconds; depth: a 16-bit PNG for each view of --views, with its
    camera beside it as JSON; volume: density, colour and occupancy on a grid."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE|DIR")] = None
    """A new file, whose ending says its format: of a mesh .glb, .obj, .ply or .stl, of points .ply or .las, of splats
    .ply, of a volume .npz or, where the Python module of OpenVDB is installed, .vdb; of depth pictures a new folder. By
    default in RUN/export."""
    resolution: Annotated[int, arg(metavar="N")] = 256
    """Voxels along the longest side of the box."""
    box: Annotated[tuple[float, float, float, float, float, float] | None, arg(metavar="X0 Y0 Z0 X1 Y1 Z1")] = None
    """Two corners of a box around the object, in the units of the scene's file: nothing outside of it is exported. By
    default all that a bounded scene has; others, whose pictures have no alpha, do not say what the object is."""
    unit: Annotated[float | None, arg(metavar="METRES")] = None
    """How many metres a unit of the scene's file has: what is written is then in metres."""
    faces: Annotated[int, arg(metavar="N")] = 50_000
    """Of a mesh: triangles at the most. An atlas of twice as many takes four times as long."""
    colour: Literal["texture", "vertex", "none"] = "texture"
    """Of a mesh: as a texture around it, as a colour of each corner, or not at all. PLY has no textures, and gets
    colours of the corners; STL has neither."""
    colours_from: Literal["photos", "field"] | None = None
    """Of a mesh: photos: blended from the training images that see a place best, as sharp as they are; field: from what
    the field shows, which knows no image that is missing or bad. By default photos, where they can be read and all have
    one light and one time."""
    density: Annotated[float | None, arg(metavar="LEVEL")] = None
    """Make the mesh where the density has this value, per unit of the scene's file, instead of where the cameras see
    surfaces: fog becomes lumps, and what nobody saw is not left out."""
    front: Annotated[float | None, arg(metavar="SHARE")] = None
    """Of meshes and points: how much of a ray's opacity lies in front of the surface, above 0 and below 1. By default
    0.15 of objects that stand alone, in images with alpha, and 0.5 of all else, where fog would become part of the
    surface; that lies a little too deep for it."""
    close: bool = False
    """Make the mesh a solid without holes, for printing: what no camera saw counts as inside, and the box cuts it off,
    so that a table that was seen from above has a foot below."""
    rays: Annotated[int, arg(metavar="N")] = 1_000_000
    """Of points and splats: about so many rays at the most, spread over all training views."""
    count: Annotated[int, arg(metavar="N")] = 50_000
    """Of splats: Gaussians at the most."""
    degree: Annotated[int, arg(metavar="0|1|2|3")] = 2
    """Of splats: how finely their colours know the direction in which they are seen."""
    seconds: float = 60.0
    """Of splats: for how long they are fitted to the training images."""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """Of splats: the same in steps; 0: they stay as the field makes them."""
    views: Annotated[str, arg(metavar="train|val|test|orbit|FILE.json")] = "train"
    """Of depth pictures: the poses of a split, those around the scene, or those of a camera-path file."""
    exr: bool = False
    """Write depth pictures as EXR, whose values are units, or metres with --unit."""
    every: Annotated[int, arg(metavar="K")] = 1
    """Of depth pictures: every K-th view."""
    time: Annotated[float | None, arg(metavar="T")] = None
    """Of a model that knows the time, where it has to be given: which moment is exported, from 0 to 1."""

    def __post_init__(self):
        within(self, 8, 2048, "resolution")
        within(self, 1, LARGEST, "rays")
        within(self, 1, LARGEST, "every")
        within(self, 1, LARGEST, "count")
        within(self, 0, 3, "degree")
        within(self, 0, LARGEST, "steps")
        if not 0 <= self.seconds < math.inf:
            raise SettingError(f"seconds must be at least 0, got {self.seconds:g}")
        within(self, 4, LARGEST, "faces")
        if self.front is not None and not 0 < self.front < 1:
            raise SettingError(f"front must be above 0 and below 1, got {self.front:g}")
        if self.density is not None and not 0 < self.density < math.inf:
            raise SettingError(f"density must be above 0, per unit of the scene's file, got {self.density:g}")
        check_unit(self.unit)
        if self.time is not None and not 0 <= self.time <= 1:
            raise SettingError(f"time must be from 0 to 1, got {self.time:g}")
        if self.box is not None and not all(math.isfinite(low) and math.isfinite(high) and low < high
                                            for low, high in zip(self.box[:3], self.box[3:])):
            raise SettingError("box must be two corners, the first the lower one along each axis, got "
                               + " ".join(f"{value:g}" for value in self.box))


def export(command: Export) -> int:
    """`taichi-nerf export`"""
    from ..training.folder import RunFolder

    run = RunFolder.open(command.run)
    _check_time(command, run)
    output = _output(command, run.path)
    _mention_idle(command)
    from .. import query, runtime

    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    field = query.open(run.path)
    write = {"mesh": _mesh, "points": _points, "splats": _splats, "volume": _volume, "depth": _depth}[command.what]
    write(command, field, output)
    return 0


def _mention_idle(command: Export) -> None:
    """Say which of the options that are given have no effect on what is exported."""
    default = {field.name: field.default for field in fields(command)}
    idle = [name for name in dict.fromkeys(sum(OF.values(), ()))
            if name not in OF[command.what] and getattr(command, name) != default[name]]
    if idle:
        whose = ("of " + " and ".join(what for what in OF if name in OF[what]) for name in idle)
        say(f"taichi-nerf: no effect with --what {command.what}: "
            + ", ".join(f"--{name.replace('_', '-')} ({of})" for name, of in zip(idle, whose)))


def _mesh(command: Export, field: "Field", output: Path) -> None:
    from ..data.placement import up_axis
    from ..export import mesh as meshes
    from ..export.mesh_files import moved, write_mesh
    from ..export.photo_views import in_reserve, photo_views
    from ..export.surface import box_of
    from ..export.texture import textured
    from ..export.view_colours import vertex_colours

    box, kind = box_of(field, _box(command, field)), _colour(command, output)
    if kind == "none" and command.colours_from is not None:
        say("no effect with --colour none: --colours-from")
    photos = None if kind == "none" else _photos(command, field)  # before anything takes long
    views = _views(command, field, box)
    grid = meshes.grid_around(views, box, command.resolution)
    _say_memory(meshes.BYTES_A_VOXEL * math.prod(grid.shape), "a grid of {} x {} x {} places".format(*grid.shape),
                "use a smaller --resolution")
    with Progress("surface") as line:
        if command.density is None:
            distance, weight = meshes.distance_grid(grid, views, _left(line))
            known = meshes.known_enough(weight, len(views))
        else:
            known = None
            distance = meshes.density_grid(grid, field, command.density, command.time, _left(line, "layers"))
        if command.close:
            distance, known = meshes.closed(distance, known), None
        mesh = meshes.mesh_of(grid, distance, known)
        mesh, dropped = meshes.without_small_parts(mesh)
        found = len(mesh.faces)
        if command.density is None:
            mesh = meshes.with_even_normals(meshes.simplified(meshes.smoothed(mesh), command.faces))
        else:
            mesh = meshes.simplified(mesh, command.faces)
        holes = mesh.holes
        solids = "" if holes else mesh.solids
    texture = colour = at = None
    if photos is not None:
        with Progress("photos") as line:
            shown = photo_views(mesh, photos.cameras, [photo.numpy() for photo in photos.rgba],
                                [None if mask is None else mask.numpy() for mask in photos.counted], views, grid.cell,
                                longest=LONGEST, on_view=_left(line, "photos"))
            views = [*shown, *in_reserve(views[len(photos):])]  # those of the turn
    if kind == "texture":
        with Progress("texture") as line:
            mesh, texture = textured(mesh, views, grid.cell, _left(line, "texels"))
        at = _painter(mesh, lambda corner, share: texture.at((texture.uv[corner] * share).sum(axis=1)))
    elif kind == "vertex":
        colour = vertex_colours(mesh, views, grid.cell)
        at = _painter(mesh, lambda corner, share: (colour[corner] * share).sum(axis=1))
    up = up_axis(field.scene.splits["train"].cameras.camera_to_world)
    make_folder(output.parent)
    write_mesh(output, moved(mesh, field.scene.origin, command.unit or 1.0), texture=texture, colour=colour, up=up)
    picture = _picture(output, lambda camera, draw: draw.picture_of_triangles(mesh.vertices, mesh.faces, at, camera),
                       field)
    say(f"{dropped} small part{'s' * (dropped != 1)} dropped, {found} triangles simplified to {len(mesh.faces)}, "
        + (f"open along {holes} rim{'s' * (holes != 1)}, the longest where no camera looked (--close fills them)"
           if holes else f"closed, {solids}"))
    result(f"a mesh of {len(mesh.faces)} triangles in {_unit_name(command)}, {output.stat().st_size / 1e6:.1f} MB: "
           f"{quoted(output)}, picture {quoted(picture)}")


def _painter(mesh, blend):
    """Colours of places in triangles [M], with shares of their corners [M, 3]; `blend` takes corners [M, 3] and shares
    [M, 3, 1]."""
    return lambda face, share: blend(mesh.faces[face], share[..., None])


def _volume(command: Export, field: "Field", output: Path) -> None:
    from ..export.surface import box_of
    from ..export.volume import BYTES_A_PLACE, grid_in, write_volume

    grid = grid_in(box_of(field, _box(command, field)), command.resolution)
    what = "a grid of {} x {} x {} places".format(*grid.shape)
    _say_memory(BYTES_A_PLACE[output.suffix.lower()] * math.prod(grid.shape), what, "use a smaller --resolution")
    make_folder(output.parent)
    with Progress("asking") as line:
        occupied = write_volume(output, field, grid, scale=command.unit or 1.0, time=command.time,
                                on_layer=_left(line, "layers"))
    result(f"{what}, {100 * occupied:.1f} % occupied, in {_unit_name(command)}: {quoted(output)}")


def _views(command: Export, field: "Field", box: "np.ndarray") -> list:
    """What the training cameras see, and those on a turn around an object that stands alone, in pictures as fine as the
    voxels. In a room, or before a facade, a turn would go through walls, and see what no photo shows."""
    import numpy as np

    from .. import paths
    from ..data.scene import Cameras
    from ..export.surface import pinhole, share_in_front, surface_views

    scene = field.scene
    cell = float((box[1] - box[0]).max()) / command.resolution
    cameras = scene.splits["train"].cameras
    if scene.bounded:
        cameras = Cameras.joined([cameras, scene.world_cameras(paths.orbit(scene, TURN))])
    away = float(np.median(np.linalg.norm(cameras.position - box.mean(axis=0), axis=1)))
    cameras = pinhole(cameras, away / (FOOTPRINT * cell * float(np.median(cameras.focal))), LONGEST)
    _say_memory(BYTES_A_PIXEL * int(cameras.size.astype(np.int64).prod(axis=1).sum()),
                f"{len(cameras)} views of up to {cameras.size.max()} pixels", "use a smaller --resolution")
    with Progress("looking") as line:
        return list(surface_views(field, cameras, reach=2 * cell, share=command.front or share_in_front(field.scene),
                                  time=command.time, on_view=_left(line)))


def _photos(command: Export, field: "Field") -> "PlainPhotos | None":
    """Those that a mesh is coloured from; None: it is from the field. Raises UserError where photos are asked for that
    cannot be had."""
    from ..export.surface import pinhole
    from ..training.folder import RunFolder
    from ..training.splats import plain_photos

    run = RunFolder.open(command.run)
    differ = _why_photos_differ(run)
    if command.colours_from == "field" or (command.colours_from is None and differ):
        return None
    if differ:
        raise UserError(f"--colours-from photos does not go with {run.path}, {differ}; leave it out")
    cameras = field.scene.splits["train"].cameras  # as the training refined them
    size = pinhole(cameras, longest=LONGEST).size
    try:
        _say_memory(BYTES_A_PIXEL * int(size.astype("int64").prod(axis=1).sum()),
                    f"{len(cameras)} photos of up to {size.max()} pixels", "give --colours-from field")
        return plain_photos(replace(run.training_scene().splits["train"], cameras=cameras))
    except UserError as error:
        if command.colours_from is not None:
            raise
        say(f"the mesh is coloured from the field, since its photos cannot be had: {error}")
        return None


def _why_photos_differ(run: "RunFolder") -> str:
    """Nothing where its photos show one light and one time."""
    if system_of(run.config.model).moves:
        return "whose photos are of other times"
    if lights_differ(run):
        return "whose photos have lights or exposures of their own"
    return ""


def _say_memory(needed: int, what: str, remedy: str) -> None:
    """Before it is taken. Raises UserError where there is not so much."""
    from .. import runtime

    runtime.require_memory(needed, what, remedy)
    say(f"memory: {needed / 2**20:.0f} MiB for {what}")


def _points(command: Export, field: "Field", output: Path) -> None:
    from ..export.point_files import write_points
    from ..export.points import surface_points

    box = _box(command, field)
    _say_memory(BYTES_A_RAY * command.rays, f"at most {command.rays} rays", "use fewer --rays")
    voxel = _side(field, box) / command.resolution
    with Progress("looking") as line:
        points = surface_points(field, field.scene.splits["train"].cameras, rays=command.rays, voxel=voxel, box=box,
                                share=command.front, time=command.time, on_view=_left(line))
    make_folder(output.parent)
    unit = command.unit or 1.0
    write_points(output, points.moved(field.scene.origin, unit))
    picture = _picture(output, lambda camera, draw: draw.picture_of_points(points.position, points.colour, voxel,
                                                                           camera), field)
    if points.unsure > WORTH_SAYING:
        say(f"{100 * points.unsure:.0f} % of the rays that meet something gave no point, as they meet nothing that is "
            "sharp to two voxels; a smaller --resolution, or more training, keeps more")
    result(f"{len(points)} points, one in a voxel of {voxel * unit:.4g} {_unit_name(command)}: {quoted(output)}, "
           f"picture {quoted(picture)}")


def _splats(command: Export, field: "Field", output: Path) -> None:
    from ..training.folder import RunFolder

    export_splats(RunFolder.open(command.run), field, output, _beside(output), count=command.count,
                  degree=command.degree, steps=command.steps, seconds=command.seconds, rays=command.rays,
                  box=_box(command, field), unit=command.unit, time=command.time)


def _depth(command: Export, field: "Field", output: Path) -> None:
    from ..export.depth import write_depth

    cameras = _cameras(command, field)
    make_folder(output)
    with Progress("looking") as line:
        step = write_depth(output, field, cameras, unit=command.unit, exr=command.exr, time=command.time,
                           on_view=_left(line))
    result(f"{len(cameras)} depth pictures, a step being at most {step:g} {_unit_name(command)}: {quoted(output)}")


def _cameras(command: Export, field: "Field") -> "Cameras":
    """Of --views, in the world of the splits."""
    from .. import paths

    scene, views = field.scene, command.views
    if views in ("train", "val", "test"):
        return scene.world_cameras(paths.of_split(scene, views, command.every))
    if views == "orbit":
        return scene.world_cameras(paths.orbit(scene, 60)).subset(slice(None, None, command.every))
    return scene.world_cameras(paths.from_json(views, scene)).subset(slice(None, None, command.every))


def _box(command: Export, field: "Field") -> "np.ndarray | None":
    """[2, 3] in the world of the splits, if one is asked for. Raises UserError where the field knows nothing of it."""
    import numpy as np

    if command.box is None:
        return None
    box, known = np.reshape(command.box, (2, 3)), field.box
    if not ((box[0] < known[1]) & (known[0] < box[1])).all():
        raise UserError(f"--box has nothing of what {command.run} can show, which lies between "
                        f"{' and '.join(' '.join(f'{value:.4g}' for value in corner) for corner in known)}; give "
                        "another one")
    return box - field.scene.origin


def _side(field: "Field", box: "np.ndarray | None") -> float:
    """The longest of the box; else that of the model's base cube."""
    return 1 / field.scene.scale if box is None else float((box[1] - box[0]).max())


def _left(line: Progress, what: str = "views"):
    def told(done: int, total: int):
        line.show(done / total, f"{done} of {total} {what}, {line.left(done / total)}")

    return told


def _picture(output: Path, draw, field: "Field") -> Path:
    """The file of a picture beside `output`, which `draw(camera, module of painters)` makes."""
    from .. import paths
    from ..export import preview
    from ..export.surface import pinhole
    from ..pictures import write_png

    scene, beside = field.scene, _beside(output)
    if scene.bounded:
        camera = scene.world_cameras(paths.orbit(scene, 8, size=(PICTURE, PICTURE))).subset([1])
    else:  # from where a photo was taken: anywhere else something may stand before the camera
        cameras = scene.splits["train"].cameras
        camera = cameras.subset([len(cameras) // 2])
        camera = pinhole(camera, PICTURE / camera.size.max())
    return write_png(beside, draw(camera, preview))


def _beside(output: Path) -> Path:
    """The picture of what is written; an OBJ has a texture of its own name."""
    return output.with_name(f"{output.stem}-picture.png")


def _unit_name(command: Export) -> str:
    return "metres" if command.unit else "units of the scene's file"


def _check_time(command: Export, run: "RunFolder") -> None:
    kind, moves = run.config.model.kind, system_of(run.config.model).moves
    if moves and command.time is None:
        raise UserError(f"{run.path} is a run of {kind}, whose scene moves; say with --time which moment is exported")
    if command.time is not None and not moves:
        raise UserError(f"{run.path} is a run of {kind}, which knows no time; leave --time out")


def _output(command: Export, run: Path) -> Path:
    """The new file or folder. Raises UserError where it cannot be, or its format is none of what is exported."""
    from ..export.libraries import openvdb
    from ..training.folder import check_output

    views = command.views
    if views not in ("train", "val", "test", "orbit") and Path(views).suffix.lower() != ".json":
        raise UserError(f"--views {views} is no camera path; give train, val, test, orbit or a .json file")
    output = command.output or run / "export" / DEFAULT_NAME[command.what]
    suffixes = SUFFIXES[command.what]
    if output.suffix.lower() not in suffixes:
        wanted = " or ".join(suffixes) if suffixes != ("",) else "no ending, since it is a folder"
        raise UserError(f"--output {output} is no format of {command.what}, which have {wanted}; give such a name")
    if output.exists() and (output.is_file() or suffixes != ("",)):
        raise UserError(f"{output} exists; choose another --output")
    beside = [_beside(output)] if command.what in ("mesh", "points", "splats") else []
    if output.suffix.lower() == ".obj" and _colour(command, output) == "texture":
        from ..export.mesh_files import material_name  # which loads PyTorch

        beside += [output.with_name(f"{material_name(output)}{end}") for end in (".mtl", ".jpeg")]
    for file in beside:
        if file.exists():
            raise UserError(f"{file} exists, where what goes with {output.name} would be written; choose another "
                            "--output")
    check_output(output)
    if output.suffix.lower() == ".vdb":
        openvdb()
    if command.what == "mesh" and output.suffix.lower() == ".stl" and command.colour == "vertex":
        raise UserError(f"--colour vertex does not go with {output}: STL has no colours; give a .glb, .obj or .ply, or "
                        "leave it out")
    return output


def _colour(command: Export, output: Path) -> str:
    """Of a mesh in `output`: STL has none, and PLY no texture."""
    if output.suffix.lower() == ".stl" or command.colour == "none":
        return "none"
    return "vertex" if output.suffix.lower() == ".ply" else command.colour
