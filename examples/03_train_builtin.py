"""Train the built-in scene through the Python API, score it, and film it.

    python examples/03_train_builtin.py
    python examples/03_train_builtin.py --seconds 20 --output runs/mine

What `taichi-nerf train` does, in four calls: a scene, a model for its box, `fit`, `render_view`.
"""

import argparse
from pathlib import Path

import taichi_nerf
from taichi_nerf.pictures import VideoWriter, depth_picture, to_uint8, write_png


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training")
    parser.add_argument("--backend", choices=("auto", "cpu", "cuda", "vulkan"), default="auto")
    parser.add_argument("--output", type=Path, default=Path("runs/example_builtin"))
    parser.add_argument("--small", action="store_true", help="tiny images and 80 steps")
    arguments = parser.parse_args()
    budget = {"steps": 80} if arguments.small else {"seconds": arguments.seconds}
    resolution, views, frames = (40, (20, 0, 2), 4) if arguments.small else (200, (60, 0, 8), 60)

    taichi_nerf.runtime.init(arguments.backend)
    scene = taichi_nerf.builtin_scene(resolution=resolution, views=views)
    model = taichi_nerf.make_model(scene)
    taichi_nerf.fit(model, scene, taichi_nerf.default_training(model.config, **budget), on_report=print)
    print(taichi_nerf.evaluate(model, scene, folder=arguments.output / "test"))

    cameras = taichi_nerf.orbit(scene, frames)
    with VideoWriter(arguments.output / "orbit.mp4", fps=30) as video:
        for n in range(len(cameras)):
            view = taichi_nerf.render_view(model, cameras, n, background=1.0)
            video.write(to_uint8(view.colour))
    print(write_png(arguments.output / "depth.png", depth_picture(view.depth, view.opacity)))
    print(arguments.output / "orbit.mp4")


if __name__ == "__main__":
    main()
