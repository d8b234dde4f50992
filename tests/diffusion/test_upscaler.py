import numpy as np
import torch

from tests.conftest import flat_art
from tribute.diffusion.training import Schedule
from tribute.diffusion.upscaler import Upscaler, UpscalerConfig, enlarge, train_upscaler


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
