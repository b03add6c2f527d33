//! What a trampoline can do in the place of a stop: count, or record which values.

use crate::WhyNotJump;
use crate::engine::ConsumerId;
use crate::engine::{RecorderId, RowId, SiteId, Wish};
use crate::spec::Type;
use crate::trace::rows::consumer::{Calls, Consumer};
use crate::trace::space::sites::Sites;
use crate::trace::telling::teller::Teller;
use std::rc::Rc;
use xol_arch::jump::{self, Filter, Values};
use xol_arch::{Addr, Arch as _, ArgPlace};
use xol_targets::Native;

/// What a trampoline does at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum Served {
    /// It counts.
    Counted(Filter),
    /// It notes these values down.
    Noted(Values, Filter),
}

/// A site whose hits are noted down: the number in a record is its index.
#[derive(Debug)]
pub(in crate::trace) struct Noting {
    pub(in crate::trace) at: Addr,
    /// The consumers that are told, in their order.
    pub(in crate::trace) consumers: Rc<[ConsumerId]>,
    /// What is in its records.
    pub(in crate::trace) values: Values,
}

/// What of a record says what an argument is, if a recorder reads that.
pub(in crate::trace) fn recorded(place: ArgPlace) -> Option<jump::Value> {
    let value = match place {
        ArgPlace::Integer(n) => jump::Value::Arg(n),
        ArgPlace::Float(n) => jump::Value::Float(n),
        ArgPlace::Stack(above) => jump::Value::Stack(Native::CONVENTION.stack_word(above)?),
        ArgPlace::Register(n) if n < jump::Value::REGISTERS => jump::Value::Register(n),
        ArgPlace::Register(_) => return None,
    };
    Values::NONE.with(value).has(value).then_some(value)
}

/// What of a record says what a function has returned.
pub(in crate::trace) fn returned(ty: Option<Type>) -> jump::Value {
    match ty {
        Some(ty) if ty.is_float() => jump::Value::Float(0),
        _ => jump::Value::Ret,
    }
}

impl Teller<'_> {
    /// Returns what a trampoline can do in the place of a stop for all consumers of a site, or
    /// why it cannot: this is the only place that knows. A site must be able to do without its jump, too.
    pub(in crate::trace) fn recorder_for(
        &self,
        sites: &Sites,
        number: SiteId,
    ) -> Result<Served, WhyNotJump> {
        const OTHER: WhyNotJump = WhyNotJump::NotOnlyCounted;
        let site = sites.get(number).filter(|site| site.armed).ok_or(WhyNotJump::Disarmed)?;
        let to_the_hit = self.options.max_events.is_some() && !self.options.events;
        if self.options.hits_per_site.is_some() || to_the_hit {
            return Err(WhyNotJump::LimitedHits);
        }
        if site.slot.is_none() {
            return Err(WhyNotJump::NoSlot);
        }
        let mut noted = false;
        let mut values = Values::NONE;
        let mut filter = None;
        let of_run_up = |c: &ConsumerId| matches!(self.rows[*c], Consumer::RunUp);
        for consumer in sites.consumers(number).filter(|consumer| !of_run_up(consumer)) {
            // One filter is for all.
            let its = match self.rows[consumer] {
                Consumer::Row(row) | Consumer::Entered(row) => self.filter(row)?,
                _ => Filter::NONE,
            };
            if *filter.get_or_insert(its) != its {
                return Err(WhyNotJump::WhereNotCompiled);
            }
            match self.rows[consumer] {
                Consumer::Row(row) if self.options.events => {
                    noted = true;
                    // With the return value asked for, the line is the return's.
                    if !self.probe_of(row).when.ret() {
                        values = self.arguments(row, values)?;
                    }
                }
                Consumer::Row(_) => {}
                Consumer::Entered(row) => {
                    // What cannot be seen at its exits is waited for where it returns to.
                    if !sites.exits.proven(site.addr, row) {
                        return Err(WhyNotJump::ExitsNotProven);
                    }
                    if self.rows.is_go(row) {
                        return Err(WhyNotJump::MovingStack);
                    }
                    noted = true;
                    values = values.with(jump::Value::Sp).with(jump::Value::Link);
                    if self.options.events {
                        values = self.arguments(row, values)?;
                    }
                }
                Consumer::Exit(row) => {
                    if self.rows.is_go(row) {
                        return Err(WhyNotJump::MovingStack);
                    }
                    let condition = self.rows[row].condition.as_ref();
                    if condition.is_some_and(|condition| condition.is_late()) {
                        return Err(WhyNotJump::WhereNotCompiled);
                    }
                    if self.options.wish == Wish::Auto && self.reads_errno(row) {
                        return Err(WhyNotJump::ErrnoRead);
                    }
                    noted = true;
                    values = values.with(jump::Value::Sp).with(jump::Value::Link);
                    if self.options.events {
                        let signature = self.rows[row].signature.as_ref();
                        if signature.is_some_and(|signature| signature.has_out()) {
                            return Err(WhyNotJump::OutArgument);
                        }
                        match self.rows[row].returned_type() {
                            Some(Type::Str) => return Err(WhyNotJump::StringReturn),
                            ty => values = values.with(returned(ty)),
                        }
                    }
                }
                _ => return Err(OTHER),
            }
        }
        let filter = filter.unwrap_or(Filter::NONE);
        if !noted {
            return Ok(Served::Counted(filter));
        }
        if values.len() > jump::Value::WORDS {
            return Err(WhyNotJump::TooManyValues);
        }
        if sites.jumps.shared_pointers {
            return Err(WhyNotJump::SharedThreadPointer);
        }
        Ok(Served::Noted(values, filter))
    }

    /// What a trampoline tests for a row.
    fn filter(&self, row: RowId) -> Result<Filter, WhyNotJump> {
        let row = &self.rows[row];
        let Some(condition) = &row.condition else { return Ok(Filter::NONE) };
        let filter = condition.filter().ok_or(WhyNotJump::WhereNotCompiled)?;
        let in_register = |test: &jump::Test| match test.value {
            jump::Value::Arg(n) => row.places.contains(&ArgPlace::Integer(n)),
            _ => true,
        };
        let all = row.calls == Calls::C && !row.registers && filter.iter().all(in_register);
        if all { Ok(filter) } else { Err(WhyNotJump::WhereNotCompiled) }
    }

    /// `values` with the arguments that a row's signature names.
    fn arguments(&self, row: RowId, mut values: Values) -> Result<Values, WhyNotJump> {
        let row = &self.rows[row];
        let Some(signature) = &row.signature else { return Ok(values) };
        for (n, arg) in signature.args.iter().enumerate() {
            if arg.ty == Type::Fd && self.options.files {
                return Err(WhyNotJump::FileArgument);
            }
            if arg.is_read_at_entry() {
                return Err(WhyNotJump::StringArgument);
            }
            match row.places.get(n) {
                Some(&place @ (ArgPlace::Register(_) | ArgPlace::Float(_))) if row.registers => {
                    values = values.with(recorded(place).ok_or(WhyNotJump::RegisterArgument)?);
                }
                _ if row.calls != Calls::C => return Err(WhyNotJump::GoArgument),
                Some(&place) => {
                    values = values.with(recorded(place).ok_or(WhyNotJump::StackArgument)?)
                }
                None => return Err(WhyNotJump::StackArgument),
            }
        }
        Ok(values)
    }

    /// A number for a site whose consumers are noted.
    pub(in crate::trace) fn noting(
        &mut self,
        at: Addr,
        mut consumers: Vec<ConsumerId>,
        values: Values,
    ) -> RecorderId {
        self.rows.in_turn(&mut consumers);
        self.notings.push(Noting { at, consumers: consumers.into(), values });
        RecorderId(self.notings.len() as u32 - 1)
    }
}
