"""From what an engine heard in a chunk to the segments of a transcript: pure logic, the same for every engine."""
