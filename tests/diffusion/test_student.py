import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from tribute.diffusion.student import guided


def test_guidance_is_rescaled_as_diffusers_does():
    plain, told = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1, 1)
    wanted = rescale_noise_cfg(plain + 4.0 * (told - plain), told, guidance_rescale=0.7)
    torch.testing.assert_close(guided(plain, told, 4.0, 0.7), wanted)
    torch.testing.assert_close(guided(plain, told, 4.0, 0.0), plain + 4.0 * (told - plain))
    assert guided(plain, told, 4.0, 1.0).std((1, 2, 3)).tolist() == pytest.approx(told.std((1, 2, 3)).tolist(), rel=1e-5)
