//! What a pull tells, on a terminal and elsewhere.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};

use crate::content::{digest, noise};
use crate::image::Image;
use crate::place::Place;
use crate::registry::Registry;
use crate::resume::until;
use crate::tar::Tar;

fn image() -> Image {
    let layer = |number: usize| Tar::new().file(number.to_string(), noise(600_000 + number)).end();
    Image::new(&(0..5).map(layer).collect::<Vec<_>>())
}

/// Pull with standard error on a terminal; gives what that shows. No layer comes before `first` has been seen there.
fn on_a_terminal(first: &'static str, image: &Image, options: &[&str], variables: &[(&str, &str)]) -> String {
    on_a_terminal_of(100, first, image, options, variables)
}

fn on_a_terminal_of(
    ws_col: u16,
    first: &'static str,
    image: &Image,
    options: &[&str],
    variables: &[(&str, &str)],
) -> String {
    let size = Winsize { ws_row: 40, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).unwrap();
    let screen = Arc::new(Mutex::new(String::new()));
    let seen = screen.clone();
    let layers: Vec<String> = image.layers.iter().map(|layer| digest(layer)).collect();
    let registry = Registry::with(image, move |request| {
        if layers.iter().any(|layer| request.path.ends_with(layer.as_str())) {
            until(first, || seen.lock().unwrap().contains(first));
        }
        None
    });
    let place = Place::new();
    let mut command = place.command(&[&["pull"], options, &[&registry.name()]].concat());
    command.stdout(Stdio::piped()).stderr(pty.slave).env("TERM", "vt100").envs(variables.iter().copied());
    let child = command.spawn().unwrap();
    // It holds the other end of the terminal, too: reading would not end.
    drop(command);
    let mut master = File::from(pty.master);
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        screen.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let output = child.wait_with_output().unwrap();
    let screen = screen.lock().unwrap().clone();
    assert!(output.status.success(), "{screen}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().last(), Some(format!("{}:latest", registry.name()).as_str()), "{said}");
    assert_eq!(place.accepts(&["images", "-q", "--no-trunc"]).trim(), digest(&image.config));
    screen
}

/// Is there an SGR sequence that sets a colour?
fn has_colour(screen: &str) -> bool {
    screen.split("\x1b[").skip(1).any(|rest| rest.starts_with('3') && rest[..rest.len().min(3)].ends_with('m'))
}

#[test]
fn a_bar_for_each_layer_on_a_terminal() {
    let image = image();
    let screen = on_a_terminal("waiting", &image, &[], &[]);
    for layer in &image.layers {
        let short = &digest(layer)["sha256:".len()..][..12];
        assert!(screen.contains(short), "no {short} in {screen:?}");
    }
    assert!(has_colour(&screen), "{screen:?}");
    let plain = ["\x1b[1m", "\x1b[0m", "\x1b[32m", "\x1b[36m"].iter().fold(screen, |text, sgr| text.replace(sgr, ""));
    assert!(plain.contains("downloading  [=") && plain.contains(" KiB/618."), "{plain:?}");
    assert!(plain.trim_end().ends_with("done"), "{plain:?}");
}

#[test]
fn no_color() {
    let screen = on_a_terminal("waiting", &image(), &[], &[("NO_COLOR", "1")]);
    assert!(screen.contains("[=") && !has_colour(&screen) && !screen.contains("\x1b[1m"), "{screen:?}");
}

#[test]
fn lines_on_a_dumb_terminal() {
    let screen = on_a_terminal("Pulling", &image(), &[], &[("TERM", "dumb")]);
    assert!(screen.contains(": done") && !screen.contains('\x1b'), "{screen:?}");
    let screen = on_a_terminal_of(0, "Pulling", &image(), &[], &[]);
    assert!(screen.contains(": done") && !screen.contains('\x1b'), "of unknown size: {screen:?}");
}

#[test]
fn quiet_is_quiet_on_a_terminal() {
    assert_eq!(on_a_terminal("", &image(), &["-q"], &[]), "");
}

#[test]
fn lines_elsewhere() {
    let image = image();
    let registry = Registry::of(&image);
    let place = Place::new();
    let outcome = place.ctr(&["pull", &registry.name()]);
    let (name, digest) = (format!("{}:latest", registry.name()), digest(&image.manifest_bytes()));
    let said = format!(
        "Using default tag: latest\nlatest: Pulling from {}\nDigest: {digest}\nStatus: Downloaded newer image for {name}\n{name}\n",
        registry.name()
    );
    assert_eq!((outcome.code, outcome.out), (Some(0), said));
    assert!(!outcome.err.contains(['\x1b', '\r']), "{:?}", outcome.err);
    assert_eq!(outcome.err.lines().filter(|line| line.ends_with(": done")).count(), 5, "{}", outcome.err);
    let again = place.ctr(&["pull", &registry.name()]);
    assert_eq!(again.err.lines().filter(|line| line.ends_with(": already there")).count(), 5, "{}", again.err);
    assert!(again.out.contains(&format!("Status: Image is up to date for {name}")), "{}", again.out);
    let quiet = place.ctr(&["pull", "-q", &registry.name()]);
    assert_eq!((quiet.err.as_str(), quiet.out.trim()), ("", name.as_str()));
}
