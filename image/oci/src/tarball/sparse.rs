//! Sparse files: GNU tar's old format and its pax formats 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files").

use super::{damaged, pax};
use crate::error::Result;

/// Most extents of one file.
const EXTENTS_MAX: usize = 1 << 20;

/// A stretch of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// The `GNU.sparse.*` records of a pax header.
#[derive(Default)]
pub struct Pax {
    major: u64,
    minor: u64,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    /// Offsets and lengths in turn (0.0 as repeated records, 0.1 as one list).
    numbers: Vec<u64>,
}

impl Pax {
    pub fn record(&mut self, field: &[u8], value: &[u8]) -> std::result::Result<(), ()> {
        let number = || pax::decimal(value).filter(|&value| value < 1 << 62).ok_or(());
        match field {
            b"major" => self.major = number()?,
            b"minor" => self.minor = number()?,
            b"name" => self.name = Some(value.to_vec()).filter(|name| !name.contains(&0)),
            b"realsize" | b"size" => self.real_size = Some(number()?),
            b"numblocks" => {}
            b"offset" | b"numbytes" => self.numbers.push(number()?),
            b"map" => {
                for text in value.split(|&byte| byte == b',').filter(|text| !text.is_empty()) {
                    self.numbers.push(pax::decimal(text).ok_or(())?);
                }
            }
            _ => return Err(()),
        }
        Ok(())
    }

    pub fn version(&self) -> (u64, u64) {
        (self.major, self.minor)
    }

    pub fn map(&self) -> Result<Vec<Extent>> {
        if self.major != 0 || !self.numbers.len().is_multiple_of(2) {
            return Err(damaged("an unknown sparse format"));
        }
        let map: Vec<Extent> =
            self.numbers.chunks_exact(2).map(|pair| Extent { offset: pair[0], length: pair[1] }).collect();
        check_length(&map).map(|()| map)
    }
}

/// Reads the map of format 1.0 block by block.
#[derive(Default)]
pub struct Numbers {
    count: Option<u64>,
    offset: Option<u64>,
    extents: Vec<Extent>,
    digits: Vec<u8>,
}

impl Numbers {
    pub fn complete(&self) -> bool {
        self.count.is_some_and(|count| count == self.extents.len() as u64)
    }

    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    pub fn into_extents(self) -> Vec<Extent> {
        self.extents
    }

    pub fn feed(&mut self, block: &[u8]) -> std::result::Result<(), ()> {
        for &byte in block {
            if self.complete() {
                break;
            }
            if byte != b'\n' {
                if self.digits.len() > 20 {
                    return Err(());
                }
                self.digits.push(byte);
                continue;
            }
            let number = pax::decimal(&self.digits).filter(|&number| number < 1 << 62).ok_or(())?;
            self.digits.clear();
            match (self.count, self.offset.take()) {
                (None, _) => self.count = Some(number),
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.extents.push(Extent { offset, length: number }),
            }
        }
        Ok(())
    }
}

pub fn check_length(map: &[Extent]) -> Result<()> {
    if map.len() > EXTENTS_MAX { Err(damaged("a sparse map of more than a million extents")) } else { Ok(()) }
}

/// A map must go forward, stay within the file and describe exactly the data that is stored.
pub fn check(map: &[Extent], real_size: u64, stored: u64) -> std::result::Result<(), &'static str> {
    let mut position = 0u64;
    let mut data = 0u64;
    for extent in map {
        if extent.offset < position {
            return Err("sparse map does not go forward");
        }
        position = extent.offset.checked_add(extent.length).ok_or("sparse map overflows")?;
        data += extent.length;
    }
    if position > real_size || real_size >= 1 << 62 {
        return Err("sparse map leaves the file");
    }
    if data == stored { Ok(()) } else { Err("sparse map does not match the data") }
}
