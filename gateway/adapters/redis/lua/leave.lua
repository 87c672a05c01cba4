-- Give back the place of a call.
--
-- keys: inside place tally mark
-- args: id

leave(ARGV[1], false)
return 1
