"""
An OpenAI of our own, for development, tests and demos: it costs nothing, draws real pictures, and keeps its own books.

`app.create()` is the way in; docs/sandbox.md says how to steer it and what it bills. It imports nothing of the gateway
but the catalogue's file, so that its invoice is a second opinion on the gateway's ledger.
"""
