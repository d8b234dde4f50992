import numpy as np
from PIL import Image

from tribute.diffusion.sheets import MARGIN, save_sheet

WHITE = np.full((64, 64, 3), 255, np.uint8)


def sheet(path, *titles):
    save_sheet(path, [[WHITE] * len(titles)], column_names=titles)
    return np.asarray(Image.open(path))


def test_a_long_title_goes_on_in_further_lines_above_its_own_column(tmp_path):
    """Two that begin alike are told apart by their ends, and nobody's words reach into the next column."""
    short, long = (
        sheet(tmp_path / "short.png", "fox", "fox"),
        sheet(tmp_path / "long.png", "portrait of a person, brown hair", "portrait of a person, black hair"),
    )
    assert short.shape == (26 + 64 + MARGIN, 2 * (64 + MARGIN), 3)
    assert long.shape[0] > short.shape[0]
    assert long.shape[1] == short.shape[1]
    ours, theirs = long[: -64 - MARGIN, : 64 + MARGIN], long[: -64 - MARGIN, 64 + MARGIN :]
    assert (ours != theirs).any()
    assert (long[: -64 - MARGIN, 64 : 64 + MARGIN] == 255).all()
