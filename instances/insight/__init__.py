"""What can be read out of the state of things: why an instance does not run, what holds everything up, how instances
hang together, how a day went. Only reads, always with bounds; admin and API show the same answers.
"""
