//! Whether a function of libc has failed, as far as its value tells.

use crate::engine::RowId;
use crate::spec::{Fails, Type};
use crate::trace::rows::fails::Number;
use crate::trace::telling::teller::Teller;
use crate::trace::telling::value::Value;

impl Teller<'_> {
    /// Whether what a function has returned says that it has failed, by its type if nothing else is known.
    pub(in crate::trace) fn says_failure(&self, row: RowId, value: &Value) -> bool {
        let row = &self.rows[row];
        let (Some(bits), Some(ty)) = (value.bits(), row.returned_type()) else { return false };
        let how = row.error.map_or_else(|| Fails::of(ty), |error| error.how);
        how != Fails::Never && how.has_failed(ty, bits)
    }

    /// Whether errno has to be read when a row's function has failed.
    pub(in crate::trace) fn reads_errno(&self, row: RowId) -> bool {
        let error = self.rows[row].error;
        error.is_some_and(|error| matches!(error.number, Number::Errno(..)))
    }

    /// Whether a function has returned what says that it has failed.
    pub(in crate::trace) fn has_failed(&self, row: RowId, value: &Value) -> bool {
        let row = &self.rows[row];
        let Some(bits) = value.bits() else { return false };
        let ty = row.returned_type().unwrap_or(Type::I64);
        match row.error {
            Some(error) => error.how.has_failed(ty, bits),
            // Of one whose ways are not known, NULL says so.
            None => bits == 0 && matches!(ty, Type::Ptr | Type::Str),
        }
    }

    /// The error that what a function has returned tells, without a look at its thread.
    pub(in crate::trace) fn told_error(&self, row: RowId, value: &Value) -> Option<i32> {
        let bits = value.bits()?;
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
}
