"""Train on any GPU with a Vulkan driver: rays, samples, networks and optimiser live on the device.

    python examples/07_train_on_vulkan.py
    python examples/07_train_on_vulkan.py --steps 3000 --output runs/vulkan

No CUDA is needed; without a GPU, Mesa's software driver runs it (apt install mesa-vulkan-drivers libvulkan1). Between
two reports the host only launches kernels. The last lines go on with the same model on the CPU: a model belongs to no
backend.
"""

import argparse
from pathlib import Path

import taichi_nerf
from taichi_nerf.pictures import write_png


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path("runs/example_vulkan"))
    parser.add_argument("--small", action="store_true", help="tiny images and 250 steps")
    arguments = parser.parse_args()
    steps, resolution, views = (250, 40, (20, 0, 2)) if arguments.small else (arguments.steps, 200, (60, 0, 8))
    small = {"batch": taichi_nerf.config.BatchConfig(samples=1024, marched=8192)} if arguments.small else {}

    taichi_nerf.runtime.init("vulkan")
    scene = taichi_nerf.builtin_scene(resolution=resolution, views=views)
    model = taichi_nerf.make_model(scene)
    training = taichi_nerf.default_training(model.config, steps=steps, **small)
    taichi_nerf.fit(model, scene, training, on_report=print)
    print(taichi_nerf.evaluate(model, scene, folder=arguments.output / "test"))
    view = taichi_nerf.render_view(model, taichi_nerf.orbit(scene, 8), 0, background=1.0)
    print(write_png(arguments.output / "vulkan.png", view.colour))

    taichi_nerf.runtime.init("cpu")
    print("and on the CPU:", taichi_nerf.evaluate(model, scene))


if __name__ == "__main__":
    main()
