"""AUTOMATIC1111's API, as far as it goes here: `/sdapi/v1/txt2img`, `img2img` with a mask, progress and interrupt by task, and the lists clients ask for.

Styles are its LoRAs: `<lora:micah:0.8>` in a prompt. What is asked for and cannot be done yet (hires fix, scripts, tiling) is an error that
says so, never left out in silence.
"""

from __future__ import annotations

import base64
import io
import json
import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from tribute.create.edit import as_mask, as_source
from tribute.provenance.label import infotext, read_labels
from tribute.records import Interrupted, InvalidInput, Picture, Style, Unknown, utc_now
from tribute.store.database import documents
from tribute.store.schema import styles as styles_table
from tribute.studio.api.problems import NotYet
from tribute.studio.floor import Floor
from tribute.studio.jobs import Job
from tribute.studio.likeness import check_source
from tribute.studio.people import Person
from tribute.studio.web.access import At, Creator
from tribute.studio.web.create import size_of

router = APIRouter(prefix="/sdapi/v1")
# Settings of other samplers, of the hires fix and of files: without meaning here, and harmless.
IGNORED = {
    "comments", "denoising_strength", "disable_extra_networks", "do_not_save_grid", "do_not_save_samples", "eta", "firstphase_height", "firstphase_width",
    "hr_checkpoint_name", "hr_negative_prompt", "hr_prompt", "hr_resize_x", "hr_resize_y", "hr_sampler_name", "hr_scale", "hr_scheduler",
    "hr_second_pass_steps", "hr_upscaler", "infotext", "override_settings_restore_afterwards", "s_churn", "s_min_uncond", "s_noise", "s_tmax", "s_tmin",
    "sampler_index", "save_images", "scheduler", "script_args", "seed_resize_from_h", "seed_resize_from_w",
}  # fmt: skip
# Of img2img: how A1111 prepares a mask; here the mask is taken as it is.
EDITED = {
    "image_cfg_scale",
    "include_init_images",
    "initial_noise_multiplier",
    "inpaint_full_res",
    "inpaint_full_res_padding",
    "inpainting_fill",
    "mask_blur",
    "mask_blur_x",
    "mask_blur_y",
    "mask_round",
    "resize_mode",
}
REFUSED = (
    "alwayson_scripts", "enable_hr", "firstpass_image", "init_images", "latent_mask", "mask", "refiner_checkpoint", "refiner_switch_at", "restore_faces",
    "script_name", "styles", "tiling",
)  # fmt: skip
SAMPLERS = {"DDIM": ("ddim", "Euler", "Euler a", "Automatic")}  # with the names that clients send when nobody chose one


class Txt2Img(BaseModel):
    """What is read of a request; the rest is in IGNORED (it changes nothing at its default) or REFUSED."""

    model_config = ConfigDict(extra="ignore")

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    batch_size: int = Field(default=1, ge=1, le=16)
    n_iter: int = Field(default=1, ge=1, le=16)
    sampler_name: str | None = None
    subseed: int = -1
    subseed_strength: float = Field(default=0.0, ge=0.0, le=1.0)
    send_images: bool = True
    override_settings: dict[str, Any] | None = None
    force_task_id: str | None = Field(default=None, min_length=1, max_length=100, pattern=r"^[A-Za-z0-9()_.-]+$")


class Img2Img(Txt2Img):
    """The same, over the first of `init_images`, within `mask` where one is given."""

    init_images: list[str] = Field(min_length=1, max_length=1)
    denoising_strength: float = Field(default=0.75, gt=0.0, le=1.0)
    mask: str | None = None
    inpainting_mask_invert: int = Field(default=0, ge=0, le=1)


def told(status: int, message: str, found: Exception | None) -> JSONResponse:
    """As A1111 tells errors."""
    name = {401: "Unauthorized", 501: "NotImplemented"}.get(status, type(found).__name__)
    headers = {"WWW-Authenticate": "Basic"} if status == 401 else None
    return JSONResponse({"error": name, "detail": message, "body": "", "errors": message}, status, headers=headers)


def info_of(pictures: list[Picture]) -> dict[str, Any]:
    """The `info` document: of the first picture, and of all in lists."""
    first = pictures[0].recipe
    return {
        "prompt": first.prompt, "all_prompts": [one.recipe.prompt for one in pictures], "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [one.recipe.negative_prompt for one in pictures], "seed": first.seed, "all_seeds": [one.recipe.seed for one in pictures],
        "subseed": first.variation_seed or 0,
        "all_subseeds": [one.recipe.variation_seed or 0 for one in pictures], "subseed_strength": first.variation_strength,
        "width": first.width, "height": first.height, "sampler_name": "DDIM",
        "cfg_scale": first.guidance, "steps": first.steps, "batch_size": len(pictures), "restore_faces": False, "face_restoration_model": None,
        "sd_model_name": first.model, "sd_model_hash": first.model_sha256[:10], "sd_vae_name": None, "sd_vae_hash": None, "seed_resize_from_w": -1,
        "seed_resize_from_h": -1, "denoising_strength": first.strength if first.source_sha256 else None,
        "index_of_first_image": 0, "infotexts": [infotext(one.recipe) for one in pictures],
        "extra_generation_params": {"Tribute": [one.id for one in pictures]}, "styles": [], "job_timestamp": f"{pictures[0].created:%Y%m%d%H%M%S}",
        "clip_skip": 1, "is_using_inpainting_conditioning": False, "version": "tribute",
    }  # fmt: skip


def picture_in(text: str, name: str) -> bytes:
    """The bytes of a base64 or data-URL picture. Raises InvalidInput."""
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except ValueError as error:
        raise InvalidInput(f"{name} is no base64 of a picture") from error


def fields_of(floor: Floor, body: dict[str, Any], kind: type[Txt2Img]) -> tuple[dict[str, Any], Txt2Img]:
    """The fields of a request's ask. Raises InvalidInput for what is not here yet, Unknown for a sampler or model that there is not."""
    refused = [name for name in REFUSED if name not in kind.model_fields and body.get(name) and body[name] not in (-1, "")]
    if refused:
        raise InvalidInput(f"{', '.join(refused)}: not here yet; leave it out")
    odd = sorted(set(body) - IGNORED - EDITED - set(REFUSED) - set(Img2Img.model_fields))
    if odd:
        raise InvalidInput(f"{', '.join(odd)[:200]}: not known; leave it out")
    given = kind.model_validate(body)
    sampler = given.sampler_name or "DDIM"
    if sampler not in (*SAMPLERS, *(alias for aliases in SAMPLERS.values() for alias in aliases)):
        raise Unknown(f"Sampler not found: {sampler[:80]}; there is {', '.join(SAMPLERS)}")
    wanted = given.override_settings or {}
    odd = sorted(set(wanted) - {"sd_model_checkpoint"})
    if odd:
        raise InvalidInput(f"override_settings {', '.join(odd)[:200]}: not here yet; leave it out")
    fields: dict[str, Any] = {"steps": given.steps, "guidance": given.cfg_scale, "negative_prompt": given.negative_prompt}
    fields |= {"count": given.batch_size * given.n_iter, "model": str(wanted.get("sd_model_checkpoint", "")).partition(" [")[0]}
    if given.width or given.height:
        width, height = given.width or given.height, given.height or given.width
        fields |= size_of(floor, f"{width}x{height}", fields["model"])
    if given.seed >= 0:
        fields["seed"] = given.seed
    if given.subseed_strength > 0:
        fields |= {"variation_strength": given.subseed_strength, "variation_seed": given.subseed if given.subseed >= 0 else secrets.randbelow(2**32)}
    return fields, given


def source_fields(floor: Floor, given: Img2Img, fields: dict[str, Any]) -> dict[str, Any]:
    model = floor.easel.model(fields["model"])
    width, height = (fields.get(side) or model.native * model.enlarges for side in ("width", "height"))
    put, data = floor.workshop.blobs.put, picture_in(given.init_images[0], "init_images")
    check_source(floor.workshop, data)
    more: dict[str, Any] = {"source_sha256": put(as_source(data, "init_images", width, height))}
    more["strength"] = given.denoising_strength
    if given.mask:
        mask = as_mask(picture_in(given.mask, "mask"), "mask", width, height)
        if given.inpainting_mask_invert:
            from PIL import Image, ImageOps

            written = io.BytesIO()
            ImageOps.invert(Image.open(io.BytesIO(mask))).save(written, "PNG")
            mask = written.getvalue()
        more["mask_sha256"] = put(mask)
    return more


def draw(floor: Floor, person: Person, body: dict[str, Any], kind: type[Txt2Img]) -> dict[str, Any]:
    fields, given = fields_of(floor, body, kind)
    if isinstance(given, Img2Img):
        fields |= source_fields(floor, given, fields)
    ask = floor.wish(given.prompt, **fields)
    floor.check_program(person, ask)
    job = floor.submit(person, ask, job_id=given.force_task_id)
    try:
        pictures = floor.drawn(job)
    except Interrupted:
        return {"images": [], "parameters": body, "info": json.dumps({"interrupted": True})}
    files = floor.files_for(person, pictures) if given.send_images else []  # what is not handed over is not paid
    return {"images": [base64.b64encode(file).decode() for file in files], "parameters": body, "info": json.dumps(info_of(pictures), ensure_ascii=False)}


async def body_of(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the body is no JSON object") from error
    if not isinstance(body, dict):
        raise InvalidInput("the body is no JSON object")
    return body


@router.post("/txt2img")
async def txt2img(request: Request, floor: At, person: Creator) -> Any:
    return await run_in_threadpool(draw, floor, person, await body_of(request), Txt2Img)


@router.post("/img2img")
async def img2img(request: Request, floor: At, person: Creator) -> Any:
    return await run_in_threadpool(draw, floor, person, await body_of(request), Img2Img)


def asked_for(floor: Floor, person: Person, task_id: str | None) -> Job | None:
    """This person's job of that id, or theirs that is being drawn."""
    mine = floor.jobs.waiting(person.id)
    if task_id:
        return next((job for job in mine if job.id == task_id), None)
    return next((job for job in mine if job.state == "running"), None)


@router.get("/progress")
def progress(floor: At, person: Creator, skip_current_image: bool = False, id_task: str | None = None) -> dict[str, Any]:
    """Of the task of that id, or of the caller's that is being drawn."""
    job = asked_for(floor, person, id_task)
    began = job.started or job.created if job else utc_now()
    state = {
        "skipped": False, "interrupted": bool(job and job.stop), "stopping_generation": bool(job and job.stop), "job": job.id if job else "",
        "job_count": len(floor.jobs.waiting()), "job_timestamp": f"{began:%Y%m%d%H%M%S}", "job_no": 0, "sampling_step": job.done if job else 0,
        "sampling_steps": job.total if job else 0,
    }  # fmt: skip
    part = max(0.01, job.part) if job else 0.0
    left = (utc_now() - began).total_seconds() * (1 - part) / part if job else 0.0
    png = floor.jobs.preview(job.id, 0) if job and not skip_current_image else None
    seen = base64.b64encode(png).decode() if png else None
    return {"progress": part, "eta_relative": left, "state": state, "current_image": seen, "textinfo": None, "current_task": job.id if job else None}


@router.post("/interrupt")
def interrupt(floor: At, person: Creator, id_task: str | None = None) -> dict[str, Any]:
    """The caller's task of that id, or theirs that is being drawn; nobody else's."""
    job = asked_for(floor, person, id_task)
    if job is not None:
        floor.jobs.cancel(job.id)
    return {}


@router.post("/png-info")
async def png_info(request: Request, person: Creator) -> Any:
    del person
    image = (await body_of(request)).get("image")
    if not isinstance(image, str):
        raise InvalidInput("image is no base64 of a picture")
    labels = await run_in_threadpool(lambda: read_labels(picture_in(image, "image")))
    return {"info": labels.get("parameters", ""), "items": labels, "parameters": {}}


@router.get("/samplers")
def samplers(person: Creator) -> list[dict[str, Any]]:
    del person
    return [{"name": name, "aliases": list(aliases), "options": {}} for name, aliases in SAMPLERS.items()]


@router.get("/schedulers")
def schedulers(person: Creator) -> list[dict[str, Any]]:
    del person
    return [{"name": "automatic", "label": "Automatic", "aliases": None, "default_rho": -1, "need_inner_model": False}]


@router.get("/upscalers")
def upscalers(person: Creator) -> list[dict[str, Any]]:
    del person
    return [{"name": "Tribute", "model_name": None, "model_path": None, "model_url": None, "scale": 2}]


@router.get("/sd-models")
def sd_models(floor: At, person: Creator) -> list[dict[str, Any]]:
    del person
    model, own = floor.easel.model(), floor.workshop.settings.model
    first = {"title": f"{own} [{model.sha256[:10]}]", "model_name": own, "hash": model.sha256[:10], "sha256": model.sha256, "filename": own, "config": None}
    others = [
        {"title": name, "model_name": name, "hash": None, "sha256": None, "filename": name, "config": None} for name in floor.workshop.settings.offered[1:]
    ]
    return [first, *others]


@router.get("/loras")
def loras(floor: At, person: Creator) -> list[dict[str, Any]]:
    del person
    with floor.workshop.database.reading() as connection:
        found = documents(connection, styles_table, Style, styles_table.c.withdrawn.is_(None))
    return [{"name": one.name, "alias": one.name, "path": one.name, "metadata": {"artist": one.artist_id, "licence": one.licence.spdx}} for one in found]


@router.get("/options")
def options(floor: At, person: Creator) -> dict[str, Any]:
    del person
    return {"sd_model_checkpoint": floor.workshop.settings.model, "samples_format": "png"}


@router.post("/options")
def set_options(person: Creator) -> None:
    del person
    raise InvalidInput("options cannot be changed for everybody; give override_settings with a request, or start the studio with another TRIBUTE_MODEL")


@router.post("/{what:path}")
def not_yet(what: str, person: Creator) -> None:
    del person
    raise NotYet(f"/sdapi/v1/{what[:40]} is not here yet")
