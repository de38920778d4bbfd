"""Training cameras that are not quite right: corrections of poses and lenses, learned with the field.

    pose'      = exp(xi - common) pose,  xi = R twist                 a rigid motion of the camera in model space
    focal'     = focal * exp(zoom),  principal' = principal + focal * shift        of all cameras that share a lens

Images of one photo in several sizes have one camera: N images, P photos, G lenses.

A twist turns a camera about the model's origin, where the object stands or the capture has its middle, rather than
about the camera itself: turning a camera and moving it sideways show nearly the same, which no optimiser of single
coordinates takes apart, but turning it about the object and moving it do not. Its coordinates are along the camera's
own axes (R, the rotation of the pose as given): what a picture tells at once, where the object lies in it, then shares
no coordinate with what it tells in the course of time, from which side it is seen.

A motion of all cameras together changes no picture, and neither does a world that grows with the distances between
them. Both are left out, to first order: `common` is the mean twist and what translation has of a scaling about the
middle of the cameras. The world then stays where, and as large as, the scene's file has it, which cameras that are not
refined rely on: those of the test views. What cameras share with those around them alone is left in; test views are
carried along with it (`data/carrying.py`).

Lin et al. 2021 (BARF); Mueller et al. 2022 (instant-ngp), whose training corrects cameras in this way, too.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ..data.scene import Cameras
from ..ops.camera import rays_from_pixels
from ..ops.se3 import exponential_map
from .preconditioning import preconditioner

__all__ = ["CameraRefinement"]

SHORT = 1e-4  # radians and model units: corrections shorter than this are as good as none


class CameraRefinement(nn.Module):
    """Corrections of the cameras of N images in model space, at first none.

    Parameters: `twist` [P, 6], rotation in radians and translation in model units along right, up and back; `offset`
    [G, 4], zoom and shift along x and y, of each of the G lenses; or the coordinates of `preconditioning` for these.
    """

    def __init__(self, cameras: Cameras, photos: np.ndarray | None = None, *, poses: bool = True, lenses: bool = False,
                 anchored: bool = False, precondition: bool = False):
        """Corrections of the poses, or of the lenses, or of both; the other parameters are left at zero.

        `photos` [N], as of `Split`, are of each image; without, each is a photo. With `anchored` cameras what they have
        in common counts, because the field is there already. If `precondition`, parameters are those of
        `preconditioning`.
        """
        super().__init__()
        self.anchored = anchored
        self.cameras = cameras
        photos, whole = _photos_of(cameras, np.arange(len(cameras)) if photos is None else photos)
        _, group = np.unique(whole.lens_values, axis=0, return_inverse=True)
        buffers = {name: getattr(cameras, name) for name in ("focal", "principal", "distortion", "lens")}
        for name, values in {"camera_to_world": whole.camera_to_world, "photos": photos, **buffers}.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)
        middle = whole.camera_to_world[:, :, 3].mean(axis=0)
        outwards = torch.from_numpy(whole.camera_to_world[:, :, 3] - middle).to(self.camera_to_world)
        self.register_buffer("scaling", outwards / outwards.norm().clamp_min(1e-12), persistent=False)
        self.register_buffer("group", torch.from_numpy(group.reshape(-1)), persistent=False)
        self.precondition = precondition
        if precondition:
            found = preconditioner(whole, group.reshape(-1), poses=poses, lenses=lenses)
            for name, values in found._asdict().items():
                self.register_buffer(name, torch.from_numpy(values).to(self.camera_to_world), persistent=False)
        self.twist = nn.Parameter(torch.zeros(len(whole), 6), requires_grad=poses)
        self.offset = nn.Parameter(torch.zeros(int(group.max()) + 1, 4), requires_grad=lenses)

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """camera_to_world [N, 3, 4], focal [N, 2] and principal [N, 2] as they are now; differentiable."""
        twist, offset = self.corrections()
        of_photo = offset[self.group]  # [P, 4]
        twist = self._along_world(twist)
        if not self.anchored:
            twist = self._without_common(twist)
        if self.precondition:
            twist = twist - self._along_world((self.follow @ of_photo[:, :, None])[:, :, 0])
        motion = exponential_map(twist)
        pose = motion[:, :, :3] @ self.camera_to_world
        pose = torch.cat([pose[:, :, :3], pose[:, :, 3:] + motion[:, :, 3:]], dim=2)
        zoom, shift = of_photo[self.photos].split(2, dim=1)
        return pose[self.photos], self.focal * zoom.exp(), self.principal + self.focal * shift

    def corrections(self) -> tuple[Tensor, Tensor]:
        """Twists [P, 6] along the axes of the cameras, and zoom and shift [G, 4] of the lenses.

        Where a lens takes poses along, that is not among the twists: what is seen stays where it is then.
        """
        if not self.precondition:
            return self.twist, self.offset
        return (self.of_pose @ self.twist[:, :, None])[:, :, 0], (self.of_lens @ self.offset[:, :, None])[:, :, 0]

    def _along_world(self, twist: Tensor) -> Tensor:
        """Twists [P, 6] along the axes of the cameras, along those of the world."""
        return (twist.view(-1, 2, 3) @ self.camera_to_world[:, :, :3].transpose(1, 2)).flatten(1)

    def _without_common(self, twist: Tensor) -> Tensor:
        """Twists [P, 6] in the axes of the world, without what they have of a similarity of all cameras."""
        rotation, translation = (twist - twist.mean(dim=0)).split(3, dim=1)
        return torch.cat([rotation, translation - (translation * self.scaling).sum() * self.scaling], dim=1)

    def rays(self, image_index: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
        """Origins and unit directions [R, 3] of the rays of pixels [R, 2] of cameras [R]; differentiable."""
        return rays_from_pixels(image_index, pixel, *self(), self.distortion, self.lens)

    def pull(self) -> Tensor:
        """The mean length of the corrections, smooth at zero.

        It pulls with the same force at any length: a camera that is right stays, because noise is weaker, and one that
        is far off is hardly held back. The mean square would let the first drift, or hold the second.
        """
        square = self.twist.new_tensor(SHORT) ** 2  # whose root, unlike SHORT, is that of a correction of length 0
        return sum(((part.square().sum(dim=1) + square).sqrt() - square.sqrt()).mean()
                   for part in self.corrections())

    @torch.no_grad()
    def refined(self) -> Cameras:
        """The cameras in model space as they are now."""
        pose, focal, principal = (values.cpu().numpy() for values in self())
        return replace(self.cameras, camera_to_world=pose, focal=focal, principal=principal)


def _photos_of(cameras: Cameras, photos: np.ndarray) -> tuple[np.ndarray, Cameras]:
    """[N] int64, from 0 on, and P cameras: of each photo that of its largest image. Images that do not share their pose
    are of different photos."""
    pose = cameras.camera_to_world.reshape(len(cameras), -1)
    _, number = np.unique(np.column_stack([photos, pose]), axis=0, return_inverse=True)
    number = number.reshape(-1)
    order = np.lexsort([-cameras.size[:, 0], number])
    _, first = np.unique(number[order], return_index=True)
    return number, cameras.subset(order[first])
