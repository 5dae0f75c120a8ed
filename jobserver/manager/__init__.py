"""Job definitions and `jobConfigs` documents → settings in force; tells the runner what has changed.

overrides   one configuration document → valid overrides, and what is wrong with the rest
manager     definitions and documents side by side, brought into force job by job
watching    when to look again
"""
