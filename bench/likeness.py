"""Am I in it? How often a changed copy of a work finds its work, and how like their nearest stranger works are.

python bench/likeness.py --home HOME [--works 300]      HOME: a data folder with the works' pictures
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from tqdm import tqdm

from tribute.diffusion.examples import load_pictures
from tribute.diffusion.likeness import Likeness
from tribute.provenance.fingerprints import FINGERPRINTS, Fingerprints
from tribute.provenance.fingerprints import SURE as COPY
from tribute.records import Work
from tribute.store.database import documents
from tribute.store.schema import works as works_table
from tribute.studio.likeness import CANDIDATES, FILE, SURE
from tribute.studio.wiring import STARTER, Settings, open_workshop


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=quality)
    return Image.open(io.BytesIO(written.getvalue())).convert("RGB")


CHANGES = {
    "as it is": lambda picture: picture,
    "JPEG 60": lambda picture: jpeg(picture, 60),
    "half the size": lambda picture: picture.resize((64, 64)),
    "cropped by 6% a side": lambda picture: ImageOps.crop(picture, 8),
    "brighter by a third": lambda picture: ImageEnhance.Brightness(picture).enhance(1.33),
    "turned by 5°": lambda picture: picture.rotate(5, Image.Resampling.BICUBIC, fillcolor="white"),
    "a ninth smaller, off its place": lambda picture: ImageOps.expand(picture.resize((114, 114)), (12, 2, 2, 12), "white"),
    "mirrored": ImageOps.mirror,
    "grey": lambda picture: picture.convert("L").convert("RGB"),
}


def main(home: Path, folder: Path, count: int) -> None:
    workshop = open_workshop(Settings(home=home), None)
    with workshop.database.reading() as connection:
        everything = sorted(documents(connection, works_table, Work), key=lambda work: work.hash)
    likeness, fingerprints = Likeness.load(folder / FILE), Fingerprints.load(folder / FINGERPRINTS)
    at = np.random.default_rng(0).choice(len(everything), count, replace=False)
    pictures = [Image.fromarray(picture) for picture in load_pictures([everything[one] for one in at], workshop.blobs.get)]
    artists = np.array([work.artist_id for work in everything])
    others_QN = artists[None, :] != artists[at][:, None]
    sizes = [(folder / name).stat().st_size / 1e6 for name in (FILE, FINGERPRINTS)]
    print(f"{len(everything):,} works; vectors {sizes[0]:.2f} MB, fingerprints {sizes[1]:.2f} MB; {count} of them changed\n")
    print(f"| change | its own work first | in the first {CANDIDATES} | a copy by the vectors | by the fingerprints | by either |\n|---|---|---|---|---|---|")
    for name, change in CHANGES.items():
        changed = np.stack([np.asarray(change(picture).resize((128, 128), Image.Resampling.LANCZOS)) for picture in pictures])
        similarity_QN = likeness.similarities(changed).numpy()
        copied_QN = np.stack([fingerprints.copied(one) for one in tqdm(changed, desc=name, mininterval=2.0)])
        own_Q, told_Q = (all_QN[np.arange(count), at] for all_QN in (similarity_QN, copied_QN))
        rank_Q = (similarity_QN > own_Q[:, None]).sum(1)
        told = [rank_Q == 0, rank_Q < CANDIDATES, own_Q >= SURE, told_Q >= COPY, (own_Q >= SURE) | (told_Q >= COPY)]
        print(f"| {name} | " + " | ".join(f"{part.mean():.1%}" for part in told) + " |")
        if name == "as it is":
            strangers = {"vectors": (similarity_QN, SURE), "fingerprints": (copied_QN, COPY)}
    print("\nnearest work of another artist:")
    for name, (all_QN, threshold) in strangers.items():
        nearest_Q = np.where(others_QN, all_QN, -1).max(1)
        median, most = np.quantile(nearest_Q, [0.5, 0.99])
        print(f"by the {name} median {median:.3f}, 99th percentile {most:.3f}; taken for a copy at {threshold}: {(nearest_Q >= threshold).mean():.2%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=STARTER, help="with likeness.safetensors and fingerprints.safetensors")
    parser.add_argument("--works", type=int, default=300)
    given = parser.parse_args()
    main(given.home, given.folder, given.works)
