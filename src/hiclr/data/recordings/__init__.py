"""Raw files: from bytes on disk to coordinates in metres, or to one sentence that says what is wrong with the file."""
