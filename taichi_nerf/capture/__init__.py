"""From photographs or a video to a scene: which pictures, where their cameras stood, and how far that can be trusted.

    photos, video      pictures in one folder, the sharpest ones
    reconstruction     features, matches and poses, by pycolmap
    diagnosis          why a picture has no pose, and what looks wrong about the whole
    process            all of it, into a folder that `load_scene` reads
"""

from .process import CAMERA_MODELS as CAMERA_MODELS
from .process import Processed as Processed
from .process import process as process
