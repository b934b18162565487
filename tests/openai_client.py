#!/usr/bin/env python3
"""Asks a server for vectors with OpenAI's client: openai_client.py BASE_URL, of a function with all-minilm-l6-v2."""

import base64
import json
import pathlib
import struct
import sys

import openai

MODEL = "all-minilm-l6-v2"
GOLDEN = pathlib.Path(__file__).parent / "fixtures/embed/golden.json"


def is_close(vector, golden):
    packed = base64.b64decode(golden["vector"])
    expected = [value / 32768 for value in struct.unpack(f"<{len(packed) // 2}h", packed)]
    return len(vector) == len(expected) and all(
        abs(one - other) <= 1e-4 for one, other in zip(vector, expected, strict=True)
    )


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def main():
    client = openai.OpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0)
    golden = json.loads(GOLDEN.read_text())[:20]
    # By itself it asks for base64, and unpacks that.
    for form in ({}, {"encoding_format": "float"}, {"dimensions": 384, "user": "somebody"}):
        response = client.embeddings.create(model=MODEL, input=[each["text"] for each in golden], **form)
        assert [each.index for each in response.data] == list(range(20))
        assert response.usage.prompt_tokens == sum(len(each["ids"]) for each in golden)
        for each, expected in zip(response.data, golden, strict=True):
            assert is_close(each.embedding, expected), expected["text"]
    one = client.embeddings.create(model=MODEL, input=golden[3]["ids"][1:-1])
    assert is_close(one.data[0].embedding, golden[3])
    assert [model.id for model in client.models.list()] == [MODEL]

    error = refused(openai.NotFoundError, lambda: client.embeddings.create(model="text-embedding-3-small", input="a"))
    assert error.code == "model_not_found", error.body
    assert error.param == "model", error.body
    error = refused(openai.BadRequestError, lambda: client.embeddings.create(model=MODEL, input=[]))
    assert error.type == "invalid_request_error", error.body
    assert "at least one text" in error.message
    print("all calls did as OpenAI's client expects")


main()
