import pytest
import torch

from tribute.diffusion.balance import cluster, drawing_weights
from tribute.diffusion.judge import frechet_distance, train_judge


def blobs(per_class, classes, width=16, spread=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    rows = centres.repeat_interleave(per_class, 0)
    return rows + spread * torch.randn(rows.shape, generator=generator), [f"c{at // per_class}" for at in range(per_class * classes)]


def test_the_judge_tells_classes_apart_and_is_blind_to_noise():
    rows, labels = blobs(60, 10)
    unseen, wanted = blobs(10, 10, seed=1)
    judge = train_judge(rows, labels)
    assert judge.accuracy(unseen, wanted) > 0.95
    assert judge.accuracy(torch.randn(400, 16, generator=torch.Generator().manual_seed(5)), ["c0"] * 400) < 0.4
    assert judge.accuracy(unseen, wanted, top=10) == 1.0
    assert judge.named(unseen) == train_judge(rows, labels).named(unseen)


def test_frechet_distance_of_known_gaussians():
    """For N(μ, I) and N(ν, I) it is |μ − ν|²; for variances a² and b² in d dimensions, d(a − b)²."""
    rows = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))
    other = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(1))
    assert frechet_distance(rows, rows) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(rows, other + 2.0) == pytest.approx(16.0, rel=0.03)
    assert frechet_distance(rows, 3 * other) == pytest.approx(16.0, rel=0.03)


def test_clusters_are_found_and_small_ones_drawn_more_often():
    from tests.conftest import make_work

    rows = torch.cat([blobs(90, 1)[0], -blobs(10, 1, seed=3)[0]])
    found = cluster(rows, 2)
    assert len(set(found[:90].tolist())) == len(set(found[90:].tolist())) == 1
    assert found[0] != found[99]
    works = [make_work("ada", "ada", 7) for _ in range(100)]
    weights = drawing_weights(works, rows, [], clusters=2)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert float(weights[99] / weights[0]) == pytest.approx(3.0)  # the square root of 90 / 10
