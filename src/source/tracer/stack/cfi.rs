//! The unwind information of a file (`.eh_frame`), and whether it can be trusted to come to an end.
//!
//! Unwind information may hold little programs (DWARF expressions) with jumps: one that jumps back runs for ever. No
//! compiler makes jumps there; a function whose information has one is not unwound.

use gimli::{
    BaseAddresses, CallFrameInstruction, CieOrFde, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice,
    Expression, FrameDescriptionEntry, LittleEndian, Operation, Pointer, UnwindExpression,
    UnwindSection,
};
use std::collections::HashMap;
use std::sync::Arc;

/// A function has some tens of instructions here, each with a few operations; the longest of a browser have thousands.
const MAX_INSTRUCTIONS: usize = 100_000;
/// An entry, or what it shares with others (its CIE), is not longer: the longest of a browser has some kilobytes.
const MAX_ENTRY: usize = 1 << 16;
/// Without an index all entries are read at the start, and each is read with its CIE, which all others may share: bytes
/// and instructions counted, honest files need as much as four times the section.
const MAX_STEPS: usize = 4 * MAX_UNINDEXED;
/// Without an index all of the section is read at once, up to here.
const MAX_UNINDEXED: usize = 4 << 20;
/// More answers than this are found again each time.
const MAX_ANSWERS: usize = 1 << 14;

/// One section.
#[derive(Clone, Debug)]
pub struct CfiSection {
    /// Its address, as the file counts.
    pub address: u64,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

type Bytes<'a> = EndianSlice<'a, LittleEndian>;
type Frames<'a> = EhFrame<Bytes<'a>>;
type UnwindEntry<'a> = FrameDescriptionEntry<Bytes<'a>>;

/// What the unwind information has for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An entry that can be used.
    Covered,
    /// None.
    Uncovered,
    /// One that must not be used.
    Harmful,
}

/// The unwind information of one file.
#[derive(Debug)]
pub struct Cfi {
    /// `.eh_frame`
    pub frames: CfiSection,
    /// `.eh_frame_hdr`, its index.
    pub index: Option<CfiSection>,
    /// Where there is no index: the functions it covers, as (first, behind the last); nothing if any is harmful.
    covered: Option<Vec<(u64, u64)>>,
    answers: HashMap<u64, Verdict>,
}

impl Cfi {
    /// Takes the sections.
    pub fn new(frames: CfiSection, index: Option<CfiSection>) -> Self {
        let covered = index.is_none().then(|| {
            let small = frames.bytes.len() <= MAX_UNINDEXED;
            small.then(|| all_covered(&frames)).flatten()
        });
        Self {
            frames,
            index,
            covered: covered.map(Option::unwrap_or_default),
            answers: HashMap::new(),
        }
    }

    /// Whether the unwinder may have it: without an index it reads all at once.
    pub fn is_usable(&self) -> bool {
        self.covered.as_ref().is_none_or(|list| !list.is_empty())
    }

    /// Bytes of its sections.
    pub fn weight(&self) -> u64 {
        let index = self.index.as_ref().map_or(0, |i| i.bytes.len());
        (self.frames.bytes.len() + index) as u64
    }

    /// What there is for this address (as the file counts).
    pub fn verdict(&mut self, address: u64) -> Verdict {
        if let Some(covered) = &self.covered {
            let within = |range: &(u64, u64)| (range.0..range.1).contains(&address);
            let behind = covered.partition_point(|range| range.0 <= address);
            return match covered[..behind].last().is_some_and(within) {
                true => Verdict::Covered,
                false if covered.is_empty() => Verdict::Harmful,
                false => Verdict::Uncovered,
            };
        }
        if let Some(known) = self.answers.get(&address) {
            return *known;
        }
        let answer = self.entry(address).unwrap_or(Verdict::Uncovered);
        if self.answers.len() < MAX_ANSWERS {
            self.answers.insert(address, answer);
        }
        answer
    }

    fn entry(&self, address: u64) -> Option<Verdict> {
        let index = self.index.as_ref()?;
        let bases = self.bases();
        let Ok(parsed) = EhFrameHdr::new(&index.bytes, LittleEndian).parse(&bases, 8) else {
            return Some(Verdict::Harmful);
        };
        let frames = section(&self.frames);
        let table = parsed.table()?;
        let found = table.lookup(address, &bases).and_then(Pointer::direct);
        // A damaged table may name an entry before the section, and the unwinder subtracts without a check. It may also
        // read encodings that no linker writes (relative to the text) and this does not.
        let at = match (found, parsed.eh_frame_ptr().direct()) {
            (Ok(found), Ok(begin)) => found.checked_sub(begin),
            _ => None,
        };
        let Some(at) = at else {
            return Some(Verdict::Harmful);
        };
        let at = EhFrameOffset(usize::try_from(at).ok()?);
        // Every frame of every stack would read all of a long one.
        if !is_short(&self.frames.bytes, at.0) {
            return Some(Verdict::Harmful);
        }
        let entry = frames
            .fde_from_offset(&bases, at, EhFrame::cie_from_offset)
            .ok()?;
        // The unwinder reads the entry before it sees that the address is not in it.
        let mut left = MAX_INSTRUCTIONS;
        Some(if !harmless(&frames, &bases, &entry, &mut left) {
            Verdict::Harmful
        } else if entry.contains(address) {
            Verdict::Covered
        } else {
            Verdict::Uncovered
        })
    }

    /// What addresses in the sections are relative to.
    fn bases(&self) -> BaseAddresses {
        let bases = BaseAddresses::default().set_eh_frame(self.frames.address);
        match &self.index {
            Some(index) => bases.set_eh_frame_hdr(index.address),
            None => bases,
        }
    }
}

fn section(frames: &CfiSection) -> Frames<'_> {
    let mut section = EhFrame::new(&frames.bytes, LittleEndian);
    section.set_address_size(8);
    section
}

/// The length of the entry at an offset, without the length itself. `None`: it is outside, or in the 64-bit format,
/// which no compiler uses here.
fn length(frames: &[u8], at: usize) -> Option<usize> {
    let bytes = frames.get(at..at.checked_add(4)?)?;
    let length = u32::from_le_bytes(bytes.try_into().ok()?);
    usize::try_from(length).ok().filter(|_| length != u32::MAX)
}

/// Whether an entry and its CIE, which is looked for at a distance that the entry gives, are short.
fn is_short(frames: &[u8], at: usize) -> bool {
    let short = |at| length(frames, at).is_some_and(|length| length <= MAX_ENTRY);
    let cie = || {
        let place = at.checked_add(4)?;
        let bytes = frames.get(place..place.checked_add(4)?)?;
        let back = usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()?;
        place.checked_sub(back)
    };
    short(at) && cie().is_some_and(short)
}

/// The functions of a section without an index, in order; `None` if it is damaged, any entry is harmful, or all of them
/// together take too many steps.
fn all_covered(frames: &CfiSection) -> Option<Vec<(u64, u64)>> {
    let bases = BaseAddresses::default().set_eh_frame(frames.address);
    let section = section(frames);
    let mut covered = Vec::new();
    let mut entries = section.entries(&bases);
    let mut left = MAX_STEPS;
    while let Some(entry) = entries.next().ok()? {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let cie = length(&frames.bytes, partial.cie_offset().0)?;
        left = left.checked_sub(cie.saturating_add(partial.entry_len()))?;
        if cie > MAX_ENTRY || partial.entry_len() > MAX_ENTRY {
            return None;
        }
        let entry = partial.parse(EhFrame::cie_from_offset).ok()?;
        if !harmless(&section, &bases, &entry, &mut left) {
            return None;
        }
        let first = entry.initial_address();
        covered.push((first, first.saturating_add(entry.len())));
    }
    covered.sort_unstable();
    Some(covered)
}

/// Whether the unwinder can run an entry's instructions, of which so many are `left`.
fn harmless(frames: &Frames, bases: &BaseAddresses, entry: &UnwindEntry, left: &mut usize) -> bool {
    let lists = [
        entry.cie().instructions(frames, bases),
        entry.instructions(frames, bases),
    ];
    for mut list in lists {
        // What cannot be read is where the unwinder stops too.
        while let Ok(Some(instruction)) = list.next() {
            let expression = match instruction {
                CallFrameInstruction::DefCfaExpression { expression }
                | CallFrameInstruction::Expression { expression, .. }
                | CallFrameInstruction::ValExpression { expression, .. } => Some(expression),
                _ => None,
            };
            if !spend(left) || expression.is_some_and(|e| !runs_straight(frames, entry, e, left)) {
                return false;
            }
        }
    }
    true
}

/// Takes one step of those that are left.
fn spend(left: &mut usize) -> bool {
    *left = left.saturating_sub(1);
    *left > 0
}

/// Whether an expression has no jumps, and no more operations than are left.
fn runs_straight(
    frames: &Frames,
    entry: &UnwindEntry,
    expression: UnwindExpression<usize>,
    left: &mut usize,
) -> bool {
    let Ok(Expression(bytes)) = expression.get(frames) else {
        return false;
    };
    let mut operations = Expression(bytes).operations(entry.cie().encoding());
    while let Ok(Some(operation)) = operations.next() {
        if !spend(left) || matches!(operation, Operation::Skip { .. } | Operation::Bra { .. }) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `.eh_frame` of one function at 0x1000, 0x100 bytes, whose CFA is this expression.
    fn frames(expression: &[u8]) -> CfiSection {
        // CIE: version 1, augmentation "", code alignment 1, data alignment -8, return address in 16.
        let cie = [0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0, 0, 0];
        let mut bytes = vec![12, 0, 0, 0];
        bytes.extend(cie);
        let mut fde = Vec::from(20_u32.to_le_bytes());
        fde.extend(0x1000_u64.to_le_bytes());
        fde.extend(0x100_u64.to_le_bytes());
        fde.push(0x0f); // DW_CFA_def_cfa_expression
        fde.push(u8::try_from(expression.len()).unwrap());
        fde.extend(expression);
        bytes.extend(u32::try_from(fde.len()).unwrap().to_le_bytes());
        bytes.extend(fde);
        bytes.extend([0; 4]);
        CfiSection {
            address: 0x2000,
            bytes: bytes.into(),
        }
    }

    #[test]
    fn an_endless_expression_is_refused() {
        // DW_OP_breg7 8, as linkers write for the procedure linkage table.
        let verdict = |expression: &[u8], at| Cfi::new(frames(expression), None).verdict(at);
        assert_eq!(verdict(&[0x77, 8], 0x1010), Verdict::Covered);
        assert_eq!(verdict(&[0x77, 8], 0x1100), Verdict::Uncovered);
        // DW_OP_skip -3: for ever.
        assert_eq!(verdict(&[0x2f, 0xfd, 0xff], 0x1010), Verdict::Harmful);
        // DW_OP_lit1, DW_OP_bra -4.
        assert_eq!(verdict(&[0x31, 0x28, 0xfc, 0xff], 0x1010), Verdict::Harmful);
    }

    /// A section of one CIE with so many instructions, and so many functions that share it.
    fn shared(instructions: usize, functions: usize) -> CfiSection {
        let mut bytes = Vec::from(u32::try_from(12 + instructions).unwrap().to_le_bytes());
        bytes.extend([0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0, 0, 0]);
        // DW_CFA_advance_loc 0: not DW_CFA_nop, which ends a list.
        bytes.extend(vec![0x40; instructions]);
        for n in 0..functions {
            let back = u32::try_from(bytes.len() + 4).unwrap();
            bytes.extend(20_u32.to_le_bytes());
            bytes.extend(back.to_le_bytes());
            bytes.extend((0x1000 + 0x100 * n as u64).to_le_bytes());
            bytes.extend(0x100_u64.to_le_bytes());
        }
        bytes.extend([0; 4]);
        CfiSection {
            address: 0x2000,
            bytes: bytes.into(),
        }
    }

    #[test]
    fn a_shared_beginning_is_not_read_for_ever() {
        let verdict = |section| Cfi::new(section, None).verdict(0x1010);
        assert_eq!(verdict(shared(30, 60_000)), Verdict::Covered);
        // Each of these is allowed for itself; together they would be 6,000,000,000 instructions.
        assert_eq!(verdict(shared(60_000, 100_000)), Verdict::Harmful);
        // And this one is longer than any.
        assert_eq!(verdict(shared(100_000, 1)), Verdict::Harmful);
    }
}
