//! `vector` as text: a JSON array with the fewest digits that tell each single-precision float from its neighbours.
//!
//! The server's own text has eight digits, which is one too few, so vectors are read in their binary form.

/// The array of these floats.
pub(crate) fn text(floats: &[f32]) -> String {
    let floats = floats.iter().map(|float| format!("{float:?}"));
    format!("[{}]", floats.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_is_told_from_its_neighbours() {
        assert_eq!(text(&[0.1, 2.0, -0.0]), "[0.1,2.0,-0.0]");
        for bits in (0..0x7F80_0000_u32).step_by(999_983) {
            let pair = [f32::from_bits(bits), -f32::from_bits(bits + 1)];
            let read: Vec<f32> = serde_json::from_str::<Vec<f64>>(&text(&pair))
                .unwrap()
                .into_iter()
                .map(|number| number as f32)
                .collect();
            assert_eq!(read.map_bits(), pair.to_vec().map_bits());
        }
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u32>;
    }

    impl Bits for Vec<f32> {
        fn map_bits(&self) -> Vec<u32> {
            self.iter().map(|float| float.to_bits()).collect()
        }
    }
}
