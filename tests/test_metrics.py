"""PSNR and SSIM against their definitions, and the laws that a similarity obeys."""

import math
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taichi_nerf import metrics
from taichi_nerf.metrics import lpips_or_none, psnr, ssim


def picture(seed, height=16, width=19):
    return np.random.default_rng(seed).random((height, width, 3))


def ssim_by_hand(x, y):
    """Every window of 11 x 11 pixels of every channel, one after the other."""
    offset = np.arange(11) - 5
    weight = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    weight /= weight.sum()
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            for c in range(3):
                a, b = (z[top : top + 11, left : left + 11, c] for z in (x, y))
                ma, mb = (weight * a).sum(), (weight * b).sum()
                va, vb = (weight * (a - ma) ** 2).sum(), (weight * (b - mb) ** 2).sum()
                cov = (weight * (a - ma) * (b - mb)).sum()
                c1, c2 = 0.01**2, 0.03**2
                values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(values)


@pytest.mark.parametrize("size", [(11, 11), (13, 11), (14, 17)])
def test_ssim_equals_its_definition_window_by_window(size):
    x = picture(1, *size)
    y = np.clip(x + 0.2 * (picture(2, *size) - 0.5), 0, 1)
    assert ssim(x, y) == pytest.approx(ssim_by_hand(x, y), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_ssim_is_symmetric_at_most_one_and_one_for_the_same_picture(a, b):
    x, y = picture(a), picture(b + 2000)
    assert ssim(x, y) == pytest.approx(ssim(y, x), abs=1e-12)
    assert -1 <= ssim(x, y) < 1
    assert ssim(x, x) == pytest.approx(1, abs=1e-12)


def test_more_noise_is_less_similar():
    x, noise = picture(1) * 0.5 + 0.25, picture(2) - 0.5
    ssims, psnrs = zip(*((ssim(x, x + s * noise), psnr(x, x + s * noise)) for s in (0.01, 0.05, 0.2, 0.5)))
    assert list(ssims) == sorted(ssims, reverse=True) and list(psnrs) == sorted(psnrs, reverse=True)


def test_a_flipped_or_turned_pair_is_as_similar():
    x, y = picture(1), picture(2)
    for turn in (
        lambda z: z[::-1],
        lambda z: z[:, ::-1],
        lambda z: z.transpose(1, 0, 2),
        lambda z: z[..., ::-1],
    ):
        assert ssim(turn(x).copy(), turn(y).copy()) == pytest.approx(ssim(x, y), abs=1e-12)
        assert psnr(turn(x).copy(), turn(y).copy()) == pytest.approx(psnr(x, y), abs=1e-9)


def test_black_against_white_has_almost_no_similarity():
    black, white = np.zeros((12, 12, 3)), np.ones((12, 12, 3))
    assert ssim(black, white) == pytest.approx(1e-4 / (1 + 1e-4))
    assert psnr(black, white) == 0


@pytest.mark.parametrize("error", [1 / 255, 0.1, 0.5])
def test_psnr_of_a_constant_error(error):
    x = np.full((5, 4, 3), 0.25)
    assert psnr(x, x + error) == pytest.approx(-20 * math.log10(error))


def test_psnr_of_equal_pictures_is_infinite():
    assert psnr(picture(3), picture(3)) == math.inf


def test_numpy_and_torch_of_any_precision_agree():
    x, y = picture(1).astype(np.float32), picture(2).astype(np.float32)
    for metric in (psnr, ssim):
        expected = metric(x, y)
        assert metric(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, abs=1e-9)
        assert metric(torch.from_numpy(x).requires_grad_(), y.astype(np.float64)) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize(
    ("x", "y"),
    [((16, 16, 3), (16, 17, 3)), ((16, 16, 4), (16, 16, 4)), ((16, 16), (16, 16)), ((0, 16, 3),) * 2],
)
def test_other_shapes_are_refused(metric, x, y):
    with pytest.raises(ValueError, match="shape"):
        metric(np.zeros(x), np.zeros(y))


def test_ssim_refuses_pictures_smaller_than_its_window():
    with pytest.raises(ValueError, match="11"):
        ssim(np.zeros((10, 30, 3)), np.zeros((10, 30, 3)))


@pytest.fixture
def fake_lpips(monkeypatch, tmp_path):
    """A package `lpips` whose distance is the mean absolute difference, and a folder for its weights."""

    class LPIPS(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert net == "vgg"

        def forward(self, x, y):
            assert x.shape[:2] == (1, 3) and x.dtype == torch.float32 and float(x.min()) >= -1
            return (x - y).abs().mean().reshape(1, 1, 1, 1)

    module = types.ModuleType("lpips")
    module.LPIPS, module.__spec__ = LPIPS, types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "lpips", module)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    metrics._lpips.cache_clear()
    yield tmp_path / "checkpoints" / metrics.LPIPS_BACKBONE
    metrics._lpips.cache_clear()


def test_lpips_is_none_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None)
    assert lpips_or_none() is None
    assert "not installed" in metrics.why_no_lpips()


def test_lpips_downloads_nothing(fake_lpips):
    assert lpips_or_none() is None
    assert str(fake_lpips) in metrics.why_no_lpips()


def test_lpips_is_given_pictures_from_minus_one_to_one(fake_lpips):
    fake_lpips.parent.mkdir()
    fake_lpips.touch()
    distance = lpips_or_none()
    assert distance(np.zeros((16, 16, 3)), np.full((16, 16, 3), 0.25)) == pytest.approx(0.5)
