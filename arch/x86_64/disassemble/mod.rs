//! Instructions as text, in the syntax of objdump.

use crate::{Addr, Text};
use core::fmt;
use iced_x86::{Formatter, FormatterOutput, FormatterTextKind, GasFormatter};

use super::decode::decode;

/// Writes the instruction at `at`, or its first byte as data.
pub(super) fn disassemble(text: &Text<'_>, at: Addr, out: &mut dyn fmt::Write) -> fmt::Result {
    let Ok(decoded) = decode(text, at) else {
        return match text.from(at).first() {
            Some(byte) => write!(out, ".byte {byte:#04x}"),
            None => out.write_str("(no bytes)"),
        };
    };
    let mut formatter = GasFormatter::new();
    let options = formatter.options_mut();
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_rip_relative_addresses(true);
    options.set_small_hex_numbers_in_decimal(false);
    let mut sink = Sink { out, result: Ok(()) };
    formatter.format(&decoded.insn, &mut sink);
    sink.result?;
    match decoded.rip_relative() {
        Some(operand) => write!(out, " # {}", operand.target),
        None => Ok(()),
    }
}

/// Remembers the first error: iced's output cannot fail.
struct Sink<'a> {
    out: &'a mut dyn fmt::Write,
    result: fmt::Result,
}

impl FormatterOutput for Sink<'_> {
    fn write(&mut self, text: &str, _: FormatterTextKind) {
        if self.result.is_ok() {
            self.result = self.out.write_str(text);
        }
    }
}
