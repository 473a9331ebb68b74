"""The machine: paths of a data directory, processes, ports, room on the disk. Nothing here starts a program of ours."""
