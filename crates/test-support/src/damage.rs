//! Damaged copies of what a decoder reads: files, JSON, YAML, blobs of bytes.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::simulation::PrintSeed;

/// How many damaged copies are made, unless the environment variable `DAMAGE_ROUNDS` says otherwise.
const ROUNDS: u64 = 2_000;

/// Numbers at the ends of types, as text.
const NUMBERS: [&str; 9] = [
    "0",
    "-1",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1e400",
    "0.5",
    "",
];

/// What has a meaning somewhere.
const TOKENS: [&[u8]; 10] = [
    b"null", b"\"\"", b"{}", b"[]", b"\"", b"\\ud800", b"\0", b"\xff", b"\n- ", b"${X}",
];

/// Gives damaged copies of the samples to `decode`, which says whether it took a copy for whole. It must neither panic nor hang;
/// the seed of a copy that makes it panic is printed. Some copies must pass and some must not, or the damage proves nothing.
pub fn damage<S: AsRef<[u8]>>(samples: &[S], mut decode: impl FnMut(&[u8]) -> bool) {
    let rounds = std::env::var("DAMAGE_ROUNDS")
        .map_or(ROUNDS, |text| text.parse().expect("DAMAGE_ROUNDS is a number"));
    let (mut passed, mut refused) = (0, 0);
    for seed in 0..rounds {
        let _printed_on_panic = PrintSeed(seed);
        let mut random = StdRng::seed_from_u64(seed);
        let mut copy = pick(&mut random, samples).as_ref().to_vec();
        for _ in 0..random.random_range(1..4) {
            hurt(&mut random, &mut copy, samples);
        }
        if decode(&copy) {
            passed += 1;
        } else {
            refused += 1;
        }
    }
    assert!(
        passed > 0 && refused > 0,
        "{passed} copies passed, {refused} did not"
    );
}

fn pick<'a, T>(random: &mut StdRng, of: &'a [T]) -> &'a T {
    &of[random.random_range(0..of.len())]
}

fn hurt<S: AsRef<[u8]>>(random: &mut StdRng, copy: &mut Vec<u8>, samples: &[S]) {
    let range = |random: &mut StdRng, length: usize| {
        let start = random.random_range(0..=length);
        start..random.random_range(start..=length.min(start + 40))
    };
    let at = range(random, copy.len());
    match random.random_range(0..8) {
        0 => copy.truncate(at.start),
        1 => drop(copy.drain(at)),
        2 => {
            if let Some(byte) = copy.get_mut(at.start) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        3 => {
            let again = copy[at.clone()].to_vec();
            copy.splice(at.end..at.end, again);
        }
        4 => {
            let other = pick(random, samples).as_ref();
            let part = other[range(random, other.len())].to_vec();
            copy.splice(at, part);
        }
        5 => {
            let token = pick(random, &TOKENS).to_vec();
            copy.splice(at, token);
        }
        // Most of what can go wrong with a text that is still whole are its numbers.
        _ => change_number(random, copy),
    }
}

/// Replaces one run of digits by a number at the end of a type, or by another one of the same text.
fn change_number(random: &mut StdRng, copy: &mut Vec<u8>) {
    let mut runs = Vec::new();
    let mut start = None;
    for (i, byte) in copy.iter().chain(b" ").enumerate() {
        match (byte.is_ascii_digit(), start) {
            (true, None) => start = Some(i),
            (false, Some(from)) => {
                runs.push(from..i);
                start = None;
            }
            _ => {}
        }
    }
    if runs.is_empty() {
        return;
    }
    let target = pick(random, &runs).clone();
    let number = if random.random_ratio(1, 2) {
        pick(random, &NUMBERS).as_bytes().to_vec()
    } else {
        copy[pick(random, &runs).clone()].to_vec()
    };
    copy.splice(target, number);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder with a defect: it takes the difference of two numbers.
    fn span(text: &[u8]) -> Option<u64> {
        let (from, to) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(to.parse::<u64>().ok()? - from.parse::<u64>().ok()?)
    }

    #[test]
    fn a_defect_of_a_decoder_is_found() {
        let found = std::panic::catch_unwind(|| damage(&["3-7", "10-12"], |text| span(text).is_some()));
        assert!(found.is_err());
    }

    #[test]
    fn a_decoder_that_takes_everything_is_found() {
        let found = std::panic::catch_unwind(|| damage(&["3-7"], |_| true));
        assert!(found.is_err());
    }
}
