"""The conversations API of the sandbox."""

import pytest
from openai import NotFoundError, OpenAI
from openai.types.conversations import Conversation, Message


def test_a_conversation_is_made_renamed_and_deleted(client: OpenAI) -> None:
    made = client.conversations.create(metadata={"topic": "foxes"})

    Conversation.model_validate(made.to_dict())
    assert client.conversations.retrieve(made.id).metadata == {"topic": "foxes"}
    assert client.conversations.update(made.id, metadata={"topic": "cats"}).metadata == {"topic": "cats"}
    assert client.conversations.delete(made.id).deleted
    with pytest.raises(NotFoundError, match="not found"):
        client.conversations.retrieve(made.id)


def test_items_are_added_listed_read_and_dropped(client: OpenAI) -> None:
    made = client.conversations.create(items=[{"role": "user", "content": "Hello"}])
    added = client.conversations.items.create(
        made.id, items=[{"role": "user", "content": [{"type": "input_text", "text": "And a fox"}]}]
    )
    first_id = added.first_id

    listed = list(client.conversations.items.list(made.id, order="asc"))
    assert [Message.model_validate(item.to_dict()).role for item in listed] == ["user", "user"]
    assert client.conversations.items.retrieve(first_id, conversation_id=made.id).type == "message"
    client.conversations.items.delete(first_id, conversation_id=made.id)
    assert len(list(client.conversations.items.list(made.id))) == 1
    with pytest.raises(NotFoundError):
        client.conversations.items.retrieve(first_id, conversation_id=made.id)
