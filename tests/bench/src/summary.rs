//! A median with its quartiles.

/// The middle half of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
}

impl Summary {
    /// Summarises the values; `None` if there are none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            lower: quarter(&values, 1)?,
            median: quarter(&values, 2)?,
            upper: quarter(&values, 3)?,
        })
    }
}

/// The value after so many quarters of a sorted slice, interpolated between its neighbours.
fn quarter(sorted: &[f64], quarters: usize) -> Option<f64> {
    let position = sorted.len().checked_sub(1)? * quarters;
    let below = *sorted.get(position / 4)?;
    let above = *sorted.get(position.div_ceil(4))?;
    let part = match position % 4 {
        0 => 0.0,
        1 => 0.25,
        2 => 0.5,
        _ => 0.75,
    };
    Some(below + (above - below) * part)
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn quartiles_are_interpolated() {
        let summary = Summary::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(summary, Summary { lower: 1.75, median: 2.5, upper: 3.25 });
        let lone = Summary::of(vec![7.0]).unwrap();
        assert_eq!(lone, Summary { lower: 7.0, median: 7.0, upper: 7.0 });
        assert_eq!(Summary::of(Vec::new()), None);
    }
}
