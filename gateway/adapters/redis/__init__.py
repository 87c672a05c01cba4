"""
The shared store: Redis from 7.0 or Valkey, as one server, behind Sentinel, or as a Cluster.

`connection` reaches it and says what a failure means, `scripts` runs the Lua that lies in `lua/`. Nothing here relies on
more than Redis 7.0 has.
"""
