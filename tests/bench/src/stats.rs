//! Medians, and what little else is computed from figures.

/// A whole number as a figure. Numbers here are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts and bytes of a benchmark are below 2^53")]
pub(crate) fn real(number: u64) -> f64 {
    number as f64
}

/// Median, least and most of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Half are below.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The most.
    pub(crate) most: f64,
}

impl Spread {
    /// Of figures, if there are any.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, least, most })
    }
}

/// The figure below which a share of sorted figures lies; 0 of none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is a place in it"
    )]
    let at = (real(sorted.len() as u64) * share) as usize;
    sorted.get(at.min(last)).copied().unwrap_or_default()
}

/// Numbers that look random: the order of turns hangs on them, nothing else.
pub(crate) struct Shuffle(u64);

impl Shuffle {
    /// Begins somewhere.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The places of a list in a new order.
    pub(crate) fn order(&mut self, length: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..length).collect();
        for at in (1..length).rev() {
            order.swap(at, self.below(at + 1));
        }
        order
    }

    fn below(&mut self, bound: usize) -> usize {
        // Xorshift; see "Xorshift RNGs", G. Marsaglia, 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn spreads_have_their_middle() {
        let rows = [
            (vec![2.0], 2.0, 2.0, 2.0),
            (vec![9.0, 1.0, 2.0], 1.0, 2.0, 9.0),
            (vec![4.0, 1.0, 2.0, 9.0], 1.0, 3.0, 9.0),
        ];
        for (figures, least, median, most) in rows {
            let found = Spread::of(figures.iter().copied());
            assert_eq!(found, Some(Spread { median, least, most }), "{figures:?}");
        }
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn quantiles_are_figures_of_the_list() {
        let sorted: Vec<f64> = (0..100).map(f64::from).collect();
        for (share, expected) in [(0.0, 0.0), (0.5, 50.0), (0.99, 99.0), (1.0, 99.0)] {
            assert_eq!(quantile(&sorted, share).total_cmp(&expected), Ordering::Equal, "{share}");
        }
        assert!(quantile(&[], 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn every_place_has_its_turn() {
        let mut shuffle = Shuffle::new(7);
        let orders: Vec<_> = (0..20).map(|_| shuffle.order(5)).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert!(orders.iter().any(|order| order != &orders[0]));
    }
}
