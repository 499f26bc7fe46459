//! Reads a library file without loading it: is it one, is it whole, is it for this machine, and
//! what does its manifest say.

use object::{
    Architecture, BinaryFormat, Object as _, ObjectKind, ObjectSection as _, ObjectSegment as _,
};
use plugin_api::manifest::SECTION;

use super::RefusalError;

/// Returns the bytes of the manifest section of a library.
///
/// A library that is cut short must never reach the dynamic loader, which would touch pages behind
/// its end and die of SIGBUS; so everything that the headers name has to lie within the file.
///
/// # Errors
///
/// [`RefusalError`] `NotALibrary`, `Truncated`, `ForeignArchitecture` or `NotAPlugin`.
pub fn manifest_section(bytes: &[u8]) -> Result<&[u8], RefusalError> {
    let size = bytes.len() as u64;
    let kind = object::FileKind::parse(bytes)
        .map_err(|_| RefusalError::NotALibrary { found: describe(bytes) })?;
    if let Some(expected) = elf_extent(bytes).filter(|expected| *expected > size) {
        return Err(RefusalError::Truncated { expected, found: size });
    }
    let file = object::File::parse(bytes).map_err(|error| {
        // What has the magic of a library and cannot be read on has lost its end.
        if bytes.len() < 4096 {
            RefusalError::Truncated { expected: 4096, found: size }
        } else {
            RefusalError::NotALibrary { found: format!("a broken {kind:?} file ({error})") }
        }
    })?;
    let native =
        if cfg!(target_vendor = "apple") { BinaryFormat::MachO } else { BinaryFormat::Elf };
    let machine =
        if cfg!(target_arch = "x86_64") { Architecture::X86_64 } else { Architecture::Aarch64 };
    if file.format() != native || file.architecture() != machine || !file.is_64() {
        let name = |format: BinaryFormat, machine: Architecture| {
            format!("{machine:?}, {format:?}").to_lowercase()
        };
        return Err(RefusalError::ForeignArchitecture {
            found: name(file.format(), file.architecture()),
            expected: name(native, machine),
        });
    }
    if file.kind() != ObjectKind::Dynamic {
        let found = format!("{:?}", file.kind()).to_lowercase();
        return Err(RefusalError::NotALibrary { found: format!("an object of kind `{found}`") });
    }
    for segment in file.segments() {
        let (start, len) = segment.file_range();
        let expected = start.saturating_add(len);
        if expected > size {
            return Err(RefusalError::Truncated { expected, found: size });
        }
    }
    let name = if native == BinaryFormat::MachO { "__maestro" } else { SECTION };
    file.section_by_name(name)
        .and_then(|section| section.data().ok())
        .ok_or(RefusalError::NotAPlugin { section: SECTION })
}

/// Returns where the header tables of an ELF64 file end, before anything else of it is believed.
fn elf_extent(bytes: &[u8]) -> Option<u64> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let header = bytes.get(..64)?;
    let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
    let u16_at =
        |at: usize| u64::from(u16::from_le_bytes(header[at..at + 2].try_into().expect("2 bytes")));
    let programs = u64_at(32).saturating_add(u16_at(54) * u16_at(56));
    let sections = u64_at(40).saturating_add(u16_at(58) * u16_at(60));
    Some(programs.max(sections))
}

/// Says what a file seems to be, for a person who put it there by mistake.
fn describe(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(512)];
    if head.starts_with(b"#!") {
        "a script".into()
    } else if head.starts_with(b"INPUT") || head.starts_with(b"/* GNU ld script") {
        "a linker script".into()
    } else if head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        "a text file".into()
    } else if head.iter().all(|b| *b == 0) {
        "zeros".into()
    } else {
        "something else".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        manifest_section(bytes).unwrap_err().to_string()
    }

    #[test]
    fn files_that_are_no_libraries_are_described() {
        for (bytes, found) in [
            (&b"hello, world\n"[..], "a text file"),
            (b"#!/bin/sh\n", "a script"),
            (&[0; 600], "zeros"),
            (b"\xff\xfe\x00junk", "something else"),
        ] {
            assert_eq!(refusal(bytes), format!("expected a shared library, found {found}"));
        }
    }

    #[test]
    fn a_program_is_not_a_library_and_a_library_is_not_a_plugin() {
        // A position-independent program is a dynamic object too, so it is told by the section. Our own may
        // hold a plugin: what the plugins that it is tested with were compiled to first, it shares.
        let program = std::fs::read("/bin/sh").unwrap();
        assert_eq!(refusal(&program), "no plugin: section `.maestro.manifest` is missing");
    }

    #[test]
    fn a_program_cut_anywhere_is_never_taken() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for cut in (0..program.len()).step_by(program.len() / 97) {
            let error = manifest_section(&program[..cut]).unwrap_err();
            assert!(
                matches!(error, RefusalError::Truncated { .. } | RefusalError::NotALibrary { .. }),
                "{cut}: {error}"
            );
        }
    }

    #[test]
    fn another_machine_is_named() {
        let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // e_machine: 0xf3 is RISC-V.
        program[18] = 0xf3;
        program[19] = 0;
        assert!(refusal(&program).starts_with("built for `riscv64, elf`"), "{}", refusal(&program));
    }
}
