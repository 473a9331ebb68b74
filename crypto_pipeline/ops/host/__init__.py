"""The machine: paths of a data directory, processes, ports, disk space. Nothing here starts a program."""
