"""The studio's own interface, `/api/v1`, documented by OpenAPI: works, styles, consent, jobs, pictures, credits, downloads, receipts, statements.

Lists come in pages with a cursor, files with an ETag, errors as problem documents (RFC 9457), and what costs money asks for an idempotency key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from tribute.collection.consent import in_force
from tribute.commission import vouched
from tribute.ledger.receipt import stored_receipt
from tribute.provenance.verify import verify
from tribute.records import Artist, Credits, InvalidInput, Picture, Statement, Style, Unknown, Use, Work
from tribute.store.database import documents, get
from tribute.store.schema import artists, gallery, styles, works
from tribute.studio.gallery import Hung, kept_by, kept_key
from tribute.studio.jobs import Job
from tribute.studio.web.access import At, Creator, Guest, Visitor, address_of, artist_or_operator
from tribute.studio.web.artists import set_consent, statements_of
from tribute.studio.web.create import own_job

PROBLEM = {"description": "What was wrong, as a problem document", "content": {"application/problem+json": {"schema": {"type": "object"}}}}
ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 402, 403, 404, 409, 413, 422, 429), PROBLEM)
router = APIRouter(prefix="/api/v1", responses=ERRORS)
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{8}$", description="A picture's id: 8 hexadecimal digits")]
Slug = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Cursor = Annotated[str, Query(max_length=100, pattern=r"^[0-9A-Za-z_:.-]*$", description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=100)]
Key = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]
MaybeKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]


class Page(BaseModel):
    """`next` is the cursor of the next page, '' at the end."""

    items: list[dict[str, Any]]
    next: str


class Wanted(BaseModel):
    """What to draw. The prompt may hold style tags and parameters, as on the page."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=1000)
    negative_prompt: str = Field(default="", max_length=1000)
    count: int = Field(default=1, ge=1, le=9)
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    tries: int | None = Field(default=None, ge=1, le=8, description="Drawn for each picture, the one most like the words is kept; 4 where no seed is given")
    steps: int | None = Field(default=None, ge=1, le=150)
    guidance: float | None = Field(default=None, ge=1.0, le=30.0)
    width: int | None = Field(default=None, ge=8, le=2048)
    height: int | None = Field(default=None, ge=8, le=2048)
    enlarge: int | None = Field(default=None, json_schema_extra={"enum": [1, 2, 4, 8, None]})
    model: str = Field(default="", max_length=200)


class Said(BaseModel):
    model_config = ConfigDict(extra="forbid")

    use: Use
    allowed: bool


class Shown(BaseModel):
    """A picture as this interface tells it."""

    id: str
    recipe: dict[str, Any]
    credits: Credits | None
    price: dict[str, Any]
    pixel_sha256: str
    file_sha256: str
    created: datetime
    parent_id: str | None
    published: str | None
    likes: int

    @classmethod
    def of(cls, hung: Hung) -> Shown:
        picture = hung.picture
        return cls(
            id=picture.id, recipe=picture.recipe.document(), credits=picture.credits, price=picture.price.document(), pixel_sha256=picture.pixel_sha256,
            file_sha256=picture.file_sha256, created=picture.created, parent_id=hung.parent_id, published=hung.published, likes=hung.likes,
        )  # fmt: skip


def job_document(job: Job) -> dict[str, Any]:
    return {**job.document(), "part": job.part}


@router.get("/styles")
def list_styles(floor: At) -> Page:
    with floor.workshop.database.reading() as connection:
        found = documents(connection, styles, Style, styles.c.withdrawn.is_(None))
        said = {style.name: in_force(connection, style.artist_id).get("style") for style in found}
    items = [{**style.document(), "consent": consent.document()} for style in found if (consent := said[style.name]) and consent.allowed]
    return Page(items=items, next="")


@router.get("/works")
def list_works(floor: At, style: str = "", artist: str = "", after: Cursor = "", limit: Limit = 50) -> Page:
    where = [works.c.hash > after]
    where += [works.c.style == style] if style else []
    where += [works.c.artist_id == artist] if artist else []
    with floor.workshop.database.reading() as connection:
        rows = connection.execute(select(works.c.hash, works.c.document).where(*where).order_by(works.c.hash).limit(limit + 1)).all()
    items = [{**Work.model_validate_json(row.document).document(), "hash": row.hash} for row in rows[:limit]]
    return Page(items=items, next=rows[limit - 1].hash if len(rows) > limit else "")


@router.get("/artists")
def list_artists(floor: At) -> Page:
    with floor.workshop.database.reading() as connection:
        items = [artist.document() for artist in documents(connection, artists, Artist)]
    return Page(items=items, next="")


@router.get("/artists/{artist_id}/consents")
def consents(floor: At, artist_id: Slug) -> dict[str, Any]:
    """An artist's last word on each use; a use that is absent was never consented to."""
    with floor.workshop.database.reading() as connection:
        get(connection, artists, Artist, artist_id, "artist")
        return {use: {**said.document(), "hash": said.hash} for use, said in in_force(connection, artist_id).items()}


@router.post("/artists/{artist_id}/consents", status_code=201)
def say_consent(floor: At, person: Creator, artist_id: Slug, said: Said) -> dict[str, Any]:
    """For the artist and the operator."""
    artist_or_operator(person, artist_id)
    return set_consent(floor, artist_id, said.use, said.allowed, f"said by {person.name} by the interface").document()


@router.get("/artists/{artist_id}/statements")
def statements(floor: At, person: Creator, artist_id: Slug) -> list[Statement]:
    """For the artist and the operator."""
    artist_or_operator(person, artist_id)
    with floor.workshop.database.reading() as connection:
        get(connection, artists, Artist, artist_id, "artist")
        return statements_of(connection, artist_id)


@router.post("/jobs", status_code=202)
def ask(floor: At, person: Guest, wanted: Wanted, key: MaybeKey = None) -> dict[str, Any]:
    """Accepts a job. Said again with the same Idempotency-Key, it is the same job."""
    fields = wanted.model_dump(exclude={"prompt"}, exclude_none=True)
    return job_document(floor.submit(person, floor.wish(wanted.prompt, **fields), key=key, asked=wanted.model_dump_json()))


@router.get("/jobs")
def list_jobs(floor: At, person: Guest, limit: Limit = 50) -> Page:
    from tribute.store.schema import jobs

    return Page(items=[job_document(job) for job in floor.jobs.find(jobs.c.person_id == person.id, limit=limit)], next="")


@router.get("/jobs/{job_id}")
def one_job(floor: At, person: Guest, job_id: str, wait_s: Annotated[float, Query(ge=0, le=30)] = 0.0) -> dict[str, Any]:
    """A job as it is now, or as it is when it has ended or `wait_s` is over."""
    job = own_job(floor, person, job_id)
    if wait_s:
        with floor.waiting(person.id):
            job = floor.jobs.wait(job_id, wait_s)
    return job_document(job)


@router.delete("/jobs/{job_id}")
def cancel_job(floor: At, person: Guest, job_id: str) -> dict[str, Any]:
    """Cancels this job and no other."""
    own_job(floor, person, job_id)
    return job_document(floor.jobs.cancel(job_id))


@router.get("/pictures")
def list_pictures(floor: At, person: Guest, before: Cursor = "", limit: Limit = 50) -> Page:
    """The caller's pictures, newest first."""
    found, after = floor.gallery.page(person, gallery.c.person_id == person.id, before=before, limit=limit)
    return Page(items=[Shown.of(one).model_dump(mode="json") for one in found], next=after)


@router.get("/pictures/{picture_id}")
def one_picture(floor: At, person: Visitor, picture_id: Id) -> Shown:
    return Shown.of(floor.gallery.see(person, picture_id))


@router.get("/pictures/{picture_id}/credits")
def credits(floor: At, person: Visitor, picture_id: Id) -> dict[str, Any]:
    """Who made it: shares in parts per million, which sum to a million; or `pending`."""
    found: Picture = floor.gallery.see(person, picture_id).picture
    return found.credits.document() if found.credits else {"method": "pending", "shares": []}


@router.post("/pictures/{picture_id}/downloads", status_code=201)
def keep(floor: At, person: Creator, picture_id: Id, key: Key) -> dict[str, Any]:
    """Keeps a picture: pays its artists from the caller's balance, and answers with the receipt. Said again with the same key, it counts once."""
    _, receipt, moved = floor.keep(person, floor.gallery.see(person, picture_id).picture, key)
    return {"moved": moved, "receipt": receipt}


@router.get("/pictures/{picture_id}/file", responses={200: {"content": {"image/png": {}}}, 304: {"description": "It is the one that you have"}})
def file(request: Request, floor: At, person: Creator, picture_id: Id) -> Response:
    """The sealed file, for whoever keeps the picture and for the operator."""
    from tribute.studio.web.picture import sealed

    return sealed(request, floor, person, picture_id)


@router.get("/receipts")
def list_receipts(floor: At, person: Creator, limit: Limit = 50) -> Page:
    """The caller's receipts, newest first."""
    with floor.workshop.database.reading() as connection:
        rows = kept_by(connection, person, limit=limit)
    return Page(items=[{"picture": row.picture_id, "created": row.created} for row in rows], next="")


@router.get("/receipts/{picture_id}")
def one_receipt(floor: At, person: Creator, picture_id: Id) -> dict[str, Any]:
    """What `tribute receipt verify` checks offline."""
    with floor.workshop.database.reading() as connection:
        key = kept_key(connection, person, picture_id)
        if key is None:
            raise Unknown(f"you do not keep picture {picture_id}, so there is no receipt of yours for it")
        found = stored_receipt(connection, key)
    return vouched(floor.workshop.desk(), found)


@router.get("/account")
def account(floor: At, person: Creator) -> dict[str, Any]:
    return {**person.document(), "balance_micro": floor.balance_micro(person), "currency": floor.workshop.settings.currency}


@router.post("/verify")
async def check(request: Request, floor: At, file: UploadFile) -> dict[str, Any]:
    """What a file says of itself: signature, watermark, label."""
    from starlette.concurrency import run_in_threadpool

    request.app.state.rates.hit("upload", address_of(request))
    data = await file.read()
    if not data:
        raise InvalidInput("the file is empty")
    found = await run_in_threadpool(verify, data, (file.filename or "the file")[:100], floor.workshop.studio().root)
    return found.document()
