"""Neural radiance fields that train and render on any machine.

    import taichi_nerf

    scene = taichi_nerf.builtin_scene()                      # or load_scene("lego", downscale=4)
    model = taichi_nerf.make_model(scene)
    taichi_nerf.fit(model, scene, taichi_nerf.TrainingConfig(seconds=60))
    print(taichi_nerf.evaluate(model, scene))
    view = taichi_nerf.render_view(model, taichi_nerf.orbit(scene, 60), 0, background=1.0)

`taichi_nerf.runtime.init("cpu")` chooses the backend; without it the first use does. The names below are
loaded when they are first used.
"""

import os
from importlib import import_module

# PyTorch's idle threads would spin on the cores that the kernels' threads need; read when PyTorch is first imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# at the first start of a day Taichi would ask its makers' server whether there is a newer one, and say who asks
os.environ["TI_SKIP_VERSION_CHECK"] = "ON"

_HOMES = {
    "Box": "models.model",
    "Cameras": "data",
    "InstantNGP": "models.instant_ngp",
    "InstantNGPConfig": "config",
    "MipNeRF360Config": "config",
    "MipNeRFConfig": "config",
    "ModelConfig": "config",
    "NeRFConfig": "config",
    "RunConfig": "config",
    "Scene": "data",
    "Trainer": "training.trainer",
    "trainer_for": "training.trainer",
    "TrainingConfig": "config",
    "UserError": "errors",
    "builtin_scene": "data.builtin",
    "evaluate": "training.evaluate",
    "fit": "training.run",
    "growing_views": "models.growing",
    "load_scene": "data",
    "make_model": "training.run",
    "default_training": "training.run",
    "orbit": "paths",
    "recipe": "config",
    "render_view": "models.views",
    "spiral": "paths",
}
_RENAMED = {
    "load_model": ("training.checkpoint", "load"),
    "save_model": ("training.checkpoint", "save_model"),
}
_MODULES = ("config", "data", "runtime")

__all__ = sorted([*_HOMES, *_RENAMED, *_MODULES])


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES and name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, original = _RENAMED.get(name) or (_HOMES[name], name)
    value = getattr(import_module(f".{module}", __name__), original)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
