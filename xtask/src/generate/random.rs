//! A seeded generator of pseudo-random numbers: SplitMix64, in integers alone.
//!
//! Floating-point logarithms may differ between machines; the same seed must give the same bytes on all of them.

/// The state of one stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A stream that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound` - 1; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product is uniform enough here: its bias is bound / 2^64.
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `share` of 10,000 cases.
    pub fn chance(&mut self, share: u64) -> bool {
        self.below(10_000) < share
    }

    /// A number from 0 to `bound` - 1 in which small ones are far more frequent, as popular names are.
    pub fn skewed(&mut self, bound: u64) -> u64 {
        // The product of three uniform shares: a tenth of the numbers takes about half of the draws.
        let (second, third) = (self.below(bound) + 1, self.below(bound) + 1);
        let product = u128::from(self.below(bound)) * u128::from(second) / u128::from(bound.max(1));
        (product * u128::from(third) / u128::from(bound.max(1))) as u64
    }

    /// A waiting time with the mean `mean`, exponentially distributed to within a few percent.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        // -log2 of a uniform number: its leading zeros, and the rest of the mantissa taken as linear.
        let bits = self.bits() | 1;
        let zeros = bits.leading_zeros();
        let mantissa = ((bits << zeros) >> 31) & 0xffff_ffff;
        let log2_fixed = (u64::from(zeros) << 32) + (0xffff_ffff - mantissa);
        // Its mean is 1.5: one for the zeros, a half for the mantissa (1.4427 were the logarithm exact).
        ((u128::from(mean) * u128::from(log2_fixed) * 2) / (3 << 32)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn mean_of_waiting_times_is_as_asked() {
        let mut random = Random::new(7);
        let sum: u64 = (0..100_000).map(|_| random.exponential(1_000_000)).sum();
        let mean = sum / 100_000;
        assert!((950_000..1_050_000).contains(&mean), "mean {mean}");
    }

    #[test]
    fn bounds_hold() {
        let mut random = Random::new(1);
        assert!((0..10_000).all(|_| random.below(3) < 3));
        assert!((0..10_000).all(|_| (5..=9).contains(&random.between(5, 9))));
        assert!((0..10_000).all(|_| random.skewed(100) < 100));
        assert_eq!(random.below(0), 0);
    }
}
