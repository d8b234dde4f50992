import pytest
import torch

from tribute.diffusion.features import MANNER, WIDTH
from tribute.diffusion.towers import TowersConfig, top_accuracy, train_towers
from tribute.diffusion.training import Schedule


@pytest.mark.parametrize("told_by", ["captions", "names"])
def test_the_towers_find_the_names_of_pictures_that_they_have_not_seen(tmp_path, told_by):
    """Eight concepts, each a direction among features, seen through noise, and one among states of either language; one of the two losses is told nothing."""
    generator = torch.Generator().manual_seed(0)
    concepts, width = 8, 16
    look_KS, *names = torch.randn(concepts, WIDTH + MANNER, generator=generator), *(torch.randn(concepts, width, generator=generator) for _ in range(2))

    def pictures(count):
        concept_N = torch.randint(concepts, (count,), generator=generator)
        return look_KS[concept_N] + torch.randn(count, WIDTH + MANNER, generator=generator), concept_N

    seen_NS, seen_N = pictures(256)
    states_MD = torch.cat(names)
    captions = [[at, concepts + at] if told_by == "captions" else [0] for at in seen_N.tolist()]
    config = TowersConfig(text_width=width, hidden=32, shared=16, names_weight=0.5 if told_by == "names" else 0.0)
    schedule = Schedule(steps=60, batch=64, learning_rate=3e-3, warmup=5, ema_half_life=5)
    towers = train_towers(tmp_path, seen_NS, states_MD, captions, seen_N, names, schedule, config)
    new_NS, new_N = pictures(128)
    with torch.no_grad():
        for states_KD in names:
            assert top_accuracy(towers.pictures(new_NS), towers.texts(states_KD), new_N.tolist(), 1) > 0.95
