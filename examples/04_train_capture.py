"""Train a capture: a Blender scene, or photos of a phone with their poses.

    python examples/04_train_capture.py lego --downscale 4
    python examples/04_train_capture.py my_photos --seconds 300

The folder holds transforms_train.json and transforms_test.json (Blender), or a transforms.json as instant-ngp's
and nerfstudio's tools write it (COLMAP, Polycam, Record3D). The format is recognised; where the scene brings no
test views, every 8th image is held out, so that the score is honest.
"""

import argparse
from pathlib import Path

import taichi_nerf
from taichi_nerf.data.inspect import describe
from taichi_nerf.pictures import VideoWriter, to_uint8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path, help="folder of the capture, or its transforms file")
    parser.add_argument("--downscale", type=int, default=1, help="make the images smaller by this factor")
    parser.add_argument("--seconds", type=float, default=120.0, help="of training")
    parser.add_argument("--path", choices=("orbit", "spiral"), default="orbit",
                        help="of the video; a spiral suits photos that all face one way")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("runs/example_capture"))
    parser.add_argument("--small", action="store_true", help="80 steps and a short video")
    arguments = parser.parse_args()
    budget = {"steps": 80} if arguments.small else {"seconds": arguments.seconds}

    scene = taichi_nerf.load_scene(arguments.scene, downscale=arguments.downscale)
    for finding in describe(scene):
        print(f"{finding.severity}: {finding.text}")

    model = taichi_nerf.make_model(scene)
    taichi_nerf.fit(model, scene, taichi_nerf.default_training(model.config, **budget), on_report=print)
    print(taichi_nerf.evaluate(model, scene, folder=arguments.output / "test"))
    taichi_nerf.save_model(arguments.output / "model.safetensors", model)  # load_model reads it

    path = {"orbit": taichi_nerf.orbit, "spiral": taichi_nerf.spiral}[arguments.path]
    cameras = path(scene, 4 if arguments.small else 90)
    background = 1.0 if scene.background == "white" else 0.0
    with VideoWriter(arguments.output / f"{arguments.path}.mp4", fps=30) as video:
        for n in range(len(cameras)):
            view = taichi_nerf.render_view(model, cameras, n, background=background)
            video.write(to_uint8(view.colour))
    print(arguments.output / f"{arguments.path}.mp4")


if __name__ == "__main__":
    main()
