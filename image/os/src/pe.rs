//! The headers of a PE32+ file, as far as a UKI needs them.
//!
//! Microsoft "PE Format": DOS header, COFF file header, optional header, section table. The bytes may come from the network:
//! every offset is checked.

use thiserror::Error;

/// Why the bytes are no PE32+ file.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The file ends inside its headers.
    #[error("the file ends inside its {0}")]
    Truncated(&'static str),
    /// A magic number is wrong.
    #[error("no PE32+ file: wrong {0}")]
    Magic(&'static str),
    /// A section's data lie outside the file.
    #[error("section {0} lies outside the file")]
    Outside(String),
    /// Two sections have one name; which of them firmware and stub would take is not defined.
    #[error("section {0} is there twice")]
    Twice(String),
}

/// Bytes of headers that are ever looked at: what stubs have is 1 or 4 KiB.
pub const MAX_HEADERS: usize = 64 << 10;

/// Size of one entry of the section table.
pub const SECTION_ENTRY: usize = 40;

/// Where in the optional header (PE32+) the fields are that are read or changed.
pub mod field {
    /// `SizeOfInitializedData`.
    pub const INITIALIZED_DATA: usize = 8;
    /// `SectionAlignment`.
    pub const SECTION_ALIGNMENT: usize = 32;
    /// `FileAlignment`.
    pub const FILE_ALIGNMENT: usize = 36;
    /// `SizeOfImage`.
    pub const IMAGE_SIZE: usize = 56;
    /// `SizeOfHeaders`.
    pub const HEADERS_SIZE: usize = 60;
    /// `CheckSum`.
    pub const CHECKSUM: usize = 64;
}

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name, without the padding.
    pub name: String,
    /// Address in memory, relative to the image.
    pub address: u32,
    /// Bytes in memory: the true size of the content.
    pub size: u32,
    /// Offset in the file.
    pub file_offset: u32,
    /// Bytes in the file: the size rounded up.
    pub file_size: u32,
}

impl Section {
    /// Bytes of content that are in the file; the rest of `size` is zero.
    pub fn content_size(&self) -> u32 {
        self.size.min(self.file_size)
    }
}

/// The headers of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Offset of the COFF file header.
    pub coff: usize,
    /// Offset of the optional header.
    pub optional: usize,
    /// Offset of the section table.
    pub table: usize,
    /// `Machine`.
    pub machine: u16,
    /// The sections in the table's order.
    pub sections: Vec<Section>,
}

impl Headers {
    /// Parse the headers at the start of `bytes`, which need not hold more of the file than its headers.
    ///
    /// # Errors
    /// When they are no PE32+ headers, or are cut off.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.get(..2).ok_or(Error::Truncated("DOS header"))? != b"MZ" {
            return Err(Error::Magic("DOS signature"));
        }
        let signature = u32_at(bytes, 0x3c).ok_or(Error::Truncated("DOS header"))? as usize;
        let truncated = || Error::Truncated("PE header");
        let coff = signature.checked_add(4).ok_or_else(truncated)?;
        if bytes.get(signature..coff).ok_or_else(truncated)? != b"PE\0\0" {
            return Err(Error::Magic("PE signature"));
        }
        let machine = u16_at(bytes, coff).ok_or_else(truncated)?;
        let count = u16_at(bytes, coff + 2).ok_or_else(truncated)?;
        let optional_size = u16_at(bytes, coff + 16).ok_or_else(truncated)?;
        let optional = coff + 20;
        let table = optional + usize::from(optional_size);
        if u16_at(bytes, optional).ok_or_else(truncated)? != 0x20b || usize::from(optional_size) <= field::CHECKSUM + 4
        {
            return Err(Error::Magic("optional header"));
        }
        let sections = (0..usize::from(count))
            .map(|index| section(bytes, table + index * SECTION_ENTRY).ok_or(Error::Truncated("section table")))
            .collect::<Result<Vec<_>, _>>()?;
        for (index, section) in sections.iter().enumerate() {
            if sections[..index].iter().any(|earlier| earlier.name == section.name) {
                return Err(Error::Twice(section.name.clone()));
            }
        }
        Ok(Headers { coff, optional, table, machine, sections })
    }

    /// Offset of the first byte after the section table.
    pub fn table_end(&self) -> usize {
        self.table + self.sections.len() * SECTION_ENTRY
    }

    /// Check that every section's data lie inside a file of `size` bytes.
    ///
    /// # Errors
    /// Names the first section that does not.
    pub fn check_size(&self, size: u64) -> Result<(), Error> {
        match self.sections.iter().find(|s| u64::from(s.file_offset) + u64::from(s.file_size) > size) {
            Some(section) => Err(Error::Outside(section.name.clone())),
            None => Ok(()),
        }
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

fn section(bytes: &[u8], at: usize) -> Option<Section> {
    let entry = bytes.get(at..at.checked_add(SECTION_ENTRY)?)?;
    let name = entry[..8].split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Section {
        name: String::from_utf8_lossy(name).into_owned(),
        size: u32_at(entry, 8)?,
        address: u32_at(entry, 12)?,
        file_size: u32_at(entry, 16)?,
        file_offset: u32_at(entry, 20)?,
    })
}

/// The little-endian number at `at`, if it is inside `bytes`.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

/// The little-endian number at `at`, if it is inside `bytes`.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}
