"""
The shared store: Redis from 7.0 or Valkey, as one server, behind Sentinel, or as a Cluster.

`connection` reaches it and says what a failure means, and `scripts` runs Lua there. Of the ledger, `acts` knows the scripts
in `lua/` and their keys, `store` asks the server within a bound, `fitness` looks at it at the start, `rows` and `claims` turn
values into what is kept and back, `queries` are the reads, `verify` sees whether it adds up, and `ledger` puts them together
as the Ledger port. Nothing here relies on more than Redis 7.0 has.
"""
