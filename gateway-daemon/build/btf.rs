//! Makes names readable in map dumps.
//!
//! bpftool shows an array of one-byte integers as text if their type is called `char`, which no
//! Rust type of one byte is. So the type `i8`, which the contract uses for text alone, gets that
//! name in the object's type information (BTF). Only the name changes; layouts stay.

/// The one-byte integer of the contract's text.
const TEXT: &[u8] = b"\0i8\0";
/// What C calls it, and bpftool looks for.
const NAME: &[u8] = b"char\0";

/// The object with `i8` named `char`. None if it is not as expected: no ELF of 64 bits and little
/// endian, no BTF, no such type.
pub(crate) fn name_text(mut object: Vec<u8>) -> Option<Vec<u8>> {
    let header = section(&object, b".BTF\0")?;
    let (offset, size) = (word(&object, header + 24)?, word(&object, header + 32)?);
    let mut btf = object.get(offset..offset + size)?.to_vec();

    // struct btf_header: magic, version, flags, header length, then offset and length of types and
    // of strings, which come last.
    let [length, types, types_length, strings, strings_length] =
        [4, 8, 12, 16, 20].map(|at| half(&btf, at));
    let (types, strings) = (length? + types?, length? + strings?);
    if strings + strings_length? != btf.len() {
        return None;
    }
    let text = find(btf.get(strings..)?, TEXT)? + 1;
    // struct btf_type of an integer: name, kind 1, size 1; then signed, 8 bits.
    let [name, kind, size, encoding] = [u32::try_from(text).ok()?, 1 << 24, 1, 1 << 24 | 8];
    let integer = [name, kind, size, encoding].map(u32::to_le_bytes).concat();
    let integer = types + find(btf.get(types..types + types_length?)?, &integer)?;

    put(&mut btf, integer, u32::try_from(strings_length?).ok()?)?;
    put(&mut btf, 20, u32::try_from(strings_length? + NAME.len()).ok()?)?;
    btf.extend(NAME);

    // The longer section goes to the end of the file; the section header says so.
    object.resize(object.len().next_multiple_of(8), 0);
    let end = u32::try_from(object.len()).ok()?;
    put(&mut object, header + 24, end)?;
    put(&mut object, header + 32, u32::try_from(btf.len()).ok()?)?;
    object.extend(btf);
    Some(object)
}

/// Where the header of a section stands.
fn section(object: &[u8], name: &[u8]) -> Option<usize> {
    if !object.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size) = (word(object, 40)?, quarter(object, 58)?);
    let headers = (0..quarter(object, 60)?).map(|index| table + index * size);
    let names = word(object, table + quarter(object, 62)? * size + 24)?;
    headers.into_iter().find(|&header| {
        let at = half(object, header).map(|at| names + at);
        at.and_then(|at| object.get(at..)).is_some_and(|rest| rest.starts_with(name))
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn put(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    bytes.get_mut(at..at + 4)?.copy_from_slice(&value.to_le_bytes());
    Some(())
}

fn quarter(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|bytes| usize::from(u16::from_le_bytes(*bytes)))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}
