"""The sandbox's own pages: pictures by URL, the bill, the visitors, a fresh start."""

import hashlib

import httpx2

from tests.support.sandbox_client import invoice, png, visitors

LOW = {"model": "gpt-image-1", "prompt": "a red fox", "quality": "low", "size": "1024x1024"}


def test_a_picture_by_url_is_drawn_from_its_name(url: str) -> None:
    answer = httpx2.get(f"{url}/_sandbox/images/red-fox-320x240.webp")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert answer.content == httpx2.get(f"{url}/_sandbox/images/red-fox-320x240.webp").content
    assert answer.content != httpx2.get(f"{url}/_sandbox/images/grey-fox-320x240.webp").content


def test_other_bytes_can_be_put_behind_the_same_url(url: str) -> None:
    link = f"{url}/_sandbox/images/changing.png"

    for data in (png(colour=(1, 2, 3)), png(colour=(4, 5, 6))):
        assert httpx2.put(link, content=data).status_code == 200
        assert httpx2.get(link).content == data
    assert httpx2.put(link, content=b"no image").status_code == 400


def test_a_link_works_until_it_expires(url: str) -> None:
    link = f"{url}/_sandbox/images/fox-64x64.png"

    assert httpx2.get(f"{link}?se=2999-01-01T00:00:00Z").status_code == 200
    assert httpx2.get(f"{link}?se=2020-01-01T00:00:00Z").status_code == 403
    assert httpx2.get(f"{url}/_sandbox/images/fox.exe").status_code == 404
    assert httpx2.get(f"{url}/_sandbox/images/fox-9999x9999.png").status_code == 404


def test_the_visitors_book_has_what_arrived_but_not_the_secret(http: httpx2.Client) -> None:
    http.get("/v1/models?limit=3")
    answer = http.post("/v1/images/generations", json=LOW, headers={"X-Client-Request-Id": "abc"})

    first, second = visitors(http)
    assert (first["method"], first["path"], first["query"]) == ("GET", "/v1/models", "limit=3")
    assert second["request_id"] == answer.headers["x-request-id"]
    sent = answer.request.content
    assert second["body"] == sent.decode()
    assert (second["body_bytes"], second["body_sha256"]) == (len(sent), hashlib.sha256(sent).hexdigest())
    headers = dict(second["headers"])
    assert headers["x-client-request-id"] == "abc"
    assert headers["authorization"].startswith("sha256:")
    assert "sk-test" not in str(second)


def test_a_large_or_binary_body_is_noted_by_its_digest_only(http: httpx2.Client) -> None:
    http.post("/v1/images/edits", data={"prompt": "x"}, files={"image": png() + b"\0" * 70_000})

    assert "body" not in visitors(http)[0]


def test_the_invoice_sums_by_model_and_kind_and_shows_each_charge(http: httpx2.Client) -> None:
    ids = [http.post("/v1/images/generations", json=LOW).headers["x-request-id"] for _ in range(2)]

    found = invoice(http)
    # Nine input tokens at $5 and 272 output tokens at $40 per million are $0.010925.
    assert [charge["nano_dollars"] for charge in found["charges"]] == [10_925_000, 10_925_000]
    assert [charge["request_id"] for charge in found["charges"]] == ids
    assert {charge["route"] for charge in found["charges"]} == {"images.generations"}
    assert found["nano_dollars"] == 21_850_000
    assert found["lines"] == [
        {
            "model": "gpt-image-1",
            "kind": "image",
            "requests": 2,
            "images": 2,
            "tokens": {
                "input_text": 18,
                "input_image": 0,
                "cached_text": 0,
                "cached_image": 0,
                "cache_write": 0,
                "output_image": 544,
                "output_text": 0,
            },
            "nano_dollars": 21_850_000,
        }
    ]


def test_a_reset_clears_the_bill_and_the_visitors(http: httpx2.Client) -> None:
    http.post("/v1/images/generations", json=LOW)

    assert http.post("/_sandbox/reset").json() == {"object": "sandbox.reset", "reset": True}

    assert invoice(http) == {
        "object": "sandbox.invoice", "requests": 0, "images": 0, "nano_dollars": 0, "lines": [], "charges": [],
    }  # fmt: skip
    assert visitors(http) == []
