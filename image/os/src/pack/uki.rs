//! Making a unified kernel image (UAPI.5): systemd's stub with the kernel, its command line and the initramfs as sections.

use std::fs;
use std::path::Path;

use super::{At, Error, input};
use crate::layout::Arch;
use crate::pe::{Headers, SECTION_ENTRY, field, u32_at};

/// The stub wants sections on pages of their own, whatever its own alignment says.
const PAGE: u32 = 4096;

/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`.
const READ_ONLY_DATA: u32 = 0x4000_0040;

/// What goes into a UKI.
#[derive(Debug)]
pub struct Parts<'a> {
    /// `linuxx64.efi.stub` or `linuxaa64.efi.stub` of systemd.
    pub stub: &'a Path,
    /// The kernel as an EFI binary.
    pub kernel: &'a Path,
    /// The initramfs.
    pub initramfs: &'a Path,
    /// Text of os-release: systemd-boot's menu and order come from it.
    pub os_release: &'a str,
    /// Version of the kernel (`uname -r`).
    pub kernel_release: &'a str,
    /// For what it is built.
    pub arch: Arch,
}

/// Write the UKI to `out`.
///
/// # Errors
/// When a part is missing, is for another architecture, or the stub has no room for the sections.
pub fn write(parts: &Parts, out: &Path) -> Result<(), Error> {
    let stub = fs::read(parts.stub).at("read", parts.stub)?;
    let kernel = fs::read(parts.kernel).at("read", parts.kernel)?;
    let initramfs = fs::read(parts.initramfs).at("read", parts.initramfs)?;
    let machine =
        Headers::parse(&kernel).map_err(|error| input(parts.kernel, format!("no EFI kernel: {error}")))?.machine;
    if machine != parts.arch.pe_machine() {
        return Err(input(parts.kernel, format!("is for machine type {machine:#06x}, not {}", parts.arch.name())));
    }
    let sections: [(&str, &[u8]); 5] = [
        (".osrel", parts.os_release.as_bytes()),
        (".cmdline", parts.arch.command_line().as_bytes()),
        (".uname", parts.kernel_release.as_bytes()),
        (".initrd", &initramfs),
        // Last: a stub that runs the kernel in place lets it grow beyond its end.
        (".linux", &kernel),
    ];
    let image = add_sections(stub, &sections).map_err(|why| input(parts.stub, why))?;
    fs::write(out, image).at("write", out)
}

/// `stub` with the sections added, or why that cannot be.
fn add_sections(mut image: Vec<u8>, sections: &[(&str, &[u8])]) -> Result<Vec<u8>, String> {
    let headers = Headers::parse(&image).map_err(|error| error.to_string())?;
    headers.check_size(image.len() as u64).map_err(|error| error.to_string())?;
    let optional = |at| u32_at(&image, headers.optional + at).unwrap_or_default();
    let alignment = optional(field::SECTION_ALIGNMENT).max(PAGE);
    let file_alignment = optional(field::FILE_ALIGNMENT).max(512);
    let first_byte = headers.sections.iter().map(|s| s.file_offset).filter(|at| *at != 0).min();
    let room = first_byte.unwrap_or_default().min(optional(field::HEADERS_SIZE)) as usize;
    if headers.table_end() + sections.len() * SECTION_ENTRY > room {
        return Err(format!("its headers have no room for {} more sections", sections.len()));
    }
    let mut data = optional(field::INITIALIZED_DATA);
    let mut address = headers.sections.iter().map(|s| s.address.saturating_add(s.size.max(s.file_size))).max();
    // A symbol table may follow the last section; nothing needs it, and its place is ours.
    let end = headers.sections.iter().map(|s| s.file_offset + s.file_size).max().unwrap_or_default();
    image.truncate(end as usize);
    put_u32(&mut image, headers.coff + 8, 0);
    put_u32(&mut image, headers.coff + 12, 0);

    for (index, (name, content)) in sections.iter().enumerate() {
        let too_big = || format!("with {name} it would exceed what a PE file holds (4 GiB)");
        let start = u32::try_from(image.len()).ok().and_then(|n| n.checked_next_multiple_of(file_alignment));
        let size = u32::try_from(content.len()).ok();
        let file_size = size.and_then(|n| n.checked_next_multiple_of(file_alignment));
        let at = address.and_then(|n| n.checked_next_multiple_of(alignment));
        let (Some(start), Some(size), Some(file_size), Some(at)) = (start, size, file_size, at) else {
            return Err(too_big());
        };
        image.resize(start as usize, 0);
        image.extend_from_slice(content);
        image.resize(start as usize + file_size as usize, 0);
        let entry = headers.table_end() + index * SECTION_ENTRY;
        image[entry..entry + name.len()].copy_from_slice(name.as_bytes());
        for (offset, value) in [(8, size), (12, at), (16, file_size), (20, start), (36, READ_ONLY_DATA)] {
            put_u32(&mut image, entry + offset, value);
        }
        data = data.saturating_add(file_size);
        address = Some(at.checked_add(file_size).ok_or_else(too_big)?);
    }
    let image_size = address.and_then(|n| n.checked_next_multiple_of(alignment)).ok_or("is too big for a PE file")?;
    let count = headers.sections.len() + sections.len();
    image[headers.coff + 2..headers.coff + 4].copy_from_slice(&(count as u16).to_le_bytes());
    put_u32(&mut image, headers.optional + field::INITIALIZED_DATA, data);
    put_u32(&mut image, headers.optional + field::IMAGE_SIZE, image_size);
    // Zero: not checksummed. Firmware does not look at it, and a signature leaves it out.
    put_u32(&mut image, headers.optional + field::CHECKSUM, 0);
    debug_assert!(Headers::parse(&image).is_ok());
    Ok(image)
}

/// The places written to are inside the headers, whose room was checked.
fn put_u32(image: &mut [u8], at: usize, value: u32) {
    image[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uki::Uki;
    use std::io::Cursor;

    /// The least that is a stub: one section of code.
    fn stub(headers_size: u32) -> Vec<u8> {
        let mut file = vec![0u8; headers_size as usize + 512];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x40;
        file[0x40..0x46].copy_from_slice(b"PE\0\0\x64\x86");
        file[0x46] = 1;
        file[0x54] = 240;
        let optional = 0x58;
        file[optional..optional + 2].copy_from_slice(&0x20bu16.to_le_bytes());
        put_u32(&mut file, optional + field::SECTION_ALIGNMENT, 512);
        put_u32(&mut file, optional + field::FILE_ALIGNMENT, 512);
        put_u32(&mut file, optional + field::HEADERS_SIZE, headers_size);
        let entry = optional + 240;
        file[entry..entry + 5].copy_from_slice(b".text");
        for (offset, value) in [(8, 10), (12, 0x1000), (16, 512), (20, headers_size)] {
            put_u32(&mut file, entry + offset, value);
        }
        file
    }

    #[test]
    fn what_is_added_is_read_back() {
        let sections: [(&str, &[u8]); 3] =
            [(".osrel", b"IMAGE_VERSION=1.2\n"), (".cmdline", b"quiet"), (".linux", &[7; 5000])];
        let mut file = stub(1024);
        file.extend_from_slice(b"a symbol table");
        let image = add_sections(file, &sections).unwrap();
        let mut uki = Uki::parse(Cursor::new(&image)).unwrap();
        assert_eq!(uki.version().unwrap(), "1.2");
        assert_eq!(uki.command_line().unwrap(), "quiet");
        assert_eq!(uki.arch(), Some(Arch::X86_64));
        let mut end = 0;
        for section in uki.sections() {
            assert!(section.address >= end, "{} overlaps", section.name);
            assert!(section.name == ".text" || section.address % PAGE == 0);
            assert_eq!(section.file_offset % 512, 0);
            end = section.address + section.size;
        }
        let image_size = u32_at(&image, 0x58 + field::IMAGE_SIZE).unwrap();
        assert!(image_size >= end && image_size.is_multiple_of(PAGE));
    }

    #[test]
    fn a_stub_without_room_is_refused() {
        let sections: [(&str, &[u8]); 4] = [(".a", b""), (".b", b""), (".c", b""), (".d", b"")];
        let error = add_sections(stub(512), &sections).unwrap_err();
        assert!(error.contains("no room for 4"), "{error}");
    }

    #[test]
    fn no_pe_file_is_refused() {
        assert!(add_sections(b"ELF".to_vec(), &[]).is_err());
    }
}
