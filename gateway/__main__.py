"""`python -m gateway` is `imagegate`."""

from gateway.cli.main import main

main(prog_name="imagegate")
