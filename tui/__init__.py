"""The monitor in the terminal: reads facts, asks for actions, adds no state of its own."""
