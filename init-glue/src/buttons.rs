//! The power button: ACPI's, a GPIO key's, or that of a keyboard, as an input device (Documentation/input/input.rst).

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `EV_KEY` of linux/input-event-codes.h.
const EV_KEY: u16 = 1;
/// `KEY_POWER` there.
const KEY_POWER: u16 = 116;
/// Size of `struct input_event` of a 64-bit kernel: a time (16 bytes), type, code (2 each), value (4).
const EVENT_SIZE: usize = 24;
/// More devices than this are not listened to.
pub const MOST: usize = 8;

/// An input device that has a power key.
pub struct Button(File);

/// What a device had to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The power key was pressed.
    Pressed,
    /// Something else.
    Nothing,
    /// The device is gone.
    Gone,
}

impl Button {
    /// Open every device that has a power key, at most [`MOST`]. A kernel without evdev shows none.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let open =
            |device: PathBuf| File::options().read(true).custom_flags(libc::O_NONBLOCK).open(device).map(Button).ok();
        devices(Path::new("/sys/class/input")).into_iter().filter_map(open).take(MOST).collect()
    }

    /// Read what there is.
    pub fn read(&mut self) -> News {
        let mut buffer = [0; EVENT_SIZE * 16];
        match self.0.read(&mut buffer) {
            Ok(0) => News::Gone,
            Ok(count) if buffer[..count].chunks_exact(EVENT_SIZE).any(is_power_press) => News::Pressed,
            Ok(_) => News::Nothing,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => News::Gone,
            Err(_) => News::Nothing,
        }
    }
}

impl std::os::fd::AsFd for Button {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn devices(class: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> =
        fs::read_dir(class).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    let has_power_key = |name: &std::ffi::OsString| {
        let keys = fs::read_to_string(class.join(name).join("device/capabilities/key")).unwrap_or_default();
        name.to_string_lossy().starts_with("event") && has_key(&keys, KEY_POWER)
    };
    names.into_iter().filter(has_power_key).map(|name| Path::new("/dev/input").join(name)).collect()
}

/// By a bitmap of sysfs: 64-bit words in hexadecimal, the most significant first.
fn has_key(bitmap: &str, key: u16) -> bool {
    let word = bitmap.split_whitespace().rev().nth(usize::from(key / 64));
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).is_some_and(|word| word & (1 << (key % 64)) != 0)
}

fn is_power_press(event: &[u8]) -> bool {
    let number = |at: usize| event.get(at..at + 2).map_or(0, |pair| u16::from_ne_bytes([pair[0], pair[1]]));
    // The value's low half: 1 pressed, 0 released, 2 held.
    let value = if cfg!(target_endian = "little") { number(20) } else { number(22) };
    number(16) == EV_KEY && number(18) == KEY_POWER && value == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        [&[7; 16][..], &kind.to_ne_bytes(), &code.to_ne_bytes(), &value.to_ne_bytes()].concat()
    }

    #[test]
    fn only_pressing_the_power_key_counts() {
        assert!(is_power_press(&event(EV_KEY, KEY_POWER, 1)));
        for other in [event(EV_KEY, KEY_POWER, 0), event(EV_KEY, KEY_POWER, 2), event(EV_KEY, 30, 1), event(0, 0, 1)] {
            assert!(!is_power_press(&other));
        }
    }

    #[test]
    fn devices_with_a_power_key() {
        let class = tempfile::tempdir().unwrap();
        for (name, keys) in
            [("event1", "10000000000000 0\n"), ("event0", "1\n"), ("mouse0", "10000000000000 0\n"), ("event2", "")]
        {
            let dir = class.path().join(name).join("device/capabilities");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("key"), keys).unwrap();
        }
        assert_eq!(devices(class.path()), [Path::new("/dev/input/event1")]);
        assert!(devices(Path::new("/nonexistent")).is_empty());
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in ".{0,60}", event in proptest::collection::vec(any::<u8>(), 0..30)) {
            let _ = (has_key(&text, KEY_POWER), is_power_press(&event));
        }
    }
}
