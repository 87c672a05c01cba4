"""The models API of the sandbox."""

import pytest
from openai import NotFoundError, OpenAI
from openai.types import Model


def test_every_model_of_the_catalogue_is_listed(client: OpenAI) -> None:
    listed = list(client.models.list())

    assert {"gpt-image-2.6-sunburst", "gpt-image-1", "dall-e-3", "gpt-5"} <= {one.id for one in listed}
    for one in listed:
        Model.model_validate(one.to_dict())


def test_a_model_says_when_it_is_retired(client: OpenAI) -> None:
    assert client.models.retrieve("gpt-image-1").shutdown_date == "2026-10-23"
    assert client.models.retrieve("gpt-image-2").shutdown_date is None
    with pytest.raises(NotFoundError):
        client.models.retrieve("no-such-model")
