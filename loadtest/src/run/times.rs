//! Times as a distribution: HDR histograms, three digits, from a microsecond up.

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::diary::Micros;

const DIGITS: u8 = 3;
/// Quantiles of the curve.
const CURVE: [f64; 13] = [
    0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1.0,
];

/// A histogram.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

/// What is told of a distribution; all in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    /// How many times.
    pub(crate) count: u64,
    /// Their mean.
    pub(crate) mean: f64,
    /// Half are at most this.
    pub(crate) p50: f64,
    /// 90 % are at most this.
    pub(crate) p90: f64,
    /// 99 % are at most this.
    pub(crate) p99: f64,
    /// 99.9 % are at most this.
    pub(crate) p999: f64,
    /// The longest.
    pub(crate) max: f64,
    /// Quantile from 0 to 1, and its time.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Times {
    /// Gathers times.
    ///
    /// # Errors
    /// If the histogram cannot be made: never with these digits.
    pub(super) fn of(times: impl Iterator<Item = Micros>) -> Result<Self> {
        let mut histogram = Histogram::new(DIGITS)?;
        for time in times {
            histogram.record(time.0)?;
        }
        Ok(Self(histogram))
    }

    /// Returns a quantile, 0 to 1, in milliseconds.
    pub(super) fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Returns how many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns what is told of them.
    pub(super) fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.0.len(),
            mean: self.0.mean() / 1e3,
            p50: self.at(0.5),
            p90: self.at(0.9),
            p99: self.at(0.99),
            p999: self.at(0.999),
            max: self.at(1.0),
            curve: CURVE.map(|quantile| (quantile, self.at(quantile))).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds() {
        let quantiles = Times::of((1..=1000).map(|n| Micros(n * 1000)))
            .unwrap()
            .quantiles();
        assert_eq!(quantiles.count, 1000);
        for (actual, expected) in [
            (quantiles.p50, 500.0),
            (quantiles.p99, 990.0),
            (quantiles.max, 1000.0),
        ] {
            assert!(
                (actual - expected).abs() <= expected / 1000.0,
                "{actual} {expected}"
            );
        }
        let none = Times::of([].into_iter()).unwrap().quantiles();
        assert_eq!((none.count, none.max), (0, 0.0));
    }
}
