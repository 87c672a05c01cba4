"""
Imagegate: an OpenAI-compatible caching proxy gateway for image generation.

The rooms, and the sentence over each door:

    core/        What is true. Decides and transforms; no await, no clock, no chance, no log, no I/O.
    ports/       What we need from outside, and what it must promise.
    flow/        What happens, in order. Awaits ports, asks core, decides nothing itself.
    adapters/    How it is really done. One foreign library a file.
    web/         How the world speaks to us. ASGI in, ASGI out.
    sandbox/     An OpenAI of our own, for development, tests and demos. A stranger to all the rest.
    settings/    What the operator wants. catalog.py: what is known about models.
    app.py       Who is introduced to whom: the only file that chooses implementations.
    stores.py    Which store an address means. counting.py, tracing.py: app.py's hands in what is counted and traced.
    rules.py     What settings come to, for those who are not to know settings.
    cli/         How a person speaks to us.

Imports run one way: core ← ports ← flow ← (web | adapters) ← app ← cli. `make lint` holds the walls.

A request's life, which `flow/pipeline.py` shows on one screen:

    identify → parse → admit → begin → forward → relay → settle → record

A line of code finds its room by five questions, in this order. Does it choose an implementation? app.py. Does it
say scope, receive, send? web/. Does it name a foreign library, or read a clock? adapters/. Does it await, or put
two steps in order? flow/. Otherwise it decides or transforms: core/, where nouns live; flow/ has the verbs.
"""

__version__ = "0.1.0"
