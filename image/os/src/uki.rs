//! Reading a unified kernel image (UAPI.5): what `update` asks a file before it trusts it to boot.

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

use crate::layout::Arch;
use crate::pe::{self, Headers};

/// Why a file is no UKI that can be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the UKI: {0}")]
    Read(#[from] io::Error),
    /// The file is no PE file.
    #[error(transparent)]
    Pe(#[from] pe::Error),
    /// A section that every UKI has is missing.
    #[error("no UKI: section {0} is missing")]
    Missing(&'static str),
    /// A text section is longer than any true one, or no UTF-8.
    #[error("section {0} is no text of at most {MAX_TEXT} bytes")]
    Text(&'static str),
    /// os-release has no version.
    #[error("section .osrel names no IMAGE_VERSION or VERSION_ID")]
    NoVersion,
}

/// The longest text section that is read.
pub const MAX_TEXT: u32 = 64 << 10;

/// A UKI of which the headers are read; sections are read when asked for.
#[derive(Debug)]
pub struct Uki<R> {
    file: R,
    headers: Headers,
}

impl<R: Read + Seek> Uki<R> {
    /// Read and check the headers.
    ///
    /// # Errors
    /// When the file is no PE file, has no kernel, or is cut off.
    pub fn parse(mut file: R) -> Result<Self, Error> {
        let size = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut start = Vec::new();
        (&mut file).take(pe::MAX_HEADERS as u64).read_to_end(&mut start)?;
        let headers = Headers::parse(&start)?;
        headers.check_size(size)?;
        for name in [".osrel", ".linux"] {
            headers.section(name).ok_or(Error::Missing(name))?;
        }
        Ok(Uki { file, headers })
    }

    /// The architecture it boots on, if it is one of ours.
    pub fn arch(&self) -> Option<Arch> {
        [Arch::X86_64, Arch::Arm64].into_iter().find(|arch| arch.pe_machine() == self.headers.machine)
    }

    /// Names of all sections, the stub's included.
    pub fn sections(&self) -> impl Iterator<Item = &pe::Section> {
        self.headers.sections.iter()
    }

    /// The content of a text section, without trailing NULs and line ends.
    ///
    /// # Errors
    /// When it is missing, too long, or no UTF-8.
    pub fn text(&mut self, name: &'static str) -> Result<String, Error> {
        let section = self.headers.section(name).ok_or(Error::Missing(name))?;
        let size = section.content_size();
        if size > MAX_TEXT {
            return Err(Error::Text(name));
        }
        let mut content = vec![0; size as usize];
        self.file.seek(SeekFrom::Start(section.file_offset.into()))?;
        self.file.read_exact(&mut content)?;
        let text = String::from_utf8(content).map_err(|_| Error::Text(name))?;
        Ok(text.trim_end_matches(['\0', '\n']).to_owned())
    }

    /// The version of the OS inside: `IMAGE_VERSION`, else `VERSION_ID`, of os-release.
    ///
    /// # Errors
    /// When there is none.
    pub fn version(&mut self) -> Result<String, Error> {
        let release = self.text(".osrel")?;
        let field = |name| os_release_field(&release, name);
        field("IMAGE_VERSION").or_else(|| field("VERSION_ID")).ok_or(Error::NoVersion)
    }

    /// The kernel's command line, empty if it has none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn command_line(&mut self) -> Result<String, Error> {
        match self.text(".cmdline") {
            Err(Error::Missing(_)) => Ok(String::new()),
            other => other,
        }
    }
}

/// The value of one field of os-release(5), quotes removed. Ours has no escapes.
pub fn os_release_field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?.trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    let value = unquoted.unwrap_or(value);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    #[test]
    fn fields_of_os_release() {
        let text = "NAME=Coracle\nVERSION_ID=\"1.2\"\nEMPTY=\nX='a b'\n";
        assert_eq!(os_release_field(text, "VERSION_ID").as_deref(), Some("1.2"));
        assert_eq!(os_release_field(text, "X").as_deref(), Some("a b"));
        assert_eq!(os_release_field(text, "EMPTY"), None);
        assert_eq!(os_release_field(text, "VERSION"), None);
        assert_eq!(os_release_field("A=\"", "A").as_deref(), Some("\""));
    }

    /// A file that gets past the magic numbers, for what lies behind them.
    fn nearly_pe(tail: &[u8], sections: u16) -> Vec<u8> {
        let mut file = vec![0; 0x80];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x80;
        file.extend_from_slice(b"PE\0\0\x64\x86");
        file.extend_from_slice(&sections.to_le_bytes());
        file.extend_from_slice(&[0; 12]);
        file.extend_from_slice(&240u16.to_le_bytes());
        file.extend_from_slice(&[0; 2]);
        file.extend_from_slice(&0x20bu16.to_le_bytes());
        file.extend_from_slice(&[0; 238]);
        file.extend_from_slice(tail);
        file
    }

    fn read_all(file: &[u8]) {
        if let Ok(mut uki) = Uki::parse(Cursor::new(file)) {
            let _ = (uki.version(), uki.command_line(), uki.arch());
        }
    }

    proptest! {
        #[test]
        fn hostile_files_are_an_error_not_a_panic(tail: Vec<u8>, sections: u16) {
            read_all(&tail);
            read_all(&nearly_pe(&tail, sections));
            read_all(&nearly_pe(&tail, sections % 4));
        }
    }
}
