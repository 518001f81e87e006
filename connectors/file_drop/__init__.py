"""Files dropped into a folder as a source: ready detection, reading, archiving after the local commit."""
