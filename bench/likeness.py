"""Am I in it? How often a changed copy of a work finds its work, and how like their nearest stranger works are.

python bench/likeness.py --home HOME [--works 300]      HOME: a data folder with the works' pictures
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from tribute.diffusion.likeness import Likeness
from tribute.diffusion.recipes import load_pictures
from tribute.provenance.copies import CopyIndex, looks
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
    "mirrored": ImageOps.mirror,
    "grey": lambda picture: picture.convert("L").convert("RGB"),
}


def main(home: Path, file: Path, count: int) -> None:
    workshop = open_workshop(Settings(home=home), None)
    with workshop.database.reading() as connection:
        everything = sorted(documents(connection, works_table, Work), key=lambda work: work.hash)
    likeness = Likeness.load(file)
    at = np.random.default_rng(0).choice(len(everything), count, replace=False)
    pictures = [Image.fromarray(picture) for picture in load_pictures([everything[one] for one in at], workshop.blobs.get)]
    artists = np.array([work.artist_id for work in everything])
    print(f"{len(everything):,} works, {file.stat().st_size / 1e6:.2f} MB; {count} of them changed\n")
    print(f"| change | its own work first | among the first {CANDIDATES} | a copy by the vectors | and by the work's picture |\n|---|---|---|---|---|")
    for name, change in CHANGES.items():
        changed = np.stack([np.asarray(change(picture).resize((128, 128), Image.Resampling.LANCZOS)) for picture in pictures])
        similarity_QN = likeness.similarities(changed)
        own_Q = similarity_QN[torch.arange(count), torch.from_numpy(at)]
        rank_Q = (similarity_QN > own_Q[:, None]).sum(1)
        seen_Q = torch.tensor([bool(CopyIndex(looks(np.asarray(one))).nearest(two).is_copy) for one, two in zip(pictures, changed, strict=True)])
        told = [float(part.float().mean()) for part in (rank_Q == 0, rank_Q < CANDIDATES, own_Q >= SURE, (rank_Q < CANDIDATES) & (seen_Q | (own_Q >= SURE)))]
        print(f"| {name} | " + " | ".join(f"{part:.1%}" for part in told) + " |")
        if name == "as it is":
            others_QN = torch.from_numpy(artists[None, :] != artists[at][:, None])
            nearest_QK = similarity_QN.masked_fill(~others_QN, -1).topk(CANDIDATES, dim=1)
    nearest_Q = nearest_QK.values[:, 0]
    alike = [
        CopyIndex([look for one in load_pictures([everything[one] for one in row], workshop.blobs.get) for look in looks(one)])
        .nearest(np.asarray(picture))
        .is_copy
        for row, picture in zip(nearest_QK.indices.tolist(), pictures, strict=True)
    ]
    print(f"\nnearest work of another artist: median {float(nearest_Q.median()):.3f}, 99th percentile {float(nearest_Q.quantile(0.99)):.3f}; ", end="")
    print(f"taken for a copy at {SURE}: {float((nearest_Q >= SURE).float().mean()):.2%}, by the pictures too: {sum(alike) / count:.2%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--file", type=Path, default=STARTER / FILE)
    parser.add_argument("--works", type=int, default=300)
    given = parser.parse_args()
    main(given.home, given.file, given.works)
