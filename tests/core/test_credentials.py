from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.credentials import Account, Credential, order_for

TENANTS = [f"team-{n}" for n in range(2000)]
names = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)


@given(st.text(max_size=20), names)
def test_a_tenants_order_does_not_depend_on_the_configs(tenant: str, known: list[str]) -> None:
    credentials = [Credential(name) for name in known]
    order = order_for(tenant, credentials)
    assert sorted(order) == sorted(known)
    assert order == order_for(tenant, credentials[::-1])


@given(st.text(max_size=20), names)
def test_removing_a_credential_moves_only_its_own_tenants(tenant: str, known: list[str]) -> None:
    credentials = [Credential(name) for name in known]
    first, *rest = order_for(tenant, credentials)
    for gone in rest:
        left = [one for one in credentials if one.name != gone]
        assert order_for(tenant, left)[0] == first


def test_tenants_spread_by_weight() -> None:
    count = Counter(order_for(one, [Credential("a", 3), Credential("b", 1)])[0] for one in TENANTS)
    assert 0.70 < count["a"] / len(TENANTS) < 0.80


def test_an_account_does_not_show_its_key() -> None:
    account = Account("sk-secret", "org-1", None)
    assert "sk-secret" not in repr(account)
    assert account.headers() == [(b"authorization", b"Bearer sk-secret"), (b"openai-organization", b"org-1")]
