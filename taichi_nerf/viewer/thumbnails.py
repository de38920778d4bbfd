"""Small pictures for the cameras that are drawn: the images where they are at hand, else what the model shows there."""

import numpy as np
from PIL import Image

from ..data.scene import Scene
from ..pictures import to_uint8
from .face import Page
from .look import Shown
from .studio import Studio

__all__ = ["put_images", "rendered_thumbnails"]


def put_images(page: Page, scene: Scene, background: float) -> None:
    """Those of a scene with its images, over a grey background."""
    for camera, look in page.cameras.without_thumbnail():
        split, number = camera
        rgba = Image.fromarray(scene.splits[split].images.image(number)).resize(look.window, Image.BOX)
        colour, alpha = np.split(np.asarray(rgba, np.float32) / 255, [3], axis=2)
        page.cameras.put_thumbnail(camera, to_uint8(colour * alpha + (1 - alpha) * background))


def rendered_thumbnails(page: Page, studio: Studio):
    """What renders one after the other, a call each, and says whether there was one left."""
    left = page.cameras.without_thumbnail()

    def render_one() -> bool:
        camera, look = next(left, (None, None))
        if camera is not None:
            shown = Shown(background=studio.shown.background)
            page.cameras.put_thumbnail(camera, studio.door.picture(look, shown, look.window, lambda: False).image)
        return camera is not None

    return render_one
