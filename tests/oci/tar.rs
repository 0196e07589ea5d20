//! Archives that no honest archiver writes.

pub const FILE: u8 = b'0';
pub const HARD_LINK: u8 = b'1';
pub const SYMLINK: u8 = b'2';
pub const CHAR: u8 = b'3';
pub const BLOCK: u8 = b'4';
pub const DIRECTORY: u8 = b'5';
pub const FIFO: u8 = b'6';

/// One member's header.
pub struct Header<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub size: u64,
    pub device: (u32, u32),
}

impl Header<'_> {
    pub fn bytes(&self) -> [u8; 512] {
        let mut block = [0; 512];
        block[..self.name.len()].copy_from_slice(self.name);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], 1);
        block[156] = self.kind;
        block[157..157 + self.link.len()].copy_from_slice(self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
        seal(&mut block);
        block
    }
}

/// Put the checksum in.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A number field; what octal digits do not hold is written as GNU tar does.
pub fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    if value >> (3 * width) != 0 {
        field.fill(0);
        field[0] = 0x80;
        field[width - 7..].copy_from_slice(&value.to_be_bytes());
        return;
    }
    let text = format!("{value:0width$o}");
    field[..width].copy_from_slice(text.as_bytes());
}

/// An archive in the making.
#[derive(Default)]
pub struct Tar {
    pub bytes: Vec<u8>,
}

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    /// A member of any kind; names that do not fit in the header get a pax header.
    pub fn member(mut self, kind: u8, name: impl AsRef<[u8]>, link: impl AsRef<[u8]>, mode: u32, data: &[u8]) -> Tar {
        let (name, link) = (name.as_ref(), link.as_ref());
        let long = [(&b"path"[..], name), (b"linkpath", link)].into_iter().filter(|(_, value)| value.len() > 100);
        let records: Vec<_> = long.collect();
        if !records.is_empty() {
            self = self.pax(&records);
        }
        let cut = |text: &[u8]| text[..text.len().min(100)].to_vec();
        let (name, link) = (cut(name), cut(link));
        let header = Header { name: &name, kind, link: &link, mode, size: data.len() as u64, device: (0, 0) };
        self.raw(&header, data)
    }

    /// A header as it is, and data as it is, padded.
    pub fn raw(mut self, header: &Header<'_>, data: &[u8]) -> Tar {
        self.bytes.extend(header.bytes());
        self.data(data)
    }

    pub fn data(mut self, data: &[u8]) -> Tar {
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Tar {
        self.member(FILE, name, "", 0o644, data.as_ref())
    }

    pub fn dir(self, name: impl AsRef<[u8]>, mode: u32) -> Tar {
        self.member(DIRECTORY, name, "", mode, b"")
    }

    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Tar {
        self.member(SYMLINK, name, target, 0o777, b"")
    }

    pub fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Tar {
        self.member(HARD_LINK, name, target, 0o644, b"")
    }

    pub fn device(self, kind: u8, name: &str, device: (u32, u32)) -> Tar {
        let header = Header { name: name.as_bytes(), kind, link: b"", mode: 0o666, size: 0, device };
        self.raw(&header, b"")
    }

    /// A pax header for the next member.
    pub fn pax(self, records: &[(&[u8], &[u8])]) -> Tar {
        let mut data = Vec::new();
        for (key, value) in records {
            // The length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend(format!("{length} ").bytes());
            data.extend([*key, b"=", value, b"\n"].concat());
        }
        let header = Header {
            name: b"PaxHeaders/x",
            kind: b'x',
            link: b"",
            mode: 0o644,
            size: data.len() as u64,
            device: (0, 0),
        };
        self.raw(&header, &data)
    }

    /// The regular end.
    pub fn end(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}
