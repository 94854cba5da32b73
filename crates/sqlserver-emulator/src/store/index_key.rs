//! An index key as it is kept: most are short, and lie in the index itself.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// The longest key that takes no memory of its own.
const SHORT: usize = 22;

/// Bytes that are ordered as the values are that they stand for.
#[derive(Clone)]
pub(crate) struct Key(Bytes);

#[derive(Clone)]
enum Bytes {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        Self(match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key);
                let length = key.len() as u8;
                Bytes::Short { length, bytes }
            }
            None => Bytes::Long(key.into()),
        })
    }
}

/// The bytes of a short key as numbers in the same order.
fn words(bytes: &[u8; SHORT]) -> (u128, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, rest @ ..] = *bytes;
    let [q, r, s, t, u, v] = rest;
    (
        u128::from_be_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]),
        u64::from_be_bytes([0, 0, q, r, s, t, u, v]),
    )
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Bytes::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            // Zeros behind the end change no order but that of a key and its own beginning.
            (Bytes::Short { length, bytes }, Bytes::Short { length: l, bytes: b }) => {
                words(bytes).cmp(&words(b)).then(length.cmp(l))
            }
            _ => (**self).cmp(&**other),
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&&**self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_keys_are_ordered_as_their_bytes() {
        let keys: Vec<Vec<u8>> = [0, 1, SHORT - 1, SHORT, SHORT + 1, 400]
            .into_iter()
            .flat_map(|length| {
                [
                    vec![0; length],
                    vec![7; length],
                    [vec![7; length], vec![0]].concat(),
                ]
            })
            .collect();
        for a in &keys {
            for b in &keys {
                let (short, long) = (Key::from(a.as_slice()), Key::from(b.as_slice()));
                assert_eq!(*short, **a);
                assert_eq!(short.cmp(&long), a.cmp(b), "{a:?} {b:?}");
                assert_eq!(short == long, a == b);
            }
        }
    }
}
