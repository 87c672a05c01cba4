"""The files API of the sandbox."""

import httpx2
import pytest
from openai import NotFoundError, OpenAI
from openai.types import FileObject

from tests.support.sandbox_client import png


def test_a_file_comes_back_as_it_was_sent_until_it_is_deleted(client: OpenAI) -> None:
    data = png()
    made = client.files.create(file=("fox.png", data), purpose="vision")

    FileObject.model_validate(made.to_dict())
    assert (made.bytes, made.filename, made.purpose) == (len(data), "fox.png", "vision")
    assert client.files.retrieve(made.id).id == made.id
    assert client.files.content(made.id).content == data
    assert client.files.delete(made.id).deleted
    with pytest.raises(NotFoundError, match=f"No such File object: {made.id}"):
        client.files.retrieve(made.id)


def test_a_file_expires_so_long_after_its_creation(client: OpenAI) -> None:
    made = client.files.create(
        file=png(), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )

    assert made.expires_at == made.created_at + 3600


def test_a_list_goes_page_by_page_and_by_purpose(client: OpenAI) -> None:
    ids = [client.files.create(file=png(), purpose="evals").id for _ in range(3)]
    client.files.create(file=png(), purpose="vision")

    first = client.files.list(purpose="evals", limit=2, order="asc")

    assert [one.id for one in first.data] == ids[:2]
    assert first.has_more
    assert [one.id for one in first] == ids
    assert [one.id for one in client.files.list(purpose="evals")] == ids[::-1]


def test_a_file_without_content_or_purpose_is_refused(http: httpx2.Client) -> None:
    no_file = http.post("/v1/files", data={"purpose": "vision"}, files={"other": b"x"})
    no_purpose = http.post("/v1/files", files={"file": b"x"})

    assert (no_file.json()["error"]["param"], no_purpose.json()["error"]["param"]) == ("file", "purpose")
    assert http.get("/v1/files?limit=0").status_code == 400
    assert http.get("/v1/files?order=up").status_code == 400
