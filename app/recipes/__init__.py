"""The problems people train for, run end to end: what a recipe says, how it is run, what came of it."""
