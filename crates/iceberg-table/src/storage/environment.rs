//! What the environment says of a service's client.

use std::str::FromStr;

/// The settings in those variables that begin with `prefix`, and in the one called `other`.
pub(super) fn settings<K: FromStr>(prefix: &str, other: &str) -> Vec<(K, String)> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    variables
        .filter(|(name, _)| name.starts_with(prefix) || name == other)
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
        .collect()
}
