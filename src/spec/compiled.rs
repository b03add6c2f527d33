//! Conditions as the tests of a trampoline.

use super::condition::What;
use super::filter::Relation;
use super::{Condition, NumberTest, Type};
use xol_arch::jump::{self, Filter};

impl Condition {
    /// The same as tests of a trampoline, where there are few enough of the kind that it knows.
    #[must_use]
    pub fn filter(&self) -> Option<Filter> {
        let mut filter = Filter::NONE;
        self.add_to(&mut filter)?;
        Some(filter)
    }

    fn add_to(&self, filter: &mut Filter) -> Option<()> {
        match self {
            Condition::All(parts) => parts.iter().try_for_each(|part| part.add_to(filter)),
            Condition::Number(test) if matches!(test.what, What::Arg(_)) => test.add_to(filter),
            _ => None,
        }
    }
}

impl NumberTest {
    fn add_to(&self, filter: &mut Filter) -> Option<()> {
        let mut add = |relation, constant| {
            let value = jump::Value::Arg(u8::try_from(self.integer).ok()?);
            let (bits, signed) = (self.ty.bits() as u8, self.ty.range().0 < 0);
            *filter = filter.with(jump::Test { value, bits, signed, relation, constant })?;
            Some(())
        };
        let plain = match self.relation {
            Relation::Eq => jump::Relation::Eq,
            Relation::Ne => jump::Relation::Ne,
            Relation::Lt => jump::Relation::Lt,
            Relation::Le => jump::Relation::Le,
            Relation::Gt => jump::Relation::Gt,
            Relation::Ge => jump::Relation::Ge,
        };
        let equal = self.relation == Relation::Eq;
        let constant = self.value as u64;
        match (self.mask, self.relation) {
            // true is whatever is not 0.
            (None, Relation::Eq | Relation::Ne) if self.ty == Type::Bool => {
                let zero = equal == (self.value == 0);
                add(if zero { jump::Relation::Eq } else { jump::Relation::Ne }, 0)
            }
            (None, _) => add(plain, constant),
            (Some(mask), Relation::Eq | Relation::Ne) if self.value == 0 => {
                add(if equal { jump::Relation::NoBit } else { jump::Relation::AnyBit }, mask)
            }
            // One bit is there, or is not.
            (Some(mask), Relation::Eq | Relation::Ne)
                if mask.is_power_of_two() && constant == mask =>
            {
                add(if equal { jump::Relation::AnyBit } else { jump::Relation::NoBit }, mask)
            }
            // These are there, each by itself, and none of the others.
            (Some(mask), Relation::Eq) if self.value > 0 && constant & !mask == 0 => {
                if mask != constant {
                    add(jump::Relation::NoBit, mask & !constant)?;
                }
                (0..64)
                    .map(|n| 1 << n)
                    .filter(|bit| constant & bit != 0)
                    .try_for_each(|bit| add(jump::Relation::AnyBit, bit))
            }
            _ => None,
        }
    }
}
