"""Listening live: chunks of audio -> ring -> ten-second windows -> encoder -> head -> predictions and events.

In the order in which audio goes: `chunks`, `inbox`, `ring`, `grid`, `stream`, `engine`, `run`, `events`, `activity`,
`heard`, `states`, `snapshot`, `listening`, `hub`; beside them `recording` and `settings`. Whoever shows or serves what
is heard needs `hub.ListenerHub` and what it hands out.
"""
