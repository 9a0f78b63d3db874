"""What must exist on the broker: every wire name, stream and consumer, and how v2t creates them."""
