"""What is shown of the model, by all who look."""

import itertools
from collections.abc import Callable

import numpy as np
import viser

from ..look import WHATS, Shown
from ..studio import Studio

__all__ = ["PicturePanel"]

SIDES = (128, 2048)  # of a picture, least and most that can be chosen
STEPS = 200  # of the slider of a side of the crop box
COLOUR = (220, 60, 60)
EDGES = np.array([pair for pair in itertools.combinations(itertools.product((False, True), repeat=3), 2)
                  if sum(a != b for a, b in zip(*pair)) == 1])  # [12, 2, 3] whether the end of an edge is the upper one


class PicturePanel:
    """The folders of the picture and of the crop box."""

    def __init__(self, server: viser.ViserServer, studio: Studio, half_side: float):
        """`half_side` of the box of the model, which is the largest to crop to."""
        self.server, self.studio, self.half_side = server, studio, half_side
        self.drawn: Callable[[], bool] = lambda: False
        """Whether something else is drawn among the pictures, which then bring distances."""
        self.folder = server.gui.add_folder("Picture", order=1)
        with self.folder:
            self._make_picture_controls()
        if studio.door.can_crop:
            with server.gui.add_folder("Crop box", order=3, expand_by_default=False):
                self._make_crop_controls()

    def show(self, event=None) -> None:
        """Tell the studio what is to be seen."""
        crop = self._drawn_crop() if self.studio.door.can_crop else None
        self.studio.show(Shown(what=self._what.value, crop=crop, distances=crop is not None or self.drawn(),
                               background=tuple(value / 255 for value in self._background.value)))

    def _make_picture_controls(self):
        gui, studio = self.server.gui, self.studio
        whats = [what for what in WHATS if what != "normals" or studio.door.has_normals]
        self._what = gui.add_dropdown("show", whats, order=1)
        grey = tuple(round(255 * value) for value in studio.shown.background)
        self._background = gui.add_rgb("background", grey, order=2)
        side = gui.add_slider("resolution", min=SIDES[0], max=SIDES[1], step=32, initial_value=studio.max_side, order=4,
                              hint="Pixels of the longer side of a picture at most.")
        self._what.on_update(self.show)
        self._background.on_update(self.show)

        @side.on_update
        def _(event):
            studio.bound(side.value)

    def _make_crop_controls(self):
        gui, half = self.server.gui, self.half_side
        self._cropping = gui.add_checkbox("crop", False, hint="What lies outside of the box is not shown.")
        self._box = [gui.add_multi_slider(axis, min=-half, max=half, step=2 * half / STEPS, initial_value=(-half, half))
                     for axis in "xyz"]
        for handle in (self._cropping, *self._box):
            handle.on_update(self.show)

    def _drawn_crop(self) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
        """The corners of the box, whose edges are drawn, if it is to be cropped to."""
        scene = self.server.scene
        if not self._cropping.value:
            if (edges := scene.get_handle_by_name("/crop")) is not None:
                edges.remove()
            return None
        lower, upper = corners = tuple(zip(*(handle.value for handle in self._box)))
        scene.add_line_segments("/crop", np.where(EDGES, upper, lower).astype(np.float32), COLOUR, thickness=2,
                                thickness_units="screen")
        return corners
