"""
The image guide's calls, as `imagegate demo` makes them.

step.py says what a call is, what it answers and what has to come back; images.py and responses.py hold the calls;
checks.py compares; album.py keeps the pictures; ledger.py knows what each cost; table.py tells what happened, books.py
whether it agrees with the sandbox's invoice. Nothing here starts a process or prints,
and nothing imports the `openai` package: who has it hands in a client.
"""
