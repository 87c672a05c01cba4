"""
The shared store: Redis from 7.0 or Valkey, as one server, behind Sentinel, or as a Cluster.

`connection` reaches it and says what a failure means, and `scripts` runs the Lua that lies in `lua/`. Nothing here relies on
more than Redis 7.0 has.

Of the ledger, `acts` knows the scripts and their keys, `ledger_store` asks the server within a bound, `fitness` looks at it
at the start, `rows`, `claims` and `settling` turn values into what is kept and back, `queries` are the reads, `verify` sees
whether it adds up, `ledger_care` looks after workers and what the dead left, and `ledger` puts them together as the Ledger
port; `idempotency` lies beside it. `recall` keeps in mind what this process did of late, and `retelling` tells a server that
takes another one's place what it lacks of that.

`store` asks, for what a call can do without, within bounds. The cache is `cache` over `cache_records`, `cache_bodies` and
`cache_index`; `cache_draft` writes a body, `cache_body` gives it. Bodies lie on a shelf, `cache_shelf`, in the server or in
files of the machine, `cache_folder`; `cache_marks` tells machines apart, and `cache_clock` what the server's clock says.
`memory` is how much room a server has. Flights are `flights`, with `flight_lead` and
`flight_follow` at their ends and `flight_tower` for what they say to the server.
"""
