//! The loops under a seed: whatever fails or dies, the target ends with the source's rows, each once.

mod commits;
mod kills;
mod repair;
mod rules;
mod simulation;
mod world;
