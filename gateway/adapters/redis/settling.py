"""What an act that settles is told of a record, and what it answers. See lua/settlement.lua."""

import os
from dataclasses import replace

from gateway.adapters.redis import rows
from gateway.adapters.redis.scripts import Reply
from gateway.core.ledger import Settlement, Verdict, seconds
from gateway.core.record import Record


def written(record: Record) -> tuple[str, bytes, str, bytes]:
    """What lua/settle.lua is told of a record, but for what it is charged."""
    record_id, response = rows.known_as(record)
    head = rows.to_head(record, os.urandom(6).hex())
    return record_id, head, rows.digest(response), rows.to_rest(record)


def settlement(record: Record, reply: Reply) -> Settlement:
    """What an act that settles has answered of this record."""
    verdict, id_, at, response, kept = reply
    before = rows.from_record(id_.decode(), kept) if kept else None
    if verdict == b"repeated":
        assert before is not None, "what is repeated was there"  # noqa: S101 - for the type checker
        return Settlement(Verdict.REPEATED, before, before)
    if id_.decode() != record.id or before is not None:
        record = replace(record, id=id_.decode(), at=seconds(rows.at_of(at.decode())))
    if not response:
        record = replace(record, response_id=None)
    if before is None:
        return Settlement(Verdict.WRITTEN, record)
    return Settlement(Verdict.CORRECTED, record, before)
