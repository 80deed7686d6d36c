"""Red team: cheating and honest solutions, each a small edit of one of our own records.

``make redteam`` runs them all through the real path (sandbox, clocks, probes, rules, audit) and
prints which layer catches what. An attack is written as a cheat would write it: it reaches the
target, and its number would stand if nobody looked.
"""
