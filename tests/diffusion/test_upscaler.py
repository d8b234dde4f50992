import numpy as np
import pytest
import torch

from tests.conftest import flat_art
from tribute.diffusion.training import Schedule
from tribute.diffusion.upscaler import Upscaler, UpscalerConfig, _pairs, enlarge, train_upscaler


def halved(picture_HWC):
    return picture_HWC.reshape(picture_HWC.shape[0] // 2, 2, -1, 2, 3).mean((1, 3)).round().astype(np.uint8)


def test_untrained_it_is_bilinear():
    picture = flat_art(side=32)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), scale_factor=2, mode="bilinear")
    assert np.abs(enlarge(Upscaler(8, 1).eval(), picture, 2) - wanted[0].permute(1, 2, 0).numpy()).max() <= 1


def test_tiles_leave_no_seam():
    torch.manual_seed(0)
    upscaler = Upscaler(8, 1).eval()
    torch.nn.init.normal_(upscaler.last.weight, std=0.1)
    picture = flat_art(side=96)
    whole, tiled = enlarge(upscaler, picture, 2), enlarge(upscaler, picture, 2, tile=40, overlap=8)
    assert whole.shape == (192, 192, 3)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert enlarge(upscaler, picture, 4).shape == (384, 384, 3)


def test_training_beats_bilinear_on_flat_art(tmp_path):
    large = np.stack([flat_art(side=64, seed=seed) for seed in range(24)])
    small = np.stack([halved(picture) for picture in large])
    schedule = Schedule(steps=150, batch=8, learning_rate=2e-3, warmup=5, ema_half_life=5, sheet_every=10_000, weight_decay=0.0)
    trained = train_upscaler(tmp_path, large, small, small, schedule, UpscalerConfig(width=12, depth=2, crop=24))

    def error(upscaler):
        return np.mean([np.square(enlarge(upscaler, half, 2).astype(float) - whole).mean() for half, whole in zip(small, large, strict=True)])

    assert error(trained) < 0.95 * error(Upscaler(8, 1).eval())
    again = Schedule(steps=1, batch=1, learning_rate=1e-9, warmup=1, sheet_every=10_000, weight_decay=0.0)
    on = train_upscaler(tmp_path / "on", large, small, small, again, UpscalerConfig(width=12, depth=2, crop=24), trained.state_dict())
    assert error(on) == pytest.approx(error(trained), rel=0.01)


def test_flat_crops_are_taken_where_the_busiest_are_not_asked_for():
    half = np.full((1, 64, 64, 3), 255, np.uint8)
    half[:, 40:, 40:] = np.random.default_rng(0).integers(0, 255, (1, 24, 24, 3))
    whole = half.repeat(2, 1).repeat(2, 2)

    def flat(busiest):
        config = UpscalerConfig(crop=16, busiest=busiest)
        small_BCHW, large_BCHW = _pairs(whole, half, half, config, 400, torch.Generator().manual_seed(0))
        assert torch.equal(torch.nn.functional.avg_pool2d(large_BCHW, 2), small_BCHW)
        return float((small_BCHW.std((1, 2, 3)) == 0).float().mean())

    assert flat(0.0) > flat(0.5) > flat(1.0)
