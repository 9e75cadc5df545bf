//! BPF objects of a few instructions: programs of somebody else, and the least that a program can
//! be. An ELF file (System V gABI) as `ip`, `tc`, `bpftool` and aya load it.

/// What a program is for, by the name of its section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// XDP.
    Xdp,
    /// TC, by a filter or by TCX.
    Classifier,
}

impl Kind {
    /// The section's name.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Classifier => "classifier",
        }
    }
}

/// An object with one program, `name`, that answers `action` to every packet.
pub fn answering(kind: Kind, name: &str, action: i32) -> Vec<u8> {
    program(kind, name, &[(0xb7, 0, 0, 0, action), EXIT])
}

/// An instruction (RFC 9669): opcode, destination, source, offset, immediate.
pub type Instruction = (u8, u8, u8, i16, i32);

/// Ends a program.
pub const EXIT: Instruction = (0x95, 0, 0, 0, 0);

/// An object with one program of these instructions.
pub fn program(kind: Kind, name: &str, instructions: &[Instruction]) -> Vec<u8> {
    let mut code = Vec::new();
    for (opcode, destination, source, offset, immediate) in instructions {
        code.extend([*opcode, destination | source << 4]);
        code.extend(offset.to_le_bytes());
        code.extend(immediate.to_le_bytes());
    }
    object(kind.section(), name, &code)
}

const HEADER: u64 = 64;
const SECTION_HEADER: u16 = 64;
const SYMBOL: u64 = 24;

/// A section: name, type, flags, link, info, size of an entry, content.
struct Section<'a>(&'a str, u32, u64, u32, u32, u64, Vec<u8>);

fn object(section: &str, program: &str, code: &[u8]) -> Vec<u8> {
    let names = ["", section, "license", ".symtab", ".strtab", program];
    let strings: Vec<u8> = names.iter().flat_map(|name| name.bytes().chain([0])).collect();
    let mut symbols = vec![0; usize::try_from(SYMBOL).unwrap_or_default()];
    symbols.extend(offset(&names, program).to_le_bytes());
    symbols.extend([0x12, 0]); // global, function
    symbols.extend(1_u16.to_le_bytes());
    symbols.extend(0_u64.to_le_bytes());
    symbols.extend((code.len() as u64).to_le_bytes());
    let sections = [
        Section("", 0, 0, 0, 0, 0, Vec::new()),
        Section(section, 1, 6, 0, 0, 0, code.to_vec()),
        Section("license", 1, 3, 0, 0, 0, b"GPL\0".to_vec()),
        Section(".symtab", 2, 0, 4, 1, SYMBOL, symbols),
        Section(".strtab", 3, 0, 0, 0, 0, strings),
    ];
    let content = sections.iter().map(|section| section.6.len().next_multiple_of(8) as u64);
    let mut out = header(HEADER + content.sum::<u64>(), sections.len() as u64);
    let mut headers = Vec::new();
    for Section(name, kind, flags, link, info, entry, content) in sections {
        headers.extend(offset(&names, name).to_le_bytes());
        headers.extend(kind.to_le_bytes());
        for word in [flags, 0, out.len() as u64, content.len() as u64] {
            headers.extend(word.to_le_bytes());
        }
        headers.extend([link, info].map(u32::to_le_bytes).concat());
        headers.extend([8, entry].map(u64::to_le_bytes).concat());
        out.extend(content);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out.extend(headers);
    out
}

/// Where a name begins in the table of strings.
fn offset(names: &[&str], name: &str) -> u32 {
    let before = names.iter().take_while(|other| **other != name);
    before.map(|other| u32::try_from(other.len() + 1).unwrap_or_default()).sum()
}

fn header(sections_at: u64, sections: u64) -> Vec<u8> {
    const RELOCATABLE: u16 = 1;
    const BPF: u16 = 247;
    let mut out = b"\x7fELF\x02\x01\x01".to_vec(); // 64 bits, little endian
    out.resize(16, 0);
    out.extend([RELOCATABLE, BPF].map(u16::to_le_bytes).concat());
    out.extend(1_u32.to_le_bytes());
    for word in [0, 0, sections_at] {
        out.extend(u64::to_le_bytes(word));
    }
    out.extend(0_u32.to_le_bytes());
    let [count, last] = [sections, sections - 1].map(|n| u16::try_from(n).unwrap_or_default());
    let sizes = [64, 0, 0, SECTION_HEADER, count, last];
    out.extend(sizes.map(u16::to_le_bytes).concat());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_fit_the_file() {
        let object = answering(Kind::Xdp, "stranger", 2);
        let word = |at: usize| u64::from_le_bytes(object[at..at + 8].try_into().unwrap());
        let sections = usize::try_from(word(40)).unwrap();
        assert_eq!(object.len(), sections + 5 * 64);
        let code = usize::try_from(word(sections + 64 + 24)).unwrap();
        assert_eq!(object[code..code + 16], [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
    }
}
