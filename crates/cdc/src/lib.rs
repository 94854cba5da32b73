//! Change detection, source-neutral and pure.
