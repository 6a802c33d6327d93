//! Sums of amounts, exact whatever their number, each currency for itself.

use std::collections::BTreeMap;
use std::fmt;

use domain::{Amount, Currency};

/// Digits after the point of an amount.
const PLACES: u32 = 12;

/// Costs and their amounts by currency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    priced: BTreeMap<Currency, Sum>,
    /// Costs without an amount.
    pub unpriced: u64,
}

/// Of one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many costs.
    pub costs: u64,
    /// In units of the last place: 10³⁸ of them have room, an amount has 10²⁴ at most.
    units: i128,
}

impl Sums {
    /// Adds a cost.
    pub fn add(&mut self, cost: Option<(Amount, Currency)>) {
        let Some((amount, currency)) = cost else {
            self.unpriced += 1;
            return;
        };
        let number = amount.decimal();
        let sum = self.priced.entry(currency).or_default();
        sum.costs += 1;
        sum.units += number.mantissa() * 10_i128.pow(PLACES.saturating_sub(number.scale()));
    }

    /// By currency, in the order of their codes.
    pub fn priced(&self) -> impl Iterator<Item = (Currency, Sum)> {
        self.priced.iter().map(|(currency, sum)| (*currency, *sum))
    }

    /// Of one currency.
    pub fn of(&self, currency: Currency) -> Sum {
        self.priced.get(&currency).copied().unwrap_or_default()
    }
}

/// The amount, without trailing zeros.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.units < 0 { "-" } else { "" };
        let (units, one) = (self.units.unsigned_abs(), 10_u128.pow(PLACES));
        let text = format!("{sign}{}.{:012}", units / one, units % one);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_exact_and_currencies_are_kept_apart() {
        let mut sums = Sums::default();
        let eur = Currency::parse("EUR").unwrap();
        let amount = |text: &str| text.parse::<Amount>().unwrap();
        for _ in 0..1000 {
            sums.add(Some((amount("999999999999.999999999999"), Currency::USD)));
        }
        for text in ["0.1", "0.2", "-7"] {
            sums.add(Some((amount(text), eur)));
        }
        sums.add(None);
        let all: Vec<_> = sums.priced().map(|(c, sum)| format!("{} {sum} {}", c.as_str(), sum.costs)).collect();
        assert_eq!(all, ["EUR -6.7 3", "USD 999999999999999.999999999 1000"]);
        assert_eq!((sums.unpriced, sums.of(eur).costs), (1, 3));
        assert_eq!(Sum::default().to_string(), "0");
    }
}
