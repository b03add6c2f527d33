//! What a recording says of its run and of its rows, as bytes.

use super::numbers::{Eyes, Pen, Wrong};
use crate::spec::{Signature, Type, VARIADIC};
use crate::symbols::BuildId;
use crate::trace::Row;

/// A run: what its events are to be seen against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The xol that has written it.
    pub xol: String,
    /// The machine that the program ran on: arm64, x86_64.
    pub machine: String,
    /// When the run began, in ns of CLOCK_MONOTONIC.
    pub start_ns: u64,
    /// The nanoseconds from the beginning of 1970 to that of CLOCK_MONOTONIC.
    pub wall_ns: u64,
    /// The PROBEs as the user wrote them.
    pub probes: Vec<String>,
}

impl Recorded {
    pub(super) fn write(&self, pen: &mut Pen) {
        pen.text(self.xol.as_bytes());
        pen.text(self.machine.as_bytes());
        pen.number(self.start_ns);
        pen.number(self.wall_ns);
        pen.number(self.probes.len() as u64);
        self.probes.iter().for_each(|probe| pen.text(probe.as_bytes()));
    }

    pub(super) fn read(eyes: &mut Eyes<'_>) -> Result<Recorded, Wrong> {
        let (xol, machine) = (eyes.utf8()?.to_owned(), eyes.utf8()?.to_owned());
        let (start_ns, wall_ns) = (eyes.number()?, eyes.number()?);
        let probes = (0..eyes.number()?).map(|_| eyes.utf8().map(str::to_owned));
        let probes = probes.collect::<Result<_, _>>()?;
        Ok(Recorded { xol, machine, start_ns, wall_ns, probes })
    }
}

/// A row: what its events are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Number of the PROBE.
    pub probe: usize,
    /// The object's path.
    pub object: String,
    /// The object's build-id.
    pub build_id: Option<BuildId>,
    /// The function's name; empty where there is none.
    pub symbol: String,
    /// The symbol itself, where that is another name.
    pub mangled: Option<String>,
    /// Bytes behind the function's start.
    pub offset: u64,
    /// The address in the file.
    pub vaddr: u64,
    /// Whether it is about returns.
    pub is_return: bool,
    /// The types of arguments and return value, if known.
    pub signature: Option<Signature>,
}

impl From<&Row> for Probed {
    fn from(row: &Row) -> Probed {
        Probed {
            probe: row.probe,
            object: row.object.to_string(),
            build_id: row.build_id,
            symbol: row.symbol.to_string(),
            mangled: row.mangled.as_deref().map(str::to_owned),
            offset: row.offset,
            vaddr: row.addr,
            is_return: row.is_return,
            signature: row.signature.as_deref().cloned(),
        }
    }
}

const RETURN: u64 = 1;
const MANGLED: u64 = 2;
const SIGNATURE: u64 = 4;
const OPEN: u64 = 8;

impl Probed {
    pub(super) fn write(&self, pen: &mut Pen) {
        let flag = |bit: u64, on: bool| if on { bit } else { 0 };
        pen.number(
            flag(RETURN, self.is_return)
                | flag(MANGLED, self.mangled.is_some())
                | flag(SIGNATURE, self.signature.is_some())
                | flag(OPEN, self.signature.as_ref().is_some_and(|signature| signature.open)),
        );
        pen.number(self.probe as u64);
        pen.text(self.object.as_bytes());
        pen.text(self.build_id.as_ref().map_or(&[], BuildId::as_bytes));
        pen.text(self.symbol.as_bytes());
        if let Some(mangled) = &self.mangled {
            pen.text(mangled.as_bytes());
        }
        pen.number(self.offset);
        pen.number(self.vaddr);
        if let Some(signature) = &self.signature {
            pen.text(signature.ret.map_or(String::new(), Type::full_name).as_bytes());
            pen.number(signature.args.len() as u64);
            for (arg, ty) in signature.args.iter().zip(signature.full_types()) {
                pen.text(arg.name.as_bytes());
                pen.text(ty.as_bytes());
            }
        }
    }

    pub(super) fn read(eyes: &mut Eyes<'_>) -> Result<Probed, Wrong> {
        let flags = eyes.number()?;
        let has = |bit: u64| flags & bit != 0;
        let probe = eyes.small()?;
        let object = eyes.utf8()?.to_owned();
        let build_id = match eyes.text()? {
            [] => None,
            bytes => Some(BuildId::new(bytes).ok_or(Wrong)?),
        };
        let symbol = eyes.utf8()?.to_owned();
        let mangled = if has(MANGLED) { Some(eyes.utf8()?.to_owned()) } else { None };
        let (offset, vaddr) = (eyes.number()?, eyes.number()?);
        let signature = if has(SIGNATURE) {
            let ret = match eyes.utf8()? {
                "" => None,
                name => Some(Type::from_name(name).ok_or(Wrong)?),
            };
            let count = eyes.number()?;
            let mut text = String::new();
            for n in 0..count {
                let name = eyes.utf8()?;
                let ty = eyes.utf8()?;
                text.push_str(if n == 0 { "" } else { "," });
                if name == VARIADIC {
                    text.push_str(VARIADIC);
                    continue;
                }
                if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                    return Err(Wrong);
                }
                text.extend([name, ":", ty]);
            }
            let args = Signature::args_of(&text).filter(|args| args.len() as u64 == count);
            Some(Signature { args: args.ok_or(Wrong)?, open: has(OPEN), ret })
        } else {
            None
        };
        Ok(Probed {
            probe,
            object,
            build_id,
            symbol,
            mangled,
            offset,
            vaddr,
            is_return: has(RETURN),
            signature,
        })
    }
}

/// What was missed in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Hits that found no room to be noted down.
    pub unread: u64,
    /// How many of which row, as a person calls it.
    pub rows: Vec<(u64, String)>,
}

impl Gaps {
    pub(super) fn write(&self, pen: &mut Pen) {
        pen.number(self.unread);
        pen.number(self.rows.len() as u64);
        for (missed, row) in &self.rows {
            pen.number(*missed);
            pen.text(row.as_bytes());
        }
    }

    pub(super) fn read(eyes: &mut Eyes<'_>) -> Result<Gaps, Wrong> {
        let unread = eyes.number()?;
        let rows = (0..eyes.number()?).map(|_| Ok((eyes.number()?, eyes.utf8()?.to_owned())));
        Ok(Gaps { unread, rows: rows.collect::<Result<_, Wrong>>()? })
    }
}
