"""What is asked for: the ask, the consent and the terms that it leans on, and the recipes that it becomes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from sqlalchemy import Connection, select

from tribute.collection.consent import allows, in_force, terms_in_force
from tribute.create.edit import check_strength
from tribute.create.prompt import PROMPT_MAX, in_own_words, said_after
from tribute.create.sample import check_prompt_fits, check_size, tokens_in
from tribute.diffusion.loading import Model
from tribute.ledger.payouts import payees_of
from tribute.provenance.fingerprints import fingerprints_of
from tribute.records import SMOOTHING_MAX, Artist, Consent, InvalidInput, InvalidPrompt, NotAllowed, Picture, Price, Recipe, Record, Style, StyleUse
from tribute.records.naming import without_names
from tribute.store.database import get
from tribute.store.schema import artists, styles

FULL_STEPS, FULL_GUIDANCE = 24, 4.0
RESCALE = 0.7  # of guidance, where the noisiest step holds no signal: without it colours burn (Lin et al. 2023, arXiv:2305.08891, section 3.4)
SAME = (  # when it is drawn again
    "prompt", "told", "negative_prompt", "styles", "seed", "beside", "prompt_noise", "led_until", "smoothing", "source_sha256", "strength", "mask_sha256",
)  # fmt: skip
TRIES = 4  # of each picture, where nobody asks for a seed of their own


class Ask(Record):
    """What somebody wants: `count` pictures with seeds `seed`, `seed` + 1, ..., or each the best of `tries` seeds in a row.

    The few-step student draws where the model has one, unless `full`, steps, guidance or a negative prompt (which needs guidance)
    are given. What is left out is the model's own.
    """

    prompt: str = Field(max_length=PROMPT_MAX)
    told: str | None = Field(default=None, max_length=2 * PROMPT_MAX)  # as in a recipe, for a picture drawn again; by default by the model's vocabulary
    negative_prompt: str = Field(default="", max_length=PROMPT_MAX)
    styles: tuple[StyleUse, ...] = ()
    seed: int = Field(ge=0, le=2**32 - 1)
    count: int = Field(default=1, ge=1, le=16)
    tries: int = Field(default=1, ge=1, le=8)  # drawn for each picture; what is most like the words is kept, where the model can tell
    full: bool = False
    steps: int | None = Field(default=None, ge=1, le=150)
    guidance: float | None = Field(default=None, ge=1.0, le=30.0)
    guidance_rescale: float | None = Field(default=None, ge=0.0, le=1.0)
    enlarge: Literal[1, 2, 4, 8] | None = None
    width: int | None = Field(default=None, ge=8, le=2048)
    height: int | None = Field(default=None, ge=8, le=2048)
    variation_seed: int | None = Field(default=None, ge=0, le=2**32 - 1)  # of the first picture, one more for each of the others
    variation_strength: float = Field(default=0.0, ge=0.0, le=1.0)
    beside: str = Field(default="", max_length=2 * PROMPT_MAX)  # this and the next two as in a recipe, for a picture drawn again
    prompt_noise: float = Field(default=0.0, ge=0.0, le=2.0)
    led_until: float = Field(default=1.0, gt=0.0, le=1.0)
    smoothing: float | None = Field(default=None, ge=0.0, le=SMOOTHING_MAX)  # as in a recipe; by default as still as works in the hand that is asked for
    source_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")  # blobs, made by `create.edit`
    strength: float = Field(default=1.0, gt=0.0, le=1.0)
    mask_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    model: str = ""  # one of the studio's; by default its own
    skip: tuple[int, ...] = ()  # numbers of pictures, from 0, that are there already

    @model_validator(mode="after")
    def _tries_from_words(self) -> Self:
        if self.tries > 1 and (self.source_sha256 or self.variation_strength > 0):
            raise ValueError("tries are for pictures drawn from words alone, neither over another picture nor near a seed; leave them out")
        return self


def unseeded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The seed of an ask that gives none, and `TRIES` of each picture where the student draws it from words alone."""
    slow_or_near = ("full", "steps", "guidance", "negative_prompt", "source_sha256", "variation_strength")
    tries = fields.get("tries")
    return {"seed": secrets.randbelow(2**32), "tries": tries if tries is not None else 1 if any(fields.get(name) for name in slow_or_near) else TRIES}


def led_away(ask: Ask, model: Model) -> bool:
    """Whether pictures of this ask are led away from near copies of works that it does not name, though nobody chooses among several: where the
    student draws them from words, and not once more."""
    again = ask.told is not None or ask.beside or ask.prompt_noise > 0
    return student_draws(ask, model) and not again and not ask.source_sha256 and fingerprints_of(model.folder) is not None


def student_draws(ask: Ask, model: Model) -> bool:
    """Whether the model's few-step student draws it."""
    return model.student is not None and not (ask.full or ask.steps or ask.guidance or ask.negative_prompt)


def allowed_styles(connection: Connection, wanted: Sequence[StyleUse]) -> tuple[list[Style], list[Consent]]:
    """The styles' records and the consents that allow them now. Raises Unknown or NotAllowed."""
    found, relied = [], []
    for use in wanted:
        style = get(connection, styles, Style, use.name, "style")
        artist = get(connection, artists, Artist, style.artist_id, "artist")
        withdrawn = connection.execute(select(styles.c.withdrawn).where(styles.c.name == use.name)).scalar_one()
        consent = allows(in_force(connection, style.artist_id), "style")
        if withdrawn or consent is None:
            raise NotAllowed(f"{artist.name} does not consent to the style {use.name!r}{f' since {withdrawn[:10]}' if withdrawn else ''}; choose another style")
        found.append(style)
        relied.append(consent)
    return found, relied


def consented_styles(connection: Connection, wanted: Sequence[StyleUse], model: Model) -> tuple[list[Style], list[Consent]]:
    """The same, for pictures that `model` draws. Raises InvalidInput too, for a style of another base."""
    found, relied = allowed_styles(connection, wanted)
    for style in found:
        if style.base_snapshot != model.snapshot:
            raise InvalidInput(f"style {style.name!r} was trained for another base than model {model.name!r}; use it with its own, the starter")
    return found, relied


def check_ask(connection: Connection, ask: Ask, model: Model | None) -> None:
    """Raises what `commission` would of an ask that can be seen to fail beforehand; of less where the model is not loaded here."""
    if model is None:
        allowed_styles(connection, ask.styles)
        return
    found, _ = consented_styles(connection, ask.styles, model)
    recipe = recipes_of(ask.model_copy(update={"skip": ()}), model, found)[0]
    check_size(model, recipe.width, recipe.height, recipe.enlarge)
    check_prompt_fits(model, recipe.prompt, recipe.told, recipe.beside, recipe.negative_prompt)
    check_strength(recipe)


def artist_names(connection: Connection, found: Sequence[Style]) -> dict[str, str]:
    """Style → its artist's name, as manifests cite them."""
    return {style.name: get(connection, artists, Artist, style.artist_id, "artist").name for style in found}


def owners_of(connection: Connection, found: Sequence[Style]) -> dict[str, str]:
    """Style → who is paid for it. Artists whose money goes to one account are one player of the game, under however many names."""
    accounts = payees_of(connection, (style.artist_id for style in found))
    return {style.name: accounts[style.artist_id].iban if style.artist_id in accounts else style.artist_id for style in found}


def price_of(own: Price, connection: Connection, relied: Sequence[Consent]) -> Price:
    """The highest price among the artists leaned on, or the studio's own where that is higher or nobody is; and what each agreed to give up."""
    least, artists_bp = [own.amount_minor], {}
    for consent in relied:
        agreed = terms_in_force(connection, consent.artist_id, consent.use)
        amount, currency = (agreed.price_minor, agreed.currency) if agreed else (consent.price_minor, consent.currency)
        if currency != own.currency:
            raise InvalidInput(f"{consent.artist_id} asks for {currency}, this studio sells in {own.currency}; one picture has one currency")
        least.append(amount)
        if agreed and agreed.platform_bp != own.platform_bp:
            artists_bp[consent.artist_id] = agreed.platform_bp
    return own.model_copy(update={"amount_minor": max(least), "artists_bp": artists_bp})


def recipes_of(ask: Ask, model: Model, found: Sequence[Style]) -> list[Recipe]:
    """One recipe a picture. Sizes left out are the model's own. Raises InvalidPrompt for words that name the styles worn and nothing to draw."""
    adapters = {style.name: style.adapter_sha256 for style in found}
    uses = tuple(use.model_copy(update={"adapter_sha256": adapters[use.name]}) for use in ask.styles)
    if uses and ask.told is None and not ask.source_sha256 and not without_names(ask.prompt, adapters):
        raise InvalidPrompt(f"the prompt {ask.prompt[:80]!r} names only the style, which is worn already; say what the picture should show")
    fast = student_draws(ask, model)
    finely = bool(ask.source_sha256) or (bool(ask.beside or ask.prompt_noise) and ask.led_until == 1.0)
    steps, guidance = (model.steps_of_student(finely), 1.0) if fast else (ask.steps or FULL_STEPS, ask.guidance or FULL_GUIDANCE)
    enlarge: Literal[1, 2, 4, 8] = ask.enlarge or model.enlarges
    width, height = ask.width or model.native * enlarge, ask.height or model.native * enlarge
    varied = ask.variation_strength > 0 and not ask.source_sha256  # what is drawn over begins from its source
    told = in_own_words(ask.prompt, model.vocabulary) if ask.told is None else ask.told
    if ask.told is None and told != ask.prompt and tokens_in(model, told) > model.max_tokens >= tokens_in(model, ask.prompt):
        told = ask.prompt  # the words as they were given fit, and mean what they mean
    rescale = ask.guidance_rescale
    if rescale is None:
        rescale = RESCALE if model.pipeline.scheduler.config.get("rescale_betas_zero_snr") else 0.0
    smoothing = smoothing_of(told, uses, model, found) if ask.smoothing is None else ask.smoothing
    edit: dict[str, Any] = {"source_sha256": ask.source_sha256, "strength": ask.strength, "mask_sha256": ask.mask_sha256} if ask.source_sha256 else {}
    return [
        Recipe(
            prompt=ask.prompt, told=told if told != ask.prompt else "", negative_prompt=ask.negative_prompt, styles=uses,
            seed=ask.seed if varied else (ask.seed + at * ask.tries) % 2**32, **edit,
            variation_seed=((ask.variation_seed or 0) + at) % 2**32 if varied else None, variation_strength=ask.variation_strength if varied else 0.0,
            beside=ask.beside, prompt_noise=ask.prompt_noise, led_until=ask.led_until, smoothing=smoothing, steps=steps, guidance=guidance,
            guidance_rescale=rescale if guidance > 1 and not ask.source_sha256 else 0.0,
            width=width, height=height, enlarge=enlarge, student=fast, scheduler=type(model.pipeline.scheduler).__name__,
            model=model.name, model_sha256=model.sha256, snapshot=model.snapshot, dtype=str(model.dtype).removeprefix("torch."),
            engine=model.engine_name,
        )
        for at in range(ask.count)
        if at not in ask.skip
    ]  # fmt: skip


def smoothing_of(words: str, uses: Sequence[StyleUse], model: Model, found: Sequence[Style]) -> float:
    """How strongly a picture is smoothed: as is measured for the worn style, for the one of several that needs it least, or where none is worn for the
    hand that the words ask for, or else for none."""
    own = {style.name: style.smoothing for style in found}
    worn = [own[use.name] for use in uses if use.weight > 0]
    asked = sorted(said_after(words) & set(model.smoothing))
    return min(worn) if worn else model.smoothing[asked[0]] if asked else model.smoothing.get("", 0.0)


def steps_of(recipe: Recipe) -> dict[str, Any]:
    """The fields of an ask that is drawn in the same steps as `recipe`."""
    if recipe.student:
        return {}
    return {"full": True, "steps": recipe.steps, "guidance": recipe.guidance, "guidance_rescale": recipe.guidance_rescale}


def larger(picture: Picture, times: int) -> Ask:
    """The ask for the same picture, drawn alike and enlarged `times` (2, 4 or 8) more. Raises InvalidInput beyond eight times in all."""
    recipe = picture.recipe
    if times not in (2, 4, 8) or recipe.enlarge * times not in (2, 4, 8):
        raise InvalidInput(f"a picture enlarged {recipe.enlarge} times cannot be enlarged {times} times more; give 2, 4 or 8, eight in all")
    kept = {name: getattr(recipe, name) for name in (*SAME, "variation_seed", "variation_strength")}
    size = {"width": recipe.width * times, "height": recipe.height * times, "enlarge": recipe.enlarge * times}
    return Ask.model_validate({**kept, **steps_of(recipe), **size})
