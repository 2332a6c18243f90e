//! A fixed-size latency histogram: nanoseconds in, percentiles out.
//!
//! Buckets are log-linear: 64 per power of two, so a reported value is at most 1.6 % above the recorded one.
//! Recording is one shift, one mask and one increment; a histogram takes 19 KiB and never grows, so every
//! load thread owns one and they are merged at the end. It keeps no time line and no exact samples, only
//! the exact maximum and mean.

/// Buckets per power of two, as a number of bits.
const SUB_BITS: u32 = 6;
const SUB_COUNT: usize = 1 << SUB_BITS;
/// Values from 2^42 ns (73 minutes) on are counted in the last bucket.
const VALUE_BITS: u32 = 42;
const BUCKETS: usize = (VALUE_BITS - SUB_BITS + 1) as usize * SUB_COUNT;

/// Counts how long things took.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Histogram {
    /// Makes an empty histogram.
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum_ns: 0, max_ns: 0 }
    }

    /// Counts one value.
    pub(super) fn record(&mut self, value_ns: u64) {
        self.buckets[bucket_of(value_ns)] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(value_ns);
        self.max_ns = self.max_ns.max(value_ns);
    }

    /// Adds everything that `other` counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Returns the largest value counted, in nanoseconds.
    pub(super) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Returns the mean in nanoseconds, 0 when nothing was counted.
    pub(super) fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count).unwrap_or(0)
    }

    /// Returns the value in nanoseconds that `per_mille` of 1,000 values do not exceed (500 = median), 0
    /// when nothing was counted.
    pub(super) fn quantile_ns(&self, per_mille: u64) -> u64 {
        let rank = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return highest_in(bucket).min(self.max_ns);
            }
        }
        0
    }
}

/// Values below 64 have a bucket each; above, the leading bit selects a row and the next six bits a column.
fn bucket_of(value_ns: u64) -> usize {
    let capped = value_ns.min((1 << VALUE_BITS) - 1);
    let shift = (u64::BITS - capped.leading_zeros()).saturating_sub(SUB_BITS + 1);
    shift as usize * SUB_COUNT + (capped >> shift) as usize
}

fn highest_in(bucket: usize) -> u64 {
    if bucket < 2 * SUB_COUNT {
        return bucket as u64;
    }
    let shift = bucket / SUB_COUNT - 1;
    (((bucket - shift * SUB_COUNT + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_is_at_most_1_6_percent_wide() {
        for value in
            (0..200u64).chain((7..41).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 12_345]))
        {
            let high = highest_in(bucket_of(value));
            assert!(high >= value, "{value} was counted below itself, at {high}");
            assert!(high - value <= value / 64, "{value} was counted at {high}");
        }
    }

    #[test]
    fn values_beyond_the_range_are_counted_and_keep_the_exact_maximum() {
        let mut histogram = Histogram::new();
        histogram.record(u64::MAX);
        assert_eq!((histogram.count, histogram.max_ns()), (1, u64::MAX));
        assert_eq!(histogram.quantile_ns(500), (1 << VALUE_BITS) - 1);
    }

    #[test]
    fn percentiles_of_merged_histograms_are_those_of_all_values() {
        let (mut all, mut even) = (Histogram::new(), Histogram::new());
        for value in 1..=10_000u64 {
            if value % 2 == 0 { &mut even } else { &mut all }.record(value * 1_000);
        }
        all.merge(&even);
        assert_eq!((all.count, all.max_ns(), all.mean_ns()), (10_000, 10_000_000, 5_000_500));
        for (per_mille, exact) in [(500, 5_000_000), (990, 9_900_000), (999, 9_990_000), (1_000, 10_000_000)]
        {
            let found = all.quantile_ns(per_mille);
            assert!(found >= exact && found <= exact + exact / 64, "{per_mille}: {found} for {exact}");
        }
    }

    #[test]
    fn an_empty_histogram_says_zero() {
        let empty = Histogram::new();
        assert_eq!((empty.quantile_ns(999), empty.mean_ns(), empty.max_ns()), (0, 0, 0));
    }
}
