"""Fit an image with the hash grid and a small network: position in, colour out.

    python examples/02_fit_image.py
    python examples/02_fit_image.py --image photo.jpg --steps 2000

The grid is three-dimensional; an image is a slice of it. Each step takes random pixels, encodes their positions
with `hash_grid_encode`, and moves the table and the network to make the error smaller. The network alone could
only draw a blur; the table holds the detail. Only few entries of the table get a gradient in a step, and
`SparseAdam` leaves the others as they are.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from taichi_nerf import builtin_scene, runtime
from taichi_nerf.metrics import psnr
from taichi_nerf.ops.adam import SparseAdam
from taichi_nerf.ops.hash_grid import hash_grid_encode, hash_grid_layout
from taichi_nerf.pictures import side_by_side, write_png


class ImageModel(nn.Module):
    """Colour [N, 3] at positions [N, 2] of the unit square."""

    def __init__(self, finest: int, log2_entries: int):
        super().__init__()
        self.layout = hash_grid_layout(
            levels=8, features=2, log2_entries=log2_entries, base_resolution=8, max_resolution=finest
        )
        self.table = nn.Parameter(torch.empty(self.layout.entries, self.layout.features).uniform_(-1e-4, 1e-4))
        self.network = nn.Sequential(
            nn.Linear(self.layout.outputs, 32), nn.ReLU(), nn.Linear(32, 3), nn.Sigmoid()
        )

    def forward(self, positions):
        depth = torch.full_like(positions[:, :1], 0.5)
        return self.network(hash_grid_encode(torch.cat([positions, depth], dim=1), self.table, self.layout))


def default_image(size: int) -> np.ndarray:
    """[H, W, 3] in [0, 1]: a view of the built-in scene over white."""
    rgba = builtin_scene(resolution=size, views=(1, 0, 0)).splits["train"].images.image(0) / 255
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def pixel_centres(height: int, width: int) -> torch.Tensor:
    """[H * W, 2] in the unit square."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x / width, y / height], dim=-1).view(-1, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="any image file; by default a view of the built-in scene")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--output", type=Path, default=Path("runs/fit_image.png"))
    parser.add_argument("--small", action="store_true", help="a small image and few steps")
    arguments = parser.parse_args()
    size, steps = (48, 60) if arguments.small else (400, arguments.steps)

    device = runtime.init().device
    torch.manual_seed(0)
    image = default_image(size)
    if arguments.image is not None:
        image = np.asarray(Image.open(arguments.image).convert("RGB")) / 255
    height, width = image.shape[:2]
    positions = pixel_centres(height, width).to(device)
    target = torch.from_numpy(image.reshape(-1, 3)).to(positions)

    model = ImageModel(finest=max(height, width) // 2, log2_entries=16).to(device)
    optimisers = (SparseAdam([model.table], lr=1e-2), torch.optim.Adam(model.network.parameters(), lr=5e-3))
    for step in range(steps):
        chosen = torch.randint(len(target), (8192,), device=device)
        loss = (model(positions[chosen]) - target[chosen]).square().mean()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if step % max(steps // 5, 1) == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.5f}")

    with torch.no_grad():
        fitted = model(positions).view(height, width, 3).cpu().numpy()
    print(f"PSNR {psnr(fitted, image):.2f} dB")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    print(write_png(arguments.output, side_by_side(fitted, image, captions=("fitted", "truth"))))


if __name__ == "__main__":
    main()
