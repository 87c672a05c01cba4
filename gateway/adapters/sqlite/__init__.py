"""
The embedded store: SQLite through apsw, whose wheels bring a SQLite of their own.

`connection` opens the file and guards it, `schema` says what lies in it, `writer` is the one thread of a process that
writes, `rows` turns records into rows and back, `acts` are the writes, `queries` the reads, `workers` tells who is
alive, and `ledger` puts them together as the Ledger port. What else must be part of a settlement's transaction is an
act over the same connection.
"""
