//! `clear` and `reset`: an empty screen, and a terminal in its senses.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use clap::Parser;
use rustix::termios::{self, ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex};

use crate::common;
use crate::registry::{Applet, Dir};

/// `clear`.
pub const CLEAR: Applet =
    Applet { name: "clear", aliases: &[], dir: Dir::Bin, summary: "clear the screen", run: run_clear };

/// `reset`.
pub const RESET: Applet =
    Applet { name: "reset", aliases: &[], dir: Dir::Bin, summary: "bring the terminal to its senses", run: run_reset };

#[derive(Parser)]
#[command(name = "clear", about = "Clear the screen")]
struct ClearOptions {
    /// Keep what has scrolled away
    #[arg(short = 'x')]
    keep_scrollback: bool,
}

#[derive(Parser)]
#[command(name = "reset", about = "Set the terminal's modes and state to what they should be")]
struct ResetOptions {}

fn run_clear(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let options: ClearOptions = match common::parse(args, 1) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let text: &[u8] = if options.keep_scrollback { b"\x1b[H\x1b[2J" } else { b"\x1b[H\x1b[2J\x1b[3J" };
    common::finish(&name, io::stdout().write_all(text).map(|()| 0).map_err(Into::into))
}

fn run_reset(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    match common::parse::<ResetOptions>(args, 1) {
        Ok(_) => common::finish(&name, reset().map(|()| 0).map_err(Into::into)),
        Err(status) => status,
    }
}

fn reset() -> io::Result<()> {
    if io::stdin().is_terminal() {
        let stdin = rustix::stdio::stdin();
        let mut modes = termios::tcgetattr(stdin)?;
        // What stty(1) calls sane.
        modes.input_modes -=
            InputModes::IGNBRK | InputModes::INLCR | InputModes::IGNCR | InputModes::IXOFF | InputModes::IXANY;
        modes.input_modes |=
            InputModes::BRKINT | InputModes::ICRNL | InputModes::IXON | InputModes::IMAXBEL | InputModes::IUTF8;
        modes.output_modes -= OutputModes::OCRNL | OutputModes::ONOCR | OutputModes::ONLRET;
        modes.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        modes.control_modes |= ControlModes::CREAD;
        modes.local_modes -= LocalModes::ECHONL | LocalModes::NOFLSH | LocalModes::TOSTOP;
        modes.local_modes |= LocalModes::ISIG
            | LocalModes::ICANON
            | LocalModes::IEXTEN
            | LocalModes::ECHO
            | LocalModes::ECHOE
            | LocalModes::ECHOK
            | LocalModes::ECHOCTL
            | LocalModes::ECHOKE;
        let codes = [
            (SpecialCodeIndex::VINTR, 0x03),
            (SpecialCodeIndex::VQUIT, 0x1c),
            (SpecialCodeIndex::VERASE, 0x7f),
            (SpecialCodeIndex::VKILL, 0x15),
            (SpecialCodeIndex::VEOF, 0x04),
            (SpecialCodeIndex::VSTART, 0x11),
            (SpecialCodeIndex::VSTOP, 0x13),
            (SpecialCodeIndex::VSUSP, 0x1a),
        ];
        for (code, value) in codes {
            modes.special_codes[code] = value;
        }
        termios::tcsetattr(stdin, OptionalActions::Drain, &modes)?;
    }
    // Full reset (ECMA-48 RIS), then what some terminals leave as it was: character set, colours, paste marks, cursor.
    io::stdout().write_all(b"\x1bc\x1b(B\x1b[m\x1b[?2004l\x1b[?1049l\x1b[?25h\x1b[H\x1b[J")
}
