"""Scenes from disk: cameras, images, and how they map to the model's box."""

from .load import load_scene as load_scene
from .multiscale import with_scales as with_scales
from .scene import FISHEYE as FISHEYE
from .scene import PERSPECTIVE as PERSPECTIVE
from .scene import Cameras as Cameras
from .scene import Images as Images
from .scene import Scene as Scene
from .scene import Split as Split
