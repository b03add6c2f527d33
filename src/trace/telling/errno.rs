//! errno, as a function of libc leaves it when it says that it has failed.

use crate::engine::RowId;
use crate::spec::Type;
use crate::trace::rows::fails::Number;
use crate::trace::session::Session;
use crate::trace::space::objects::Loaded;
use crate::trace::telling::arguments::Value;
use xol_arch::Addr;
use xol_targets::ptrace::Tid;

impl Session<'_> {
    /// Whether errno has to be read when a row's function has failed.
    pub(in crate::trace) fn reads_errno(&self, row: RowId) -> bool {
        let error = self.rows[row].error;
        error.is_some_and(|error| matches!(error.number, Number::Errno(..)))
    }

    /// Whether a function has returned what says that it has failed.
    pub(in crate::trace) fn has_failed(&self, row: RowId, value: &Value) -> bool {
        let row = &self.rows[row];
        let Value::Bits(bits) = value else { return false };
        let ty = row.returned_type().unwrap_or(Type::I64);
        match row.error {
            Some(error) => error.how.has_failed(ty, *bits),
            // Of one whose ways are not known, NULL says so.
            None => *bits == 0 && matches!(ty, Type::Ptr | Type::Str),
        }
    }

    /// The error that what a function has returned tells, without a look at its thread.
    pub(in crate::trace) fn told_error(&self, row: RowId, value: &Value) -> Option<i32> {
        let Value::Bits(bits) = *value else { return None };
        let row = &self.rows[row];
        let error = row.error?;
        let ty = row.returned_type().unwrap_or(Type::I64);
        match error.number {
            _ if !error.how.has_failed(ty, bits) => None,
            Number::Value => i32::try_from(bits & 0xffff_ffff).ok(),
            Number::Always(number) => Some(number),
            Number::Errno(..) | Number::Unknown => None,
        }
    }

    /// The error that a function has told, whose thread is about to leave it or is behind it;
    /// `None` where it has not failed, or that cannot be read.
    pub(in crate::trace) fn error_of(
        &mut self,
        tid: Tid,
        row: RowId,
        value: &Value,
    ) -> Option<i32> {
        let Value::Bits(bits) = *value else { return None };
        let row_of = &self.rows[row];
        let error = row_of.error?;
        let Number::Errno(slot, more) = error.number else { return self.told_error(row, value) };
        let row = row_of;
        let ty = row.returned_type().unwrap_or(Type::I64);
        if !error.how.has_failed(ty, bits) {
            return None;
        }
        let object = row.object.clone();
        let space = self.target.space_of(tid)?;
        let is_it = |loaded: &&Loaded| loaded.path == object;
        let loaded = self.spaces.get(&space)?.objects.iter().find(is_it)?.clone();
        let pid = self.target.thread(tid)?.pid;
        let bias = loaded.bias(&*self.open(pid, &loaded)?)?;
        let pointer = self.target.thread_pointer(tid).ok()?;
        let mut machine = self.target.stopped(tid).ok()?;
        let (mut offset, mut number) = ([0; 8], [0; 4]);
        machine.read_data(Addr(slot.wrapping_add(bias)), &mut offset).ok()?;
        let at = pointer.wrapping_add(u64::from_le_bytes(offset)).wrapping_add(more);
        machine.read_data(Addr(at), &mut number).ok()?;
        Some(i32::from_le_bytes(number)).filter(|&number| number > 0)
    }
}
