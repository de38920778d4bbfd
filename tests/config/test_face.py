"""The package as a whole: what it imports, and that an option has one home."""

import dataclasses
import re
import subprocess
import sys

import pytest

from taichi_nerf import cli, config
from taichi_nerf.cli.main import _parsed
from taichi_nerf.config import SceneConfig, TrainingConfig, flattened

VALUES = {
    "block": ("1 -2.5 0 3", (1.0, -2.5, 0.0, 3.0)), "perturb": ("both", "both"),
    "path": ("lego", "lego"), "downscale": ("4", 4), "scales": ("2", 2), "test_every": ("3", 3),
    "background": ("black", "black"), "format": ("llff", "llff"), "orient": ("pca", "pca"), "exposure": ("-2.5", -2.5),
    "alpha": ("mask", "mask"), "masks": (None, False), "cut_out": (None, True), "cache": ("disk", "disk"),
    "axes": ("opencv", "opencv"), "world_to_camera": (None, True), "skip_missing": (None, True),
}  # of each option another than its default, as written and as read


@pytest.mark.parametrize("module", ["config", "cli"])
def test_help_needs_neither_torch_nor_taichi(module):
    code = f"import sys, taichi_nerf.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "taichi", "quadrants", "numpy"} & set(done.stdout.split())


def test_every_name_of_the_face_exists():
    for name in config.__all__:
        assert getattr(config, name) is not None


def options(help_text: str) -> list[str]:
    """Names of the options in a --help, each as often as it has an entry; SCENE as `path`."""
    entries = re.findall(r"^  (\[SCENE\]|--?[a-z].*?) *$", help_text, re.MULTILINE)
    return ["path" if entry == "[SCENE]" else re.search(r"--([a-z0-9.-]+)", entry)[1] for entry in entries]


@pytest.mark.parametrize("model", config.SYSTEMS)
def test_every_setting_of_a_scene_and_of_a_training_is_one_option_of_train(capsys, monkeypatch, model):
    monkeypatch.setenv("COLUMNS", "100")  # on wider terminals groups stand side by side
    assert cli.main(["train", "--model", model, "--help"]) == 0
    shown = options(capsys.readouterr().out)
    assert len(shown) == len(set(shown))
    scene = [field.name for field in dataclasses.fields(SceneConfig)]
    found = config.recipe(model)
    training = flattened(TrainingConfig(batch=found.batch, optimiser=found.optimiser))
    settings = [name for name in flattened(found.model) if name != "kind"]
    for name in (*scene, *training, *(f"model.{name}" for name in settings)):
        assert shown.count(name.replace("_", "-")) == 1, name


def test_the_help_says_what_the_settings_of_trimming_may_be(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["train", "--help"]) == 0
    entries = re.split(r"^  --", capsys.readouterr().out, flags=re.MULTILINE)
    shown = {entry.split()[0]: " ".join(entry.split()) for entry in entries if entry.startswith("trim.")}
    ranges = {"quantile": "above 0, at most 1", "margin": "1 or more", "most": "above 0, at most 1",
              "around": "Part of the pixels, 0 to 0.95", "patch": "1 to 64 and no wider than a photo",
              "warm-in": "Above 0, at most 1", "top": "0 to 1", "views": "0 or more"}
    assert shown.keys() == {f"trim.{name}" for name in ranges}
    for name, words in ranges.items():
        assert words in shown[f"trim.{name}"]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(SceneConfig)])
def test_an_option_of_train_is_read_into_the_scene(name):
    written, read = VALUES[name]
    option = f"--{'no-' if read is False else ''}{name.replace('_', '-')}"
    arguments = [written] if name == "path" else [option, *(written or "").split()]
    assert _parsed(["train", *arguments]).scene == dataclasses.replace(SceneConfig(), **{name: read})
