"""Published clients against a real server on loopback: they work by changing their base URL."""

import base64
import io
import socket
import threading
import time

import httpx
import openai
import pytest
import uvicorn
import webuiapi
from PIL import Image

from tests.studio.test_cli import home  # noqa: F401
from tribute.provenance.verify import verify
from tribute.store.schema import pictures
from tribute.studio.easel import WAITING_MAX, Busy, Easel, Task
from tribute.studio.web import build_app
from tribute.studio.wiring import open_workshop


@pytest.fixture
def workshop(home):  # noqa: F811
    return open_workshop()


@pytest.fixture
def address(workshop):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(build_app(workshop), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


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


def test_openai_streams(client):
    events = list(client.images.generate(prompt="a fox", stream=True, partial_images=3))
    assert [event.type for event in events] == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:3]] == [0, 1, 2]
    seen = [Image.open(io.BytesIO(base64.b64decode(event.b64_json))).convert("RGB") for event in events]
    assert len({image.tobytes() for image in seen}) == 4
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
        ({"prompt": "a", "model": "dall-e-2"}, openai.NotFoundError, "no model named"),
        ({"prompt": "a", "background": "transparent"}, openai.BadRequestError, "background"),
        ({"prompt": "a <style:zed>"}, openai.NotFoundError, "there is ada, bo"),
    ],
)
def test_openai_errors_have_their_four_keys(client, workshop, given, kind, says):
    with pytest.raises(kind, match=says) as found:
        client.images.generate(**given)
    assert set(found.value.body) == {"message", "type", "param", "code"}
    assert stored(workshop) == 0


def test_what_openai_has_and_we_do_not_says_so(client):
    with pytest.raises(openai.InternalServerError, match="is not here yet"):
        client.images.edit(image=("a.png", b"\x89PNG"), prompt="a fox")


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
    assert httpx.post(f"{address}/sdapi/v1/img2img", json={}).status_code == 501


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


def test_too_many_at_once_are_told_to_wait(workshop):
    easel = Easel(workshop)
    easel.tasks = {str(at): Task(str(at)) for at in range(WAITING_MAX)}
    with pytest.raises(Busy, match="16 pictures wait already"):
        easel.draw(None, "more")


@pytest.fixture
def anyio_backend():
    return "asyncio"
