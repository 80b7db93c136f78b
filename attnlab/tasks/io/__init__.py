"""Tasks to streams of batches and to files, and back: ladders, streams, formats, export."""
