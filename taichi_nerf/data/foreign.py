"""What people give instead of a scene, and what to do with it: photos, a video, exports of capturing programs."""

from pathlib import Path

from ..output import quoted
from .opening import is_picture

VIDEO_ENDINGS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mts", ".mpg", ".mpeg", ".wmv", ".3gp"}
PHONE_ENDINGS = {".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
_FEWEST_PHOTOS = 3


def is_video(path: Path) -> bool:
    """Whether the name says that the file is a video."""
    return path.suffix.lower() in VIDEO_ENDINGS


def export_of(folder: Path) -> str | None:
    """What to do with a folder that a capturing program exported, which is not read as it is; None for others."""
    if (folder / "rgbd").is_dir() and any((folder / name).is_file() for name in ("metadata", "metadata.json")):
        return (f"{folder} is an export of Record3D, which is not read as it is; convert it with nerfstudio's "
                "ns-process-data record3d or instant-ngp's scripts/record3d2nerf.py, or find the cameras of its photos "
                f"with: {_process(folder / 'rgbd')}")
    for place in (folder, folder / "keyframes"):
        images = next((place / name for name in ("corrected_images", "images") if (place / name).is_dir()), None)
        if images is not None and any((place / name).is_dir() for name in ("cameras", "corrected_cameras")):
            return (f"{folder} is a raw export of Polycam, which is not read as it is; convert it with nerfstudio's "
                    f"ns-process-data polycam, or find the cameras of its photos with: {_process(images)}")
    return None


def advice_on_pictures(folder: Path) -> str | None:
    """What to do with a folder of photos or of a video, also in its folders; None where there are none."""
    for place in (folder, folder / "images", *_folders(folder)):
        photos = sum(is_picture(path) or path.suffix.lower() in PHONE_ENDINGS for path in _files(place))
        if photos >= _FEWEST_PHOTOS:
            source = folder if place.parent == folder and place.name != "images" else place
            return f"{place} holds {photos} photos without poses; find their cameras with: {_process(source)}"
    video = next((path for path in _files(folder) if is_video(path)), None)
    return None if video is None else advice_on_video(video)


def advice_on_video(path: Path) -> str:
    """What to do with a video."""
    return f"{path} is a video; make a scene of its frames with: {_process(path)}"


def _process(source: Path) -> str:
    return f"taichi-nerf process {quoted(source)} -o SCENE"


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []
