import io

from PIL import Image

from tests.conftest import flat_art, make_work
from tribute.diffusion import recipes
from tribute.diffusion.wording import held_out
from tribute.studio.wiring import STARTER


def test_a_style_learns_everyday_things_more_often_and_longer_the_more_things_it_draws(tmp_path, monkeypatch):
    """The weights and the schedule that `recipes.style` hands to training, with the starter's own parts."""
    begun = []
    monkeypatch.setattr(recipes, "train_style", lambda run, model, examples, encode, empty, schedule, *_: begun.append((examples.weights_N, schedule.steps)))
    written = io.BytesIO()
    Image.fromarray(flat_art(128, 1)).save(written, "PNG")
    works = [work for work in (make_work("ada-artist", "ada", seed) for seed in range(8)) if not held_out(work)]
    everyday = make_work("bo-artist", "bo", 0).model_copy(update={"concept": works[0].concept})

    def style():
        recipes.style(tmp_path, works, lambda _: written.getvalue(), parts=STARTER, base=STARTER, hands={}, commons=[everyday])
        return begun[-1]

    weights, steps = style()
    assert weights.tolist() == [8.0] + [1.0] * (len(works) - 1)
    assert steps == recipes.STYLE.steps // 10  # the least: of so few things it would be fewer
    monkeypatch.setattr(recipes, "STYLE_CONCEPTS", 10)
    assert style()[1] == recipes.STYLE.steps * len(works) // 10
