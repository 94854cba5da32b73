//! Memory source and sink, faulty wrappers and the conformance suites of the seams.
