"""Published clients against a real server on loopback: they work by changing their base URL."""

import base64
import io
import threading
import time

import httpx
import numpy as np
import openai
import pytest
import webuiapi
from PIL import Image

from tests.conftest import flat_art
from tribute.provenance.verify import verify
from tribute.store.schema import pictures


@pytest.fixture
def client(address):
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def intact(workshop, data):
    assert verify(data, "x.png", workshop.studio().root).verdict == "intact"
    return Image.open(io.BytesIO(data)).size


def stored(workshop):
    with workshop.database.reading() as connection:
        return len(connection.execute(pictures.select()).all())


def test_openai_draws_sealed_pictures_as_base64_and_as_urls(workshop, client):
    made = client.images.generate(prompt="a blue heart <style:ada:0.8>", n=2, response_format="b64_json")
    assert [intact(workshop, base64.b64decode(one.b64_json)) for one in made.data] == [(64, 64)] * 2
    linked = client.images.generate(prompt="a fox", response_format="url").data[0].url
    assert intact(workshop, httpx.get(linked).content) == (64, 64)
    assert [one.id for one in client.models.list()] == [client.models.retrieve(client.models.list().data[0].id).id]


def test_openai_streams(client, monkeypatch):
    monkeypatch.setattr("tribute.studio.easel.VIEW_S", 0.0)
    events = list(client.images.generate(prompt="a fox", stream=True, partial_images=3, n=4))
    partial, finished = [event for event in events if "partial" in event.type], [event for event in events if event.type.endswith("completed")]
    assert events == [*partial, *finished]
    assert len(finished) == 4
    assert 1 <= len(partial) <= 3
    assert [event.partial_image_index for event in partial] == list(range(len(partial)))
    seen = [Image.open(io.BytesIO(base64.b64decode(event.b64_json))).convert("RGB") for event in events]
    assert len({image.tobytes() for image in seen}) == len(events)
    assert len(list(client.images.generate(prompt="a fox", stream=True))) == 1
    with pytest.raises(openai.APIError, match=r"does not suit|consent|shorten"):
        list(client.images.generate(prompt="fox " * 200, stream=True))


@pytest.mark.anyio
async def test_openai_async(address):
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        assert (await client.images.generate(prompt="a fox")).data[0].b64_json


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"prompt": ""}, openai.BadRequestError, "empty"),
        ({"prompt": "a", "n": 11}, openai.BadRequestError, "n:"),
        ({"prompt": "a", "size": "7x7"}, openai.BadRequestError, "is not drawn here"),
        ({"prompt": "a", "model": "sd-9"}, openai.NotFoundError, "no model named"),
        ({"prompt": "a", "background": "transparent"}, openai.BadRequestError, "background"),
        ({"prompt": "a <style:zed>"}, openai.NotFoundError, "there is ada, bo"),
    ],
)
def test_openai_errors_have_their_four_keys(client, workshop, given, kind, says):
    with pytest.raises(kind, match=says) as found:
        client.images.generate(**given)
    assert set(found.value.body) == {"message", "type", "param", "code"}
    assert stored(workshop) == 0


def png(picture_HWC, mode="RGB"):
    written = io.BytesIO()
    Image.fromarray(picture_HWC, mode).save(written, "PNG")
    return written.getvalue()


def test_openai_edits_leave_what_is_outside_the_mask_as_it_was(workshop, client):
    source = flat_art(64, 3)
    mask = np.full((64, 64, 4), 255, np.uint8)
    mask[16:48, 16:48, 3] = 0
    made = client.images.edit(image=("a.png", png(source)), mask=("m.png", png(mask, "RGBA")), prompt="a fox", response_format="b64_json")
    data = base64.b64decode(made.data[0].b64_json)
    assert intact(workshop, data) == (64, 64)
    changed = np.abs(np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int) - source).max(-1)
    outside = np.ones((64, 64), bool)
    outside[16:48, 16:48] = False
    assert changed[outside].mean() < 4  # the watermark alone
    assert changed[~outside].mean() > 20


def test_openai_variations_and_plain_edits(workshop, client):
    source = png(flat_art(64, 4))
    made = client.images.create_variation(image=("a.png", source), n=2, response_format="b64_json")
    assert len({one.b64_json for one in made.data}) == 2
    assert intact(workshop, base64.b64decode(made.data[0].b64_json)) == (64, 64)
    assert client.images.edit(image=("a.png", source), prompt="a red fox <style:bo>").data[0].b64_json
    for given, says in (({"image": ("a.png", b"\x89PNG")}, "picture"), ({"image": [("a.png", source), ("b.png", source)]}, "one picture can be edited")):
        with pytest.raises(openai.BadRequestError, match=says):
            client.images.edit(prompt="a fox", **given)


def test_what_openai_has_and_we_do_not_says_so(client):
    with pytest.raises(openai.InternalServerError, match="is not here"):
        client.completions.create(model="x", prompt="a fox")


def a1111(address):
    host, port = address.removeprefix("http://").split(":")
    return webuiapi.WebUIApi(host=host, port=int(port))


def test_webuiapi_draws_with_its_defaults_and_with_a_lora(workshop, address):
    api = a1111(address)
    made = api.txt2img(prompt="a blue heart <lora:ada:0.8>", steps=2, width=64, height=64, seed=5, batch_size=2)
    assert [image.size for image in made.images] == [(64, 64)] * 2
    assert made.info["all_seeds"] == [5, 6]
    assert "Steps: 2" in made.info["infotexts"][0]
    assert "<lora:ada:0.8>" in made.info["infotexts"][0]
    raw = httpx.post(f"{address}/sdapi/v1/txt2img", json={"prompt": "a fox", "steps": 1, "width": 64, "height": 64}, timeout=60).json()["images"][0]
    assert intact(workshop, base64.b64decode(raw)) == (64, 64)
    info = httpx.post(f"{address}/sdapi/v1/png-info", json={"image": f"data:image/png;base64,{raw}"}).json()
    assert info["info"].startswith("a fox\nSteps: 1")
    assert api.get_sd_models()[0]["model_name"]
    assert {one["name"] for one in api.get_loras()} == {"ada", "bo"}
    assert api.get_samplers()[0]["name"] == "DDIM"
    assert api.get_progress()["progress"] == 0.0
    assert api.get_options()["sd_model_checkpoint"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"prompt": "a", "enable_hr": True}, 400, "enable_hr: not here yet"),
        ({"prompt": "a", "tiling": True}, 400, "tiling: not here yet"),
        ({"prompt": "a", "sampler_name": "LMS"}, 404, "Sampler not found"),
        ({"prompt": "a", "colour": "blue"}, 400, "colour: not known"),
        ({"prompt": "a", "batch_size": 0}, 422, ""),
        ({"prompt": "a", "width": 65, "height": 64}, 400, "multiple"),
        ([], 400, "no JSON object"),
    ],
)
def test_a1111_errors_say_what_is_wrong(workshop, address, body, status, says):
    answer = httpx.post(f"{address}/sdapi/v1/txt2img", json=body, timeout=60)
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert stored(workshop) == 0
    assert httpx.post(f"{address}/sdapi/v1/extra-single-image", json={}).status_code == 501


def test_one_task_is_followed_and_stopped_and_no_other(workshop, address):
    """The first of two is stopped while it is drawn: it stores nothing, the second is made."""
    answers = {}

    def draw(task, steps):
        body = {"prompt": "a fox", "steps": steps, "width": 64, "height": 64, "force_task_id": task}
        answers[task] = httpx.post(f"{address}/sdapi/v1/txt2img", json=body, timeout=120).json()

    threads = [threading.Thread(target=draw, args=given) for given in (("one", 150), ("two", 2))]
    threads[0].start()
    for _ in range(600):
        here = httpx.get(f"{address}/sdapi/v1/progress", params={"id_task": "one"}).json()
        if here["state"]["sampling_step"] > 2:
            break
        time.sleep(0.02)
    assert 0.01 <= here["progress"] < 1
    assert here["state"]["sampling_steps"] == 150
    threads[1].start()
    while httpx.get(f"{address}/sdapi/v1/progress", params={"id_task": "two"}).json()["current_task"] is None:
        time.sleep(0.02)
    httpx.post(f"{address}/sdapi/v1/interrupt", params={"id_task": "one"})
    for thread in threads:
        thread.join()
    assert answers["one"]["images"] == []
    assert len(answers["two"]["images"]) == 1
    assert stored(workshop) == 1


def test_img2img_with_webuiapi(workshop, address):
    source = Image.fromarray(flat_art(64, 5))
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    made = a1111(address).img2img(images=[source], mask_image=mask, prompt="a fox", steps=4, denoising_strength=1.0, width=64, height=64, cfg_scale=2.0, seed=3)
    changed = np.abs(np.asarray(made.image.convert("RGB"), int) - np.asarray(source)).max(-1)
    assert changed[:12].mean() < 4  # the watermark alone
    assert changed[20:44, 20:44].mean() > 20
    bare = {"init_images": [base64.b64encode(png(flat_art(64, 5))).decode()], "prompt": "a fox", "steps": 2, "denoising_strength": 0.1}
    assert "less than one step" in httpx.post(f"{address}/sdapi/v1/img2img", json=bare, timeout=60).json()["detail"]


def test_a1111s_variation_seed(address):
    body = {"prompt": "a fox", "steps": 2, "width": 64, "height": 64, "seed": 5, "subseed": 9}
    plain, near = (httpx.post(f"{address}/sdapi/v1/txt2img", json={**body, "subseed_strength": part}, timeout=60).json()["images"][0] for part in (0.0, 0.2))
    assert plain != near


@pytest.fixture
def anyio_backend():
    return "asyncio"
