"""What is refused at the start, and in which words."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.redis.acts import key
from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.ledger import RedisLedger, RedisReader
from gateway.ports import UnfitError
from tests.support.ports import free_port
from tests.support.redis import redis_server, shared_cluster, shared_server


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_server_that_may_throw_counters_away_is_refused(tmp_path: Path, policy: str) -> None:
    with redis_server(tmp_path, arguments=("--maxmemory-policy", policy)) as server:
        with pytest.raises(UnfitError, match=f"maxmemory-policy {policy}.*noeviction"):
            RedisLedger.open(server.address)
        server.said("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        RedisLedger.open(server.address)


def test_a_member_of_a_cluster_that_may_is_refused_too() -> None:
    cluster = shared_cluster()
    cluster.masters[1].said("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnfitError, match="allkeys-lru"):
            RedisLedger.open(cluster.address)
    finally:
        cluster.masters[1].said("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_server_without_an_append_only_file_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, arguments=("--appendonly", "no")) as server, caplog.at_level(logging.WARNING):
        RedisLedger.open(server.address)
    assert "no append-only file" in caplog.text


def test_a_replica_is_refused_and_its_master_is_asked_for(tmp_path: Path) -> None:
    arguments = ("--replicaof", "127.0.0.1", str(free_port()))
    refusal = pytest.raises(UnfitError, match=r"is a replica.*redis\+sentinel")
    with redis_server(tmp_path, arguments=arguments) as server, refusal:
        RedisLedger.open(server.address)


def test_a_new_ledger_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            RedisLedger.open(shared_server("redis").address, tag="told-once")
    assert caplog.text.count("a new one was begun") == 1


def test_strict_needs_a_replica(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, pytest.raises(UnfitError, match="has no replica"):
        RedisLedger.open(server.address, strict=True)


def test_a_ledger_of_a_newer_program_is_refused() -> None:
    server, tag = shared_server("redis"), "newer"
    server.said("HSET", key(tag, "mark"), "version", 99)
    with pytest.raises(UnfitError, match=r"version 99.*newer imagegate"):
        RedisLedger.open(server.address, tag=tag)


def test_a_reader_makes_no_ledger_where_there_is_none() -> None:
    server, tag = shared_server("redis"), "nobody"
    with pytest.raises(UnfitError, match="There is no ledger at redis://127"):
        RedisReader.open(server.address, tag=tag)
    assert not server.said("EXISTS", key(tag, "mark"))
    RedisLedger.open(server.address, tag=tag)
    RedisReader.open(server.address, tag=tag)


def test_nobody_there_and_a_wrong_password_are_told_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="cannot be used"):
        RedisLedger.open(RedisAddress("server", (("127.0.0.1", free_port()),)))
    with redis_server(tmp_path, arguments=("--requirepass", "right-word")) as server:
        with pytest.raises(UnfitError) as caught:
            RedisLedger.open(replace(server.address, password="wrong-word"))
        assert "wrong-word" not in str(caught.value)
        RedisLedger.open(replace(server.address, password="right-word"))


def test_no_more_is_asked_of_a_server_than_an_acl_may_allow(tmp_path: Path) -> None:
    """CONFIG is forbidden wherever the server is somebody else's."""
    with redis_server(tmp_path) as server:
        server.said(
            "ACL",
            "SETUSER",
            "gate",
            "on",
            ">word",
            "~{imagegate}:*",
            "+@all",
            "-@admin",
            "-@dangerous",
            "+info",
        )
        RedisLedger.open(replace(server.address, user="gate", password="word"))
