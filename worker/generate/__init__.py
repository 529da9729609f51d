"""The generate stage: runs jobs on the engine, writes their journals and builds their results."""
