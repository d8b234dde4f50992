import numpy as np
import pytest
import torch
from torch import nn

from tribute.diffusion import compiled
from tribute.diffusion.compiled import Kept, Networks, import_openvino, trace, weights_digest


class Shifted(nn.Module):
    """y = W x + t + kept"""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 3)

    def forward(self, x, time, kept):
        return self.layer(x) + time + kept


@pytest.fixture
def network(tmp_path):
    model = Shifted().eval()
    traced = []

    def path_of():
        path = tmp_path / f"{weights_digest(model.state_dict().values())}.xml"
        trace(model, [torch.zeros(1, 6), torch.tensor(1.0), torch.zeros(3)], {0: [-1, 6], 1: [], 2: [3]}, path)
        traced.append(path)
        return path

    return model, path_of, traced


def test_rows_come_back_in_their_order_however_many_there_are(network, tmp_path):
    model, path_of, traced = network
    networks = Networks(torch.float32, tmp_path)
    networks.processors = 2
    for count in (1, 2, 3, 5, 8, 9, 17):
        rows = torch.randn(count, 6)
        for own in (True, False):
            made = networks.ask("one", path_of, [rows.numpy(), np.float32(2)], own=own, kept=Kept(("zero",), 2, [tensor(0.0)]))
            with torch.no_grad():
                assert torch.allclose(made, model(rows, 2.0, torch.zeros(3)), atol=1e-5), (count, own)
    assert len(traced) == 1


def tensor(value):
    return import_openvino().Tensor(np.full(3, value, np.float32))


def test_kept_tensors_reach_every_request_and_change_with_their_names(network, tmp_path):
    model, path_of, _ = network
    networks, rows = Networks(torch.float32, tmp_path), torch.randn(5, 6)
    networks.processors = 2
    for value in (1.0, 7.0, 1.0):
        made = networks.ask("one", path_of, [rows.numpy(), np.float32(0)], own=True, kept=Kept((str(value),), 2, [tensor(value)]))
        with torch.no_grad():
            assert torch.allclose(made, model(rows, 0.0, torch.full((3,), value)), atol=1e-5)


def test_those_asked_least_lately_are_let_go(network, tmp_path):
    _, path_of, traced = network
    networks, kept = Networks(torch.float32, tmp_path), Kept(("zero",), 2, [tensor(0.0)])
    networks.processors = 1
    for key in range(compiled.IN_MEMORY + 3):
        networks.ask("any", path_of, [np.zeros((1, 6), np.float32), np.float32(0)], own=False, kept=kept)
        networks.ask(key, path_of, [np.zeros((1, 6), np.float32), np.float32(0)], own=True, kept=kept)
        networks.ask(0, path_of, [np.zeros((1, 6), np.float32), np.float32(0)], own=True, kept=kept)
    stayed = [key for key, *_ in networks.ready]
    assert len(stayed) == compiled.IN_MEMORY + 1
    assert {0, "any", compiled.IN_MEMORY + 2} <= set(stayed)
    assert 1 not in stayed
    traced[0].unlink()
    networks.ask(1, path_of, [np.zeros((1, 6), np.float32), np.float32(0)], own=True, kept=kept)  # traced again where its file is gone
    assert traced[0].is_file()


def test_the_disk_keeps_the_networks_used_last(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "ON_DISK", 2)
    networks, rows = Networks(torch.float32, tmp_path), np.ones((1, 6), np.float32)
    models = [nn.Linear(6, 3) for _ in range(4)]

    def path_of(at):
        path = tmp_path / f"{at}.xml"
        trace(models[at], [torch.zeros(1, 6)], {0: [-1, 6]}, path)
        return path

    for at, model in enumerate(models):
        made = networks.ask(at, lambda at=at: path_of(at), [rows], own=True)
        with torch.no_grad():
            assert torch.allclose(made, model(torch.ones(1, 6)), atol=1e-5)
    assert sorted(path.name for path in tmp_path.glob("*.[xb]*")) == ["2.bin", "2.xml", "3.bin", "3.xml"]
    assert len(list((tmp_path / "compiled").glob("*.blob"))) <= 2
