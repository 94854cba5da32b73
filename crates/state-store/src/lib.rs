//! StateStore implementations.
