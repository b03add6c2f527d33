//! errno, as a function of libc leaves it when it says that it has failed.

use crate::engine::RowId;
use crate::spec::Type;
use crate::trace::rows::fails::Number;
use crate::trace::session::Session;
use crate::trace::space::objects::Loaded;
use crate::trace::telling::value::Value;
use xol_arch::Addr;
use xol_targets::ptrace::Tid;

impl Session<'_> {
    /// The error that a function has told, whose thread is about to leave it or is behind it;
    /// `None` where it has not failed, or that cannot be read.
    pub(in crate::trace) fn error_of(
        &mut self,
        tid: Tid,
        row: RowId,
        value: &Value,
    ) -> Option<i32> {
        let bits = value.bits()?;
        let row_of = &self.teller.rows[row];
        let error = row_of.error?;
        let Number::Errno(slot, more) = error.number else {
            return self.teller.told_error(row, value);
        };
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
