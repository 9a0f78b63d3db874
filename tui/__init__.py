"""The monitor in the terminal: reads facts and asks for actions, and stores nothing."""
