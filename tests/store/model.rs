//! The store as a few obvious lines, and random histories that a real one must answer like it.
