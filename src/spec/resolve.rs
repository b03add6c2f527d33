//! From a spec and an object to places.

use super::names::{unnamed, version_matches};
use super::{Location, Offset, Spec, SymbolName};
use crate::symbols::{ElfError, Kind, Object, SymbolId, Symbols};
use std::fmt;
use std::ops::Range;
use xol_arch::{Addr, Reason, Reject};

/// One place that a PROBE means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address in the file.
    pub vaddr: u64,
    /// The function around it, if it has a name.
    pub symbol: Option<SymbolId>,
    /// How far inside that function it is.
    pub offset: u64,
    /// What is there.
    pub kind: PlaceKind,
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    /// The first instruction of a function: arguments are where the ABI says.
    Entry,
    /// The first instruction of an IFUNC's resolver, which is not the function the user means:
    /// that one is known once the loader has called the resolver.
    Resolver,
    /// Any other instruction.
    Insn,
}

/// The places of one spec in one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Each address once, in order.
    pub places: Vec<Place>,
    /// What was meant but begins no instruction, is not code or may not be moved.
    pub rejects: Vec<(Place, Reject)>,
}

/// Why a spec has no places in any object.
#[derive(Debug)]
#[non_exhaustive]
pub enum ResolveError {
    /// The object cannot be read.
    Elf(ElfError),
    /// The form is understood, but nothing stands behind it yet.
    NotBuiltYet(&'static str),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Elf(error) => error.fmt(f),
            ResolveError::NotBuiltYet(what) => write!(f, "{what}: not built yet"),
        }
    }
}

impl std::error::Error for ResolveError {}

impl From<ElfError> for ResolveError {
    fn from(error: ElfError) -> ResolveError {
        ResolveError::Elf(error)
    }
}

/// Finds the places of `spec` in `object`, which [`Spec::may_match`]. Places that cannot hold a
/// probe whatever instruction is there are told apart; the instruction itself is not looked at.
/// No places and no rejects: the object has no such name.
///
/// # Errors
/// A damaged object, a form that is not built yet.
pub fn resolve(spec: &Spec, object: &Object) -> Result<Resolved, ResolveError> {
    let mut resolved = Resolved::default();
    match &spec.location {
        Location::Line { .. } => return Err(ResolveError::NotBuiltYet("lines of source")),
        Location::Usdt { .. } => return Err(ResolveError::NotBuiltYet("USDT markers")),
        Location::Address(vaddr) => {
            let symbols = object.symbols()?;
            let (symbol, offset) = symbols.containing(*vaddr).unzip();
            let offset = offset.unwrap_or(0);
            // An address means itself, an IFUNC's resolver too.
            let begins = || {
                let function = object.function_at(*vaddr).ok().flatten();
                function.is_some_and(|function| function.start == *vaddr)
            };
            let kind = match symbol {
                Some(_) if offset == 0 => PlaceKind::Entry,
                None if begins() => PlaceKind::Entry,
                _ => PlaceKind::Insn,
            };
            checked(object, Place { vaddr: *vaddr, symbol, offset, kind }, &mut resolved)?;
        }
        Location::Symbol { name, version, offset } => {
            let symbols = object.symbols()?;
            for id in matching(symbols, name, version.as_deref()) {
                let symbol = symbols.get(id);
                match *offset {
                    Offset::At(offset) => {
                        let vaddr = symbol.addr.wrapping_add(offset);
                        let kind = match offset {
                            0 => entry_kind(symbols, id),
                            _ => PlaceKind::Insn,
                        };
                        let place = Place { vaddr, symbol: Some(id), offset, kind };
                        if offset >= symbol.size.max(1) {
                            let reason = Reason::NotCode.into();
                            resolved.rejects.push((place, reason));
                        } else {
                            checked(object, place, &mut resolved)?;
                        }
                    }
                    Offset::Every => every(object, symbol.range(), Some(id), &mut resolved)?,
                }
            }
            if name.may_be_unnamed() && version.is_none() {
                for range in symbols.unnamed().filter(|r| name.matches(&unnamed(r.start))) {
                    match *offset {
                        Offset::At(offset) => {
                            let kind = match offset {
                                0 => PlaceKind::Entry,
                                _ => PlaceKind::Insn,
                            };
                            let vaddr = range.start.wrapping_add(offset);
                            let place = Place { vaddr, symbol: None, offset, kind };
                            match range.contains(&vaddr) {
                                true => checked(object, place, &mut resolved)?,
                                false => {
                                    resolved.rejects.push((place, Reason::NotCode.into()));
                                }
                            }
                        }
                        Offset::Every => every(object, range, None, &mut resolved)?,
                    }
                }
            }
        }
    }
    resolved.places.sort_by_key(|p| p.vaddr);
    resolved.places.dedup_by_key(|p| p.vaddr);
    resolved.places.shrink_to_fit();
    Ok(resolved)
}

fn entry_kind(symbols: &Symbols, id: SymbolId) -> PlaceKind {
    match symbols.get(id).kind {
        Kind::Ifunc => PlaceKind::Resolver,
        _ => PlaceKind::Entry,
    }
}

/// The symbols that `name` means, one for each address: the best of those that match.
fn matching(symbols: &Symbols, name: &SymbolName, version: Option<&str>) -> Vec<SymbolId> {
    let mut found: Vec<SymbolId> = Vec::new();
    let everything = matches!(name, SymbolName::Glob(glob) if glob.is_everything());
    // What is itself the name of a function is no pattern.
    let exact = matches!(name, SymbolName::Glob(_))
        && !everything
        && symbols.iter().any(|(_, symbol)| name.is_exactly(symbol.name));
    for (id, symbol) in symbols.iter() {
        let means = if exact { name.is_exactly(symbol.name) } else { name.matches(symbol.name) };
        if !version_matches(version, &symbol) || !means {
            continue;
        }
        // Everything means every function, not the labels inside them too.
        if symbol.kind == Kind::Label && everything && inside_function(symbols, id) {
            continue;
        }
        match found.last_mut() {
            Some(last) if symbols.get(*last).addr == symbol.addr => {
                if symbols.rank(id) < symbols.rank(*last) {
                    *last = id;
                }
            }
            _ => found.push(id),
        }
    }
    found
}

fn inside_function(symbols: &Symbols, id: SymbolId) -> bool {
    let around = symbols.containing(symbols.get(id).addr);
    around.is_some_and(|(id, _)| symbols.get(id).kind != Kind::Label)
}

/// Sorts a place where its address belongs: is there code, does an instruction begin?
fn checked(object: &Object, place: Place, into: &mut Resolved) -> Result<(), ElfError> {
    let mut reject = object.place_reject(place.vaddr)?;
    if reject.is_none() && place.kind == PlaceKind::Insn {
        reject = object.boundary_reject(place.vaddr)?;
    }
    match reject {
        Some(reject) => into.rejects.push((place, reject)),
        None => into.places.push(place),
    }
    Ok(())
}

/// Every instruction of a function.
fn every(
    object: &Object,
    range: Range<u64>,
    symbol: Option<SymbolId>,
    into: &mut Resolved,
) -> Result<(), ElfError> {
    // Each instruction means itself, an IFUNC's resolver too.
    let entry = PlaceKind::Entry;
    let fixed: Vec<_> = object
        .fixed()?
        .iter()
        .filter(|f| f.range.start < range.end && f.range.end > range.start)
        .collect();
    crate::for_machine!(object.machine(), A => {
        object.boundaries::<A>(range.clone(), &mut |vaddr, len| {
            let offset = vaddr - range.start;
            let kind = if offset == 0 { entry } else { PlaceKind::Insn };
            let place = Place { vaddr, symbol, offset, kind };
            let reject = if len == 0 {
                Some(Reason::Undecodable.into())
            } else {
                fixed.iter().find(|f| f.range.contains(&vaddr)).map(|f| {
                    Reject { reason: f.reason, nearest: Some(Addr(f.range.end)) }
                })
            };
            match reject {
                Some(reject) => into.rejects.push((place, reject)),
                None => into.places.push(place),
            }
        })?;
    })
}
