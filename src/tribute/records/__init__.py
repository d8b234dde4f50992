"""The nouns that rooms exchange, all frozen, and the one error tree.

TributeError
├── InvalidInput(ValueError)     what the caller gave cannot be used
│   ├── InvalidPicture           a file that is no picture, or one too large to open safely
│   ├── InvalidPrompt            an empty or over-long prompt, or a malformed style tag
│   └── InvalidManifest          a CSV or JSONL of works that lacks what a work needs
├── Unknown(ValueError)          no style, model, artist, licence, picture, ... of that name
├── NotAllowed(ValueError)       consent is missing or was withdrawn
├── InsufficientFunds(ValueError)
├── Conflict(ValueError)         an idempotency key used before for something else
├── Pending(ValueError)          what is asked for is not ready yet
├── Busy(TributeError)           too much waits already, or is asked too often: say it again later
├── Interrupted(TributeError)    somebody stopped this one
├── Unreadable(TributeError)     stored data that no longer matches its hash
└── NotInstalled(TributeError)   an optional part, with the command that installs it

Faces turn any of them into one line and exit code 2; everything else is our own bug.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tribute.records.naming import without_names


class TributeError(Exception):
    """Base of every error that a user can act on; the message is one line."""


class InvalidInput(TributeError, ValueError):
    pass


class InvalidPicture(InvalidInput):
    pass


class InvalidPrompt(InvalidInput):
    pass


class InvalidManifest(InvalidInput):
    pass


class Unknown(TributeError, ValueError):
    """`Unknown.of("style", "x", known)` names what there is instead."""

    @classmethod
    def of(cls, kind: str, name: object, known: Any = ()) -> Self:
        names = sorted(map(str, known))
        there = f"; there is {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}" if names else ""
        return cls(f"no {kind} named {str(name)[:80]!r}{there}")


class NotAllowed(TributeError, ValueError):
    pass


class InsufficientFunds(TributeError, ValueError):
    pass


class Conflict(TributeError, ValueError):
    pass


class Pending(TributeError, ValueError):
    pass


class Busy(TributeError):
    pass


class Interrupted(TributeError):
    pass


class Unreadable(TributeError):
    pass


class NotInstalled(TributeError):
    pass


def canonical(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: the bytes that every hash here is taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """Lower-case hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def utc_now() -> datetime:
    """The present in UTC, to the millisecond, so that it survives JSON and both databases unchanged."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Record(BaseModel):
    """A frozen noun. `hash` is the SHA-256 of its canonical JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def document(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        return sha256(canonical(self.document()))


Use = Literal["train_base", "style", "image_to_image"]
USES: tuple[Use, ...] = ("train_base", "style", "image_to_image")
Slug = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
PPM = 1_000_000  # shares are integers in parts per million
SMOOTHING_MAX = 0.1  # by then little is left of a picture
MICRO = 1_000_000  # ledger amounts are integers in millionths of a currency's minor unit


class Licence(Record):
    """An SPDX expression (or `LicenseRef-...`), where it can be read, and the credit line that it asks for."""

    spdx: str = Field(min_length=1, max_length=100)
    url: str = Field(max_length=500)
    credit_line: str = Field(max_length=500)


class Artist(Record):
    """A person or group that works are by. `id` is a slug; `url` is where they can be found."""

    id: str = Slug
    name: str = Field(min_length=1, max_length=200)
    url: str = Field(default="", max_length=500)


class Consent(Record):
    """One artist's word on one use, from `since` on; a later record replaces an earlier one, silence is no.

    `price_minor` is what one kept picture costs at the least when it leans on this artist, in minor units of `currency` (ISO 4217).
    """

    artist_id: str = Slug
    use: Use
    allowed: bool
    price_minor: int = Field(default=0, ge=0, le=10**9)
    currency: str = Field(default="CNY", pattern=r"^[A-Z]{3}$")
    since: datetime
    basis: str = Field(max_length=300)  # why we may: a licence, an agreement, a withdrawal


class Work(Record):
    """One picture that somebody made, with what is known of it. `picture_sha256` names a PNG blob."""

    picture_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    title: str = Field(min_length=1, max_length=300)
    captions_en: tuple[str, ...]
    captions_zh: tuple[str, ...]
    artist_id: str = Slug
    authors: tuple[str, ...] = ()  # people named on this very work, where a group signs for them
    licence: Licence
    source: str = Field(max_length=200)
    source_version: str = Field(max_length=50)
    concept: str = Field(max_length=200)  # what is drawn, shared by works of the same thing
    style: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    signals: tuple[str, ...] = ()  # data-mining reservations found in the file, verbatim


class Snapshot(Record):
    """An immutable manifest of exactly the works that one use was allowed; its `hash` is its name."""

    use: Use
    style: str | None  # None: the base
    works: tuple[str, ...]  # hashes of Work records, sorted
    consents: tuple[str, ...]  # hashes of the Consent records relied upon, sorted
    artists: tuple[str, ...]


class Style(Record):
    """An adapter for one artist's hand. `adapter_sha256` names its safetensors file.

    It was trained on works of `snapshot`, all the artist's, and where those show few things on some of `base_snapshot` too, as its base was.
    """

    name: str = Slug
    artist_id: str = Slug
    title_en: str
    title_zh: str
    licence: Licence
    snapshot: str = Field(pattern=r"^[0-9a-f]{64}$")
    adapter_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    base_snapshot: str = Field(pattern=r"^[0-9a-f]{64}$")
    smoothing: float = Field(default=0.0, ge=0.0, le=SMOOTHING_MAX)  # of pictures that wear it, as still as the artist's works are


class StyleUse(Record):
    """A style in a recipe. `weight` 0 to 2; 1 is the strength that it was trained at."""

    name: str = Slug
    weight: float = Field(default=1.0, ge=0.0, le=2.0)
    adapter_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


class Recipe(Record):
    """All that decides a picture's pixels. Same recipe, same machine: same pixels."""

    prompt: str
    told: str = ""  # the prompt in the model's own words, where those are others
    negative_prompt: str = ""
    styles: tuple[StyleUse, ...] = ()
    seed: int = Field(ge=0, le=2**32 - 1)
    steps: int = Field(ge=1, le=150)
    guidance: float = Field(ge=1.0, le=30.0)
    guidance_rescale: float = Field(default=0.0, ge=0.0, le=1.0)  # how far what is guided is brought back to the spread of what is told
    width: int = Field(ge=8, le=2048)
    height: int = Field(ge=8, le=2048)
    enlarge: Literal[1, 2, 4, 8] = 1  # width and height are those of the picture; it is drawn this many times smaller
    smoothing: float = Field(default=0.0, ge=0.0, le=SMOOTHING_MAX)  # how strongly flat areas of what was drawn are made flat again, before it is enlarged
    student: bool = False  # drawn by the model's few-step student
    variation_seed: int | None = Field(default=None, ge=0, le=2**32 - 1)  # the noise is moved towards this seed's
    variation_strength: float = Field(default=0.0, ge=0.0, le=1.0)  # how far: 0 stays, 1 arrives
    beside: str = ""  # other words, read half and half with the prompt's; with the noise below it leads away from works known by heart
    prompt_noise: float = Field(default=0.0, ge=0.0, le=2.0)  # on what the model reads, in its deviations
    led_until: float = Field(default=1.0, gt=0.0, le=1.0)  # the part of the steps in which those two lead; in the others the prompt alone is read
    source_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")  # the PNG that it was drawn over
    strength: float = Field(default=1.0, gt=0.0, le=1.0)  # how much of the source is drawn anew
    mask_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")  # a PNG; only where it is white is anything drawn
    scheduler: str
    model: str  # folder name or hub id
    model_sha256: str  # over the weights
    snapshot: str | None  # None: the model cites none, so its base is unknown
    dtype: str
    engine: str = "torch"

    @property
    def drawn_prompt(self) -> str:
        """What the model is told: the prompt, in its own words, without the names of the styles that are worn and what says that they are styles. A style
        is worn by its weight; naming it gains nothing, and the model has never read its name. Where nothing else is said it is told all the same."""
        words = self.told or self.prompt
        return without_names(words, (use.name for use in self.styles)) or words

    @property
    def drawn_beside(self) -> str:
        """What it is told half and half with that, or nothing; without those names too."""
        return without_names(self.beside, (use.name for use in self.styles)) or self.beside

    @field_validator("styles")
    @classmethod
    def _names_differ(cls, styles: tuple[StyleUse, ...]) -> tuple[StyleUse, ...]:
        if len({style.name for style in styles}) != len(styles):
            raise ValueError("a style is named twice")
        return styles


class Share(Record):
    """One party's part. `party` is `base`, `unknown-base` or a style's name; parts of a picture sum to PPM."""

    party: str
    artist_id: str | None
    share_ppm: int = Field(ge=0, le=PPM)


class Credits(Record):
    """Who made a picture, how much, by which method."""

    method: str
    distance: str
    shares: tuple[Share, ...]
    values: dict[str, float] = Field(default_factory=dict)  # what the shares were computed from, such as v(T)
    note: str = ""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = sum(share.share_ppm for share in self.shares)
        if total != PPM:
            raise ValueError(f"shares sum to {total} ppm, not {PPM}")
        return self


class Price(Record):
    """What a download costs and how it is cut, fixed when the picture is made."""

    amount_minor: int = Field(ge=0, le=10**9)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    platform_bp: int = Field(ge=0, le=10_000)  # basis points that the studio keeps
    artists_bp: dict[str, Annotated[int, Field(ge=0, le=10_000)]] = Field(default_factory=dict)  # of an artist's part, where agreed otherwise


class Terms(Record):
    """What was agreed with one artist for one use, from `since` on; later terms replace earlier ones for pictures made after them.

    Without terms the consent's price and the studio's own part hold.
    """

    artist_id: str = Slug
    use: Use
    price_minor: int = Field(ge=0, le=10**9)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    platform_bp: int = Field(ge=0, le=10_000)
    since: datetime


class Payee(Record):
    """Where an artist's money goes, from `since` on. `iban` is checked by its two check digits (ISO 13616)."""

    artist_id: str = Slug
    name: str = Field(min_length=1, max_length=70)
    iban: str = Field(pattern=r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$")
    bic: str = Field(default="", pattern=r"^([A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?)?$")
    since: datetime

    @field_validator("iban")
    @classmethod
    def _checks(cls, iban: str) -> str:
        digits = "".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])
        if int(digits) % 97 != 1:
            raise ValueError("its check digits do not fit; a letter or digit is wrong")
        return iban


class Picture(Record):
    """A sealed picture as stored. `id` is 8 hexadecimal digits, the very 32 bits that its watermark carries."""

    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    file_sha256: str  # of the sealed PNG
    pixel_sha256: str  # of the RGB pixels before the watermark: what a recipe reproduces
    recipe: Recipe
    credits: Credits | None  # None: pending, worked off later
    price: Price
    consents: tuple[str, ...]  # hashes of the consents in force when it was made
    created: datetime


class Posting(Record):
    """One line of a transaction. `amount_micro` is in millionths of the minor unit: what the account gains (credit) or, negative, gives (debit)."""

    account: str = Field(pattern=r"^[a-z]+(:[A-Za-z0-9._@-]{1,64})?$")
    amount_micro: int = Field(ge=-(2**62), le=2**62)
    currency: str = Field(pattern=r"^[A-Z]{3}$")


class Transaction(Record):
    """Postings that sum to zero in every currency, with the key that makes a retry harmless."""

    key: str = Field(min_length=1, max_length=200)
    kind: str
    postings: tuple[Posting, ...]
    memo: dict[str, Any] = Field(default_factory=dict)
    created: datetime

    @model_validator(mode="after")
    def _balances(self) -> Self:
        sums: dict[str, int] = {}
        for posting in self.postings:
            sums[posting.currency] = sums.get(posting.currency, 0) + posting.amount_micro
        off = {currency: amount for currency, amount in sums.items() if amount}
        if off or len(self.postings) < 2:
            raise ValueError(f"transaction {self.key!r} does not balance: {off or 'fewer than two postings'}")
        return self


class StatementLine(Record):
    """What one picture earned an artist: price × share, the platform's part, and what is left, in micro units."""

    picture_id: str
    downloads: int
    price_minor: int = 0
    mean_share_ppm: int
    gross_micro: int
    platform_micro: int
    due_micro: int


class Statement(Record):
    """An artist's week (ISO 8601, such as 2026-W47) in one currency; `due_minor` is what settlement pays out."""

    artist_id: str
    week: str = Field(pattern=r"^[0-9]{4}-W[0-9]{2}$")
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    lines: tuple[StatementLine, ...]
    brought_forward_micro: int
    due_minor: int
    carried_forward_micro: int
