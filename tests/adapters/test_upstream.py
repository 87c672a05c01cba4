"""What only this adapter can get wrong; its promises are tests/contracts/test_upstream.py."""

from gateway.adapters.upstream import Account


def test_an_account_does_not_show_its_key() -> None:
    account = Account("sk-secret", "org-1", None)
    assert "sk-secret" not in repr(account)
    assert account.headers() == [(b"authorization", b"Bearer sk-secret"), (b"openai-organization", b"org-1")]
