//! The shared vocabulary: changes, positions, marks, table schemas, the seams. No I/O.
