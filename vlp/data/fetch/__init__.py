"""Images from lists of addresses, into tar archives: resumable, parallel, polite. `run.fetch` does it.

`client` asks for one address, `hosts` says when which may be asked, `picture` checks and re-sizes what came, `shards`
keeps it, `status` remembers what became of every address.
"""
