"""The live processes, and what each of them is doing."""
