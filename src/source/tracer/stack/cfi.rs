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

/// A function has some tens of instructions here; the longest of a browser have thousands.
const MAX_INSTRUCTIONS: usize = 100_000;
/// Without an index all of the section is read at once, up to here.
const MAX_UNINDEXED: usize = 4 << 20;
/// More answers than this are found again each time.
const MAX_ANSWERS: usize = 1 << 14;

/// One section.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its address, as the file counts.
    pub address: u64,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

type Bytes<'a> = EndianSlice<'a, LittleEndian>;
type Frames<'a> = EhFrame<Bytes<'a>>;
type Entry<'a> = FrameDescriptionEntry<Bytes<'a>>;

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
    pub frames: Section,
    /// `.eh_frame_hdr`, its index.
    pub index: Option<Section>,
    /// Where there is no index: the functions it covers, as (first, behind the last); nothing if any is harmful.
    covered: Option<Vec<(u64, u64)>>,
    answers: HashMap<u64, Verdict>,
}

impl Cfi {
    /// Takes the sections.
    pub fn new(frames: Section, index: Option<Section>) -> Self {
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
            return match covered.iter().any(within) {
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
        let entry = frames
            .fde_from_offset(&bases, at, EhFrame::cie_from_offset)
            .ok()?;
        // The unwinder reads the entry before it sees that the address is not in it.
        Some(if !harmless(&frames, &bases, &entry) {
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

fn section(frames: &Section) -> Frames<'_> {
    let mut section = EhFrame::new(&frames.bytes, LittleEndian);
    section.set_address_size(8);
    section
}

/// The functions of a section without an index; `None` if it is damaged, or any entry is harmful.
fn all_covered(frames: &Section) -> Option<Vec<(u64, u64)>> {
    let bases = BaseAddresses::default().set_eh_frame(frames.address);
    let section = section(frames);
    let mut covered = Vec::new();
    let mut entries = section.entries(&bases);
    while let Some(entry) = entries.next().ok()? {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let entry = partial.parse(EhFrame::cie_from_offset).ok()?;
        if !harmless(&section, &bases, &entry) {
            return None;
        }
        let first = entry.initial_address();
        covered.push((first, first.saturating_add(entry.len())));
    }
    Some(covered)
}

fn harmless(frames: &Frames, bases: &BaseAddresses, entry: &Entry) -> bool {
    let lists = [
        entry.cie().instructions(frames, bases),
        entry.instructions(frames, bases),
    ];
    let mut left = MAX_INSTRUCTIONS;
    for mut list in lists {
        // What cannot be read is where the unwinder stops too.
        while let Ok(Some(instruction)) = list.next() {
            left -= 1;
            let expression = match instruction {
                CallFrameInstruction::DefCfaExpression { expression }
                | CallFrameInstruction::Expression { expression, .. }
                | CallFrameInstruction::ValExpression { expression, .. } => expression,
                _ if left == 0 => return false,
                _ => continue,
            };
            if left == 0 || jumps(frames, entry, expression) {
                return false;
            }
        }
    }
    true
}

fn jumps(frames: &Frames, entry: &Entry, expression: UnwindExpression<usize>) -> bool {
    let Ok(Expression(bytes)) = expression.get(frames) else {
        return true;
    };
    let mut operations = Expression(bytes).operations(entry.cie().encoding());
    while let Ok(Some(operation)) = operations.next() {
        if matches!(operation, Operation::Skip { .. } | Operation::Bra { .. }) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `.eh_frame` of one function at 0x1000, 0x100 bytes, whose CFA is this expression.
    fn frames(expression: &[u8]) -> Section {
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
        Section {
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
}
