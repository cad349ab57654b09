"""From a list of segments to their clips: one ledger, many workers, a pace for each address."""
