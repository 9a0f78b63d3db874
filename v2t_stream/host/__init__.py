"""The machine: its devices, memory, files, threads and network."""
