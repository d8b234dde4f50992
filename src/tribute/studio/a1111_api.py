"""AUTOMATIC1111's API, as far as drawing from words goes: `/sdapi/v1/txt2img`, progress and interrupt by task, and the lists clients ask for.

Styles are its LoRAs: `<lora:micah:0.8>` in a prompt. What is asked for and cannot be done yet (img2img, hires fix, scripts) is an error that
says so, never left out in silence.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tribute.provenance.label import infotext, read_labels
from tribute.records import InvalidInput, Picture, Style, TributeError, Unknown
from tribute.store.database import documents
from tribute.store.schema import styles as styles_table
from tribute.studio.easel import Busy, Easel, Interrupted

# Settings of other samplers, of the hires fix and of files: without meaning here, and harmless.
IGNORED = {
    "comments", "denoising_strength", "disable_extra_networks", "do_not_save_grid", "do_not_save_samples", "eta", "firstphase_height", "firstphase_width",
    "hr_checkpoint_name", "hr_negative_prompt", "hr_prompt", "hr_resize_x", "hr_resize_y", "hr_sampler_name", "hr_scale", "hr_scheduler",
    "hr_second_pass_steps", "hr_upscaler", "infotext", "override_settings_restore_afterwards", "s_churn", "s_min_uncond", "s_noise", "s_tmax", "s_tmin",
    "sampler_index", "save_images", "scheduler", "script_args", "seed_resize_from_h", "seed_resize_from_w", "send_images", "subseed",
}  # fmt: skip
REFUSED = (
    "alwayson_scripts", "enable_hr", "firstpass_image", "init_images", "mask", "override_settings", "refiner_checkpoint", "refiner_switch_at",
    "restore_faces", "script_name", "styles", "subseed_strength", "tiling",
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
    force_task_id: str | None = Field(default=None, max_length=100)


def failed(found: Exception) -> JSONResponse:
    """As A1111 tells errors."""
    status = 429 if isinstance(found, Busy) else 404 if isinstance(found, Unknown) else 422 if isinstance(found, ValidationError) else 400
    detail = str(found.errors()[0]["msg"]) if isinstance(found, ValidationError) else str(found)
    return JSONResponse({"error": type(found).__name__, "detail": detail, "body": "", "errors": detail}, status)


def info_of(pictures: list[Picture]) -> dict[str, Any]:
    """The `info` document: of the first picture, and of all in lists."""
    first = pictures[0].recipe
    return {
        "prompt": first.prompt, "all_prompts": [one.recipe.prompt for one in pictures], "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [one.recipe.negative_prompt for one in pictures], "seed": first.seed, "all_seeds": [one.recipe.seed for one in pictures],
        "subseed": 0, "all_subseeds": [0] * len(pictures), "subseed_strength": 0, "width": first.width, "height": first.height, "sampler_name": "DDIM",
        "cfg_scale": first.guidance, "steps": first.steps, "batch_size": len(pictures), "restore_faces": False, "face_restoration_model": None,
        "sd_model_name": first.model, "sd_model_hash": first.model_sha256[:10], "sd_vae_name": None, "sd_vae_hash": None, "seed_resize_from_w": -1,
        "seed_resize_from_h": -1, "denoising_strength": None, "index_of_first_image": 0, "infotexts": [infotext(one.recipe) for one in pictures],
        "extra_generation_params": {"Tribute": [one.id for one in pictures]}, "styles": [], "job_timestamp": f"{pictures[0].created:%Y%m%d%H%M%S}",
        "clip_skip": 1, "is_using_inpainting_conditioning": False, "version": "tribute",
    }  # fmt: skip


def ask_of(easel: Easel, body: dict[str, Any]) -> tuple[Any, Txt2Img]:
    """The ask of a request. Raises InvalidInput for what is not here yet, Unknown for a sampler or style that there is not."""
    from tribute.commission import Ask
    from tribute.create.prompt import read_prompt

    refused = [name for name in REFUSED if body.get(name) and body[name] not in (-1, "")]
    if refused:
        raise InvalidInput(f"{', '.join(refused)}: not here yet; leave it out")
    odd = sorted(set(body) - IGNORED - set(REFUSED) - set(Txt2Img.model_fields))
    if odd:
        raise InvalidInput(f"{', '.join(odd)[:200]}: not known; leave it out")
    given = Txt2Img.model_validate(body)
    sampler = given.sampler_name or "DDIM"
    if sampler not in (*SAMPLERS, *(alias for aliases in SAMPLERS.values() for alias in aliases)):
        raise Unknown(f"Sampler not found: {sampler[:80]}; there is {', '.join(SAMPLERS)}")
    words, uses = read_prompt(given.prompt)
    model = easel.model()
    sizes: dict[str, Any] = {}
    if given.width or given.height:
        width, height = given.width or given.height or 0, given.height or given.width or 0
        times = next((times for times in (8, 4, 2) if model.upscaler is not None and min(width, height) == times * model.native), 1)
        sizes = {"width": width, "height": height, "enlarge": times}
    seed = secrets.randbelow(2**32) if given.seed < 0 else given.seed
    exact: dict[str, Any] = {"steps": given.steps, "guidance": given.cfg_scale, "negative_prompt": given.negative_prompt}
    return Ask(prompt=words, styles=uses, seed=seed, count=given.batch_size * given.n_iter, **exact, **sizes), given


def lists(api: APIRouter, easel: Easel) -> None:
    """What clients ask for before they draw."""

    @api.get("/samplers")
    def samplers() -> list[dict[str, Any]]:
        return [{"name": name, "aliases": list(aliases), "options": {}} for name, aliases in SAMPLERS.items()]

    @api.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        return [{"name": "automatic", "label": "Automatic", "aliases": None, "default_rho": -1, "need_inner_model": False}]

    @api.get("/sd-models")
    def sd_models() -> list[dict[str, Any]]:
        model = easel.model()
        return [{"title": f"{model.name} [{model.sha256[:10]}]", "model_name": model.name, "hash": model.sha256[:10], "sha256": model.sha256,
                 "filename": model.name, "config": None}]  # fmt: skip

    @api.get("/loras")
    def loras() -> list[dict[str, Any]]:
        with easel.workshop.database.reading() as connection:
            found = documents(connection, styles_table, Style, styles_table.c.withdrawn.is_(None))
        return [{"name": one.name, "alias": one.name, "path": one.name, "metadata": {"artist": one.artist_id, "licence": one.licence.spdx}} for one in found]

    @api.get("/options")
    def options() -> dict[str, Any]:
        return {"sd_model_checkpoint": easel.workshop.settings.model, "samples_format": "png"}

    @api.post("/options")
    def set_options() -> JSONResponse:
        return failed(InvalidInput("options cannot be changed here; start the studio with another TRIBUTE_MODEL"))


def router(easel: Easel) -> APIRouter:
    api = APIRouter(prefix="/sdapi/v1")
    blobs = easel.workshop.blobs

    @api.post("/txt2img")
    async def txt2img(request: Request) -> Any:
        from starlette.concurrency import run_in_threadpool

        try:
            body = await request.json()
            if not isinstance(body, dict):
                raise InvalidInput("the body is no JSON object")
            ask, given = await run_in_threadpool(ask_of, easel, body)
            pictures = await run_in_threadpool(easel.draw, ask, given.force_task_id or secrets.token_hex(8))
        except Interrupted:
            return {"images": [], "parameters": body, "info": json.dumps({"interrupted": True})}
        except (TributeError, ValidationError) as found:
            return failed(found)
        except ValueError:
            return failed(InvalidInput("the body is no JSON object"))
        images = [base64.b64encode(blobs.get(one.file_sha256)).decode() for one in pictures]
        return {"images": images, "parameters": body, "info": json.dumps(info_of(pictures), ensure_ascii=False)}

    @api.get("/progress")
    def progress(skip_current_image: bool = False, id_task: str | None = None) -> dict[str, Any]:
        """Of the task of that id, or of the one that is being drawn."""
        del skip_current_image
        task = easel.find(id_task) if id_task else easel.current()
        stopped, started = bool(task and task.stopped), time.gmtime(task.started if task else None)
        state = {
            "skipped": False, "interrupted": stopped, "stopping_generation": stopped, "job": task.id if task else "", "job_count": len(easel.tasks),
            "job_timestamp": time.strftime("%Y%m%d%H%M%S", started), "job_no": 0, "sampling_step": task.done if task else 0,
            "sampling_steps": task.total if task else 0,
        }  # fmt: skip
        part = max(0.01, task.done / task.total if task.total else 0.0) if task else 0.0
        left = (time.time() - task.started) * (1 - part) / part if task else 0.0
        return {"progress": part, "eta_relative": left, "state": state, "current_image": None, "textinfo": None, "current_task": task.id if task else None}

    @api.post("/interrupt")
    def interrupt(id_task: str | None = None) -> dict[str, Any]:
        easel.stop(id_task)
        return {}

    @api.post("/png-info")
    async def png_info(request: Request) -> Any:
        try:
            image = str((await request.json())["image"]).rpartition(",")[2]
            labels = read_labels(base64.b64decode(image, validate=True)[:64_000_000])
        except (ValueError, KeyError, TypeError):
            return failed(InvalidInput("image is no base64 of a picture"))
        return {"info": labels.get("parameters", ""), "items": labels, "parameters": {}}

    lists(api, easel)

    @api.post("/{what}")
    def not_yet(what: str) -> JSONResponse:
        return JSONResponse({"error": "NotImplemented", "detail": f"/sdapi/v1/{what[:40]} is not here yet", "body": "", "errors": ""}, 501)

    return api
