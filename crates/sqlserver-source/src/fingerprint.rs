//! A short name for a text that is too long to be kept.

/// What tells these texts from others: <http://www.isthe.com/chongo/tech/comp/fnv/>, the same in every version of this program.
pub(crate) fn fingerprint<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    texts
        .into_iter()
        .flat_map(|text| [text, " "])
        .flat_map(str::bytes)
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        })
}
